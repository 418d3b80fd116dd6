//! What a record says: an id and a document.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use pliantdb_core::{Body, DocumentId, shorten};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::records::{LONGEST, Record};
use crate::cli::failure::Failure;

/// The field that holds a document which is no object, in JSON lines.
pub(crate) const BODY_FIELD: &str = "_body";

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// As they are.
    Text,
    Number,
    Bool,
    /// Any JSON.
    Json,
}

impl ColumnType {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Json => "json",
        }
    }
}

/// The type of a column, as `COLUMN:TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    column: String,
    is: ColumnType,
}

impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let types = [
            ColumnType::Text,
            ColumnType::Number,
            ColumnType::Bool,
            ColumnType::Json,
        ];
        let found = text.rsplit_once(':').and_then(|(column, name)| {
            let is = types.into_iter().find(|is| is.name() == name)?;
            let column = column.to_owned();
            Some(Self { column, is })
        });
        found.ok_or_else(|| {
            format!(
                "{:?} is not a column's type: write COLUMN:number, :bool, :json or :string",
                shorten(text)
            )
        })
    }
}

/// How records become documents.
pub(super) enum Reader {
    Lines {
        id_column: String,
        /// Whether every document must have that field.
        needs_id: bool,
    },
    Csv {
        separator: u8,
        columns: Vec<(String, ColumnType)>,
        id_column: Option<usize>,
    },
}

/// A document that is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) id: Option<DocumentId>,
    pub(super) body: Body,
}

impl Reader {
    /// The reader of CSV with this header.
    ///
    /// # Errors
    /// A column that is there twice, or is not there and should be.
    pub(super) fn csv(
        separator: u8,
        header: &Record,
        types: &[Typed],
        id_column: &str,
        needs_id: bool,
    ) -> Result<Self, Failure> {
        let wrong = |reason: String| Failure::usage(format!("the header of the CSV file: {reason}"));
        // Some programs begin files with a byte order mark.
        let text = header
            .bytes
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(&header.bytes);
        let names = cells(text, separator).map_err(wrong)?;
        let mut columns: Vec<(String, ColumnType)> = Vec::with_capacity(names.len());
        for name in names {
            if columns.iter().any(|(known, _)| *known == name) {
                return Err(wrong(format!("the column {:?} is there twice", shorten(&name))));
            }
            columns.push((name, ColumnType::Text));
        }
        for Typed { column, is } in types {
            match columns.iter_mut().find(|(name, _)| name == column) {
                Some((_, type_of)) => *type_of = *is,
                None => {
                    return Err(wrong(format!(
                        "there is no column {column:?}, which --types names"
                    )));
                }
            }
        }
        let id_column = match columns.iter().position(|(name, _)| name == id_column) {
            None if needs_id => {
                return Err(wrong(format!(
                    "there is no column {id_column:?}, which --id-column names"
                )));
            }
            found => found,
        };
        Ok(Self::Csv {
            separator,
            columns,
            id_column,
        })
    }

    /// Reads a record; `None` for one without anything in it.
    ///
    /// # Errors
    /// Why it is no document.
    pub(super) fn read(&self, record: &Record) -> Result<Option<Incoming>, String> {
        if record.is_cut {
            return Err(format!(
                "it is longer than {LONGEST} bytes; is a quote or a line end missing?"
            ));
        }
        if record.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        match self {
            Self::Lines { id_column, needs_id } => read_json(&record.bytes, id_column, *needs_id).map(Some),
            Self::Csv {
                separator,
                columns,
                id_column,
            } => read_csv(&cells(&record.bytes, *separator)?, columns, *id_column).map(Some),
        }
    }
}

/// The fields of an object, in their order, as they are written.
pub(crate) struct Fields(pub(crate) Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn read_json(bytes: &[u8], id_column: &str, needs_id: bool) -> Result<Incoming, String> {
    let whole = Body::parse(bytes.to_vec()).map_err(|error| error.to_string())?;
    let missing = || format!("there is no field {id_column:?}, which is to be its id");
    if !whole.as_str().trim_start().starts_with('{') {
        return match needs_id {
            true => Err(missing()),
            false => Ok(Incoming {
                id: None,
                body: whole,
            }),
        };
    }
    let Fields(mut fields) = whole.read().map_err(|error| error.to_string())?;
    let Some(at) = fields.iter().position(|(name, _)| name == id_column) else {
        return match needs_id {
            true => Err(missing()),
            false => Ok(Incoming {
                id: None,
                body: whole,
            }),
        };
    };
    let (_, id) = fields.remove(at);
    let id = match serde_json::from_str::<serde_json::Value>(id.get()) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Number(_)) => id.get().to_owned(),
        _ => {
            return Err(format!(
                "the field {id_column:?} is {}, which is no id",
                shorten(id.get())
            ));
        }
    };
    let body = match fields.as_slice() {
        [(name, body)] if name == BODY_FIELD => body.get().to_owned(),
        fields => object(fields.iter().map(|(name, value)| (name.as_str(), value.get()))),
    };
    Ok(Incoming {
        id: Some(
            id.parse()
                .map_err(|error: pliantdb_core::InvalidDocumentId| error.to_string())?,
        ),
        body: Body::try_from(body).map_err(|error| error.to_string())?,
    })
}

/// An object of fields whose values are JSON.
fn object<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>) -> String {
    let mut text = "{".to_owned();
    for (name, value) in fields {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name).to_string());
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    text
}

fn cells(bytes: &[u8], separator: u8) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(separator)
        .buffer_capacity(bytes.len().clamp(64, 64 << 10))
        .from_reader(bytes);
    match reader.records().next() {
        Some(Ok(record)) => Ok(record.iter().map(str::to_owned).collect()),
        Some(Err(error)) => Err(format!("it is not CSV: {error}")),
        None => Err("there is nothing in it".to_owned()),
    }
}

fn read_csv(
    cells: &[String],
    columns: &[(String, ColumnType)],
    id_column: Option<usize>,
) -> Result<Incoming, String> {
    if cells.len() != columns.len() {
        return Err(format!(
            "it has {} fields, and the header {}",
            cells.len(),
            columns.len()
        ));
    }
    let (mut fields, mut id) = (Vec::with_capacity(cells.len()), None);
    for (index, (cell, (name, is))) in cells.iter().zip(columns).enumerate() {
        if id_column == Some(index) {
            let parsed = cell.parse::<DocumentId>();
            id = Some(parsed.map_err(|error| format!("the column {name:?} is to be its id: {error}"))?);
        } else if !cell.is_empty() {
            fields.push((name.as_str(), value(name, cell, *is)?));
        }
    }
    let body = object(fields.iter().map(|(name, value)| (*name, value.as_str())));
    Ok(Incoming {
        id,
        body: Body::try_from(body).map_err(|error| error.to_string())?,
    })
}

/// A cell as JSON.
fn value(column: &str, cell: &str, is: ColumnType) -> Result<String, String> {
    let wrong = |what: &str| {
        Err(format!(
            "the column {column:?} is {:?}, which is {what}",
            shorten(cell)
        ))
    };
    let trimmed = cell.trim();
    match is {
        ColumnType::Text => Ok(serde_json::Value::from(cell).to_string()),
        ColumnType::Number => match serde_json::from_str::<serde_json::Number>(trimmed) {
            Ok(_) => Ok(trimmed.to_owned()),
            Err(_) => wrong("not a number"),
        },
        ColumnType::Bool => match trimmed {
            "true" | "false" => Ok(trimmed.to_owned()),
            _ => wrong("neither true nor false"),
        },
        ColumnType::Json => match serde_json::from_str::<&RawValue>(trimmed) {
            Ok(_) => Ok(trimmed.to_owned()),
            Err(_) => wrong("not JSON"),
        },
    }
}

/// The id of a record that has none: made of the file's name, and where and what the record is. The same record of the
/// same file is the same document however often it is imported.
pub(super) fn derived_id(source: &str, record: &Record) -> DocumentId {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&(source.len() as u64).to_be_bytes());
    hash.update(source.as_bytes());
    hash.update(&record.offset.to_be_bytes());
    hash.update(&record.bytes);
    let digest = hash.finish();
    let mut bits = [0; 16];
    bits.iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    DocumentId::from_u128(uuid::Builder::from_custom_bytes(bits).into_uuid().as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record {
            offset: 0,
            end: text.len() as u64,
            line: 1,
            bytes: text.as_bytes().to_vec(),
            is_cut: false,
        }
    }

    fn lines(text: &str, needs_id: bool) -> Result<(Option<String>, String), String> {
        let reader = Reader::Lines {
            id_column: "_id".to_owned(),
            needs_id,
        };
        let read = reader.read(&record(text))?.unwrap();
        Ok((
            read.id.map(|id| id.as_str().to_owned()),
            read.body.as_str().to_owned(),
        ))
    }

    #[test]
    fn json_keeps_everything_but_the_id() {
        let id = |id: &str| Some(id.to_owned());
        for (text, expected) in [
            (
                r#"{"b": 1.50, "_id": "x", "a": 12345678901234567890123}"#,
                (id("x"), r#"{"b":1.50,"a":12345678901234567890123}"#),
            ),
            (r#"{"_id": 7}"#, (id("7"), "{}")),
            (r#"{"_id": "x", "_body": [1]}"#, (id("x"), "[1]")),
            (r#"{ "a": 1 }"#, (None, r#"{ "a": 1 }"#)),
            ("7", (None, "7")),
        ] {
            assert_eq!(
                lines(text, false).unwrap(),
                (expected.0, expected.1.to_owned()),
                "{text}"
            );
        }
        for (text, reason) in [
            ("{", "not valid JSON"),
            (r#"{"_id": null}"#, "is null, which is no id"),
            (r#"{"_id": ""}"#, "id"),
        ] {
            assert!(lines(text, false).unwrap_err().contains(reason), "{text}");
        }
        assert!(lines("7", true).unwrap_err().contains("\"_id\""));
    }

    #[test]
    fn csv_has_types() {
        let types: Vec<Typed> = ["n:number", "ok:bool", "j:json"]
            .iter()
            .map(|it| it.parse().unwrap())
            .collect();
        let reader = Reader::csv(b',', &record("\u{feff}id,n,ok,j,t"), &types, "id", true).unwrap();
        let read = |text: &str| reader.read(&record(text));
        let found = read("a,1.50,true,\"[1,\"\"x\"\"]\",\"two\nlines\"")
            .unwrap()
            .unwrap();
        assert_eq!(found.id.unwrap().as_str(), "a");
        assert_eq!(
            found.body.as_str(),
            r#"{"n":1.50,"ok":true,"j":[1,"x"],"t":"two\nlines"}"#
        );
        assert_eq!(read("a,,,,").unwrap().unwrap().body.as_str(), "{}");
        assert_eq!(read(" ").unwrap(), None);
        for (text, reason) in [
            ("a,x,,,", "\"n\" is \"x\", which is not a number"),
            ("a,1,yes,,", "neither true nor false"),
            ("a,1,,{,", "not JSON"),
            ("a,1", "2 fields, and the header 5"),
            (",1,,,", "\"id\" is to be its id"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!("n:int".parse::<Typed>().unwrap_err().contains("COLUMN:number"));
        let twice = Reader::csv(b',', &record("a,a"), &[], "_id", false)
            .err()
            .unwrap();
        assert!(twice.message.contains("twice"));
    }

    #[test]
    fn a_record_has_one_id() {
        let (first, mut second) = (record("{}"), record("{}"));
        second.offset = 3;
        assert_eq!(derived_id("f", &first), derived_id("f", &first));
        assert_ne!(derived_id("f", &first), derived_id("f", &second));
        assert_ne!(derived_id("f", &first), derived_id("g", &first));
    }

    /// Every record is read or rejected, and the records are the whole file.
    #[test]
    fn any_file() {
        use crate::cli::import::records::{Ends, Records};
        let seeds = [
            "id,n,ok,j\n1,2,true,\"[1,\n\"\"x\"\"]\"\n\n2,,,\n",
            "{\"id\": \"a\", \"b\": [1]}\r\n7\n{\"id\": 7, \"_body\": null}\n",
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        let types: Vec<Typed> = ["n:number", "ok:bool", "j:json"]
            .iter()
            .map(|it| it.parse().unwrap())
            .collect();
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                for ends in [Ends::Line, Ends::UnquotedLine(b',')] {
                    let mut records = Records::new(&bytes[..], ends);
                    let mut reader = Some(Reader::Lines {
                        id_column: "id".to_owned(),
                        needs_id: false,
                    });
                    let mut end = 0;
                    while let Some(record) = records.next().unwrap() {
                        assert_eq!(record.offset, end);
                        end = record.end;
                        if record.offset == 0 && ends != Ends::Line {
                            reader = Reader::csv(b',', &record, &types, "id", false).ok();
                        }
                        if let Some(Err(reason)) = reader.as_ref().map(|reader| reader.read(&record)) {
                            assert!(reason.len() < 4000, "{reason}");
                        }
                    }
                    assert_eq!(end, bytes.len() as u64);
                }
            });
    }
}
