//! The lines of a dump.
//!
//! ```text
//! {"pliantdbDump":1,"madeBy":"0.1.0"}
//! {"database":"default","slots":16}
//! {"collection":"users","id":"ada","body":{"born": 1815}}
//! {"namespace":"sessions","key":"7","value":"ada","expires":1792570000000}
//! {"end":{"databases":1,"documents":1,"values":1}}
//! ```

use pliantdb_core::{Body, CollectionName, DatabaseName, DocumentId, KeyName, NamespaceName, SlotCount};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The format that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// How much a dump holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Its databases.
    pub databases: u64,
    /// The documents in them.
    pub documents: u64,
    /// The values of their key-value stores.
    pub values: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The first.
    Header { format: u32 },
    /// A database; what follows is in it.
    Database { name: DatabaseName, slots: SlotCount },
    /// A document.
    Document {
        collection: CollectionName,
        id: DocumentId,
        body: Body,
    },
    /// A value of the key-value store.
    Value {
        namespace: NamespaceName,
        key: KeyName,
        value: Body,
        /// Milliseconds since the Unix epoch.
        expires: Option<u64>,
    },
    /// The last.
    End(Totals),
}

/// The fields of any line, so that an error can name the one that is wrong.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pliantdb_dump: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<SlotCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<CollectionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<DocumentId>,
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<NamespaceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyName>,
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Totals>,
}

/// A field that is there, even if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Fields<'_> {
    /// The names of those that are there.
    fn given(&self) -> Vec<&'static str> {
        let fields = [
            ("pliantdbDump", self.pliantdb_dump.is_some()),
            ("database", self.database.is_some()),
            ("slots", self.slots.is_some()),
            ("collection", self.collection.is_some()),
            ("id", self.id.is_some()),
            ("body", self.body.is_some()),
            ("namespace", self.namespace.is_some()),
            ("key", self.key.is_some()),
            ("value", self.value.is_some()),
            ("expires", self.expires.is_some()),
            ("end", self.end.is_some()),
        ];
        // Who made it is for people.
        fields
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect()
    }
}

fn body(raw: &RawValue, of: &impl std::fmt::Debug) -> Result<Body, String> {
    Body::parse(raw.get().as_bytes().to_vec()).map_err(|error| format!("of {of:?}: {error}"))
}

/// A JSON text without line ends, which it has between its tokens only, where any space is as good.
fn one_line(body: &Body) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(body.as_str().replace(['\n', '\r'], " "))
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Which fields are there says what line it is; none may be there besides.
        let given = fields.given();
        let (known, line): (&[&str], Self) = match fields {
            Fields {
                pliantdb_dump: Some(format),
                ..
            } => (&["pliantdbDump"], Self::Header { format }),
            Fields {
                database: Some(name),
                slots: Some(slots),
                ..
            } => (&["database", "slots"], Self::Database { name, slots }),
            Fields {
                collection: Some(collection),
                id: Some(id),
                body: Some(raw),
                ..
            } => {
                let body = body(raw, &id)?;
                let line = Self::Document { collection, id, body };
                (&["collection", "id", "body"], line)
            }
            Fields {
                namespace: Some(namespace),
                key: Some(key),
                value: Some(raw),
                expires,
                ..
            } => {
                let value = body(raw, &key)?;
                let line = Self::Value {
                    namespace,
                    key,
                    value,
                    expires,
                };
                (&["namespace", "key", "value", "expires"], line)
            }
            Fields {
                end: Some(totals), ..
            } => (&["end"], Self::End(totals)),
            _ => (&[], Self::End(Totals::default())),
        };
        match !known.is_empty() && given.iter().all(|name| known.contains(name)) {
            true => Ok(line),
            false => Err(format!(
                "the fields {given:?} do not make a line of a dump: it must have database and slots; collection, id and \
                 body; namespace, key, value and perhaps expires; or end"
            )),
        }
    }

    /// The line, without its end.
    pub(super) fn text(self) -> Result<String, serde_json::Error> {
        let raw;
        let fields = match self {
            Self::Header { format } => Fields {
                pliantdb_dump: Some(format),
                made_by: Some(env!("CARGO_PKG_VERSION").to_owned()),
                ..Fields::default()
            },
            Self::Database { name, slots } => Fields {
                database: Some(name),
                slots: Some(slots),
                ..Fields::default()
            },
            Self::Document { collection, id, body } => {
                // JSON has line ends between its tokens only, where any space is as good.
                let text = body.as_str().replace(['\n', '\r'], " ");
                raw = RawValue::from_string(text)?;
                Fields {
                    collection: Some(collection),
                    id: Some(id),
                    body: Some(&raw),
                    ..Fields::default()
                }
            }
            Self::Value {
                namespace,
                key,
                value,
                expires,
            } => {
                raw = one_line(&value)?;
                Fields {
                    namespace: Some(namespace),
                    key: Some(key),
                    value: Some(&raw),
                    expires,
                    ..Fields::default()
                }
            }
            Self::End(totals) => Fields {
                end: Some(totals),
                ..Fields::default()
            },
        };
        serde_json::to_string(&fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let document = |body: &str| Line::Document {
            collection: "users".parse().unwrap(),
            id: "ada".parse().unwrap(),
            body: Body::parse(body.as_bytes().to_vec()).unwrap(),
        };
        let totals = Totals {
            databases: 1,
            documents: 2,
            values: 3,
        };
        let value = |expires| Line::Value {
            namespace: "sessions".parse().unwrap(),
            key: "7".parse().unwrap(),
            value: Body::parse(b"null".to_vec()).unwrap(),
            expires,
        };
        let database = Line::Database {
            name: DatabaseName::default_database(),
            slots: SlotCount::default(),
        };
        for (line, text) in [
            (database, r#"{"database":"default","slots":16}"#),
            (
                document(r#"{"born": 1815.00000000000000000001}"#),
                r#"{"collection":"users","id":"ada","body":{"born": 1815.00000000000000000001}}"#,
            ),
            (
                document("null"),
                r#"{"collection":"users","id":"ada","body":null}"#,
            ),
            (value(None), r#"{"namespace":"sessions","key":"7","value":null}"#),
            (
                value(Some(5)),
                r#"{"namespace":"sessions","key":"7","value":null,"expires":5}"#,
            ),
            (
                Line::End(totals),
                r#"{"end":{"databases":1,"documents":2,"values":3}}"#,
            ),
        ] {
            assert_eq!(Line::parse(text), Ok(line));
            assert_eq!(Line::parse(text).unwrap().text().unwrap(), text);
        }
        let text = document("{\r\n\"a\":\n1}").text().unwrap();
        assert_eq!(text, r#"{"collection":"users","id":"ada","body":{  "a": 1}}"#);
        let header = Line::Header { format: 1 }.text().unwrap();
        assert!(header.starts_with(r#"{"pliantdbDump":1,"madeBy":""#), "{header}");
        assert_eq!(Line::parse(&header), Ok(Line::Header { format: 1 }));
    }

    #[test]
    fn says_what_is_wrong_with_a_line() {
        for (text, part) in [
            ("", "EOF"),
            ("1", "invalid type"),
            ("{}", "do not make a line"),
            (r#"{"database":"default"}"#, "do not make a line"),
            (r#"{"database":"_x","slots":16}"#, "_x"),
            (r#"{"database":"x","slots":0}"#, "slots"),
            (r#"{"collection":"users","id":"ada"}"#, "do not make a line"),
            (r#"{"collection":"users","id":"ada","body":{}"#, "EOF"),
            (r#"{"collection":"users","id":"","body":{}}"#, "id"),
            (
                r#"{"collection":"users","id":"a","body":1,"key":"k"}"#,
                "do not make a line",
            ),
            (r#"{"namespace":"n","key":"k","expires":1}"#, "do not make a line"),
            (r#"{"collection":"users","id":"a","body":1,"expires":-1}"#, "-1"),
            (
                r#"{"collection":"users","id":"ada","body":{},"extra":1}"#,
                "extra",
            ),
            (
                r#"{"collection":"users","id":"ada","id":"bob","body":{}}"#,
                "duplicate",
            ),
        ] {
            let error = Line::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!(
            r#"{{"collection":"users","id":"ada","body":{}1{}}}"#,
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert!(Line::parse(&deep).is_err());
    }

    #[test]
    fn any_text() {
        let seeds = [
            r#"{"pliantdbDump":1}"#,
            r#"{"database":"default","slots":16}"#,
            r#"{"collection":"users","id":"ada","body":{"born":1815}}"#,
            r#"{"namespace":"sessions","key":"7","value":null,"expires":1}"#,
            r#"{"end":{"databases":1,"documents":2,"values":3}}"#,
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                let Ok(text) = str::from_utf8(&bytes) else { return };
                if let Ok(line) = Line::parse(text) {
                    let again = line.text().unwrap();
                    assert!(!again.contains('\n'));
                    assert_eq!(Line::parse(&again).unwrap().text().unwrap(), again);
                }
            });
    }
}
