//! The lines of a dump.
//!
//! ```text
//! {"pliantdbDump":1,"madeBy":"0.1.0"}
//! {"database":"default","slots":16}
//! {"collection":"users","id":"ada","body":{"born": 1815}}
//! {"end":{"databases":1,"documents":1}}
//! ```

use pliantdb_core::{Body, CollectionName, DatabaseName, DocumentId, SlotCount};
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
    end: Option<Totals>,
}

/// A field that is there, even if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match fields {
            // Whatever else a later format has in it.
            Fields {
                pliantdb_dump: Some(format),
                database: None,
                slots: None,
                collection: None,
                id: None,
                body: None,
                end: None,
                ..
            } => Ok(Self::Header { format }),
            Fields {
                pliantdb_dump: None,
                made_by: None,
                database: Some(name),
                slots: Some(slots),
                collection: None,
                id: None,
                body: None,
                end: None,
            } => Ok(Self::Database { name, slots }),
            Fields {
                pliantdb_dump: None,
                made_by: None,
                database: None,
                slots: None,
                collection: Some(collection),
                id: Some(id),
                body: Some(body),
                end: None,
            } => {
                let body = Body::parse(body.get().as_bytes().to_vec());
                let body = body.map_err(|error| format!("the body of {id:?}: {error}"))?;
                Ok(Self::Document {
                    collection,
                    id,
                    body,
                })
            }
            Fields {
                pliantdb_dump: None,
                made_by: None,
                database: None,
                slots: None,
                collection: None,
                id: None,
                body: None,
                end: Some(totals),
            } => Ok(Self::End(totals)),
            _ => Err(
                "its fields do not make a line of a dump: it must have database and slots, or collection, id and \
                 body, or end"
                    .to_owned(),
            ),
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
            (Line::End(totals), r#"{"end":{"databases":1,"documents":2}}"#),
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
}
