//! Writing a dump.

use std::fmt::Display;
use std::io::{self, Write};
use std::str::FromStr;

use pliantdb_core::Order;

use super::line::{FORMAT, Line, Totals};
use crate::error::StorageError;
use crate::inspect::{self, Place};
use crate::records::{self, corrupt};
use crate::storage::Storage;
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot};

/// Why a dump failed. What was written has no last line, so nobody takes it for whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The dump could not be written.
    #[error("cannot write the dump: {0}")]
    Write(String),
    /// The storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Writes everything in `storage`, as it is at this moment, to `out`: of a database at a time, its documents and values in
/// no particular order. Views are not in it: they are built anew when the database is opened with its schema. Reads and writes go on.
///
/// # Errors
/// [`DumpError`].
pub fn dump(storage: &Storage, mut out: impl Write) -> Result<Totals, DumpError> {
    let mut write = |line: Line| {
        let mut text = line.text().map_err(io::Error::other)?;
        text.push('\n');
        out.write_all(text.as_bytes())
    };
    let mut write = |line| write(line).map_err(|error| DumpError::Write(error.to_string()));
    let (snapshot, mut totals) = (storage.engine().store.snapshot(), Totals::default());
    write(Line::Header { format: FORMAT })?;
    for (name, entry) in inspect::databases(&snapshot)? {
        write(Line::Database {
            name: name.clone(),
            slots: entry.slots,
        })?;
        totals.databases += 1;
        let range = KeyRange::prefixed(&entry.id.get().to_be_bytes());
        let mut cursor = snapshot
            .scan(range, Order::Ascending)
            .map_err(StorageError::from)?;
        while let Some((key, value)) = cursor.entry() {
            let line = content(key, value)?;
            match &line {
                Some(Line::Document { .. }) => totals.documents += 1,
                Some(_) => totals.values += 1,
                None => {}
            }
            line.map(&mut write).transpose()?;
            cursor.advance().map_err(StorageError::from)?;
        }
    }
    write(Line::End(totals))?;
    out.flush().map_err(|error| DumpError::Write(error.to_string()))?;
    Ok(totals)
}

/// A document or a value; `None` for anything else, which is made from documents.
fn content(key: &[u8], value: &[u8]) -> Result<Option<Line>, StorageError> {
    let line = match Place::of(key) {
        Some((_, Place::Document { collection, id, .. })) => Line::Document {
            collection: name("document", collection)?,
            id: name("document", id)?,
            body: records::decode_document(value)?.1,
        },
        Some((_, Place::Value { namespace, key, .. })) => {
            let stored = records::decode_value(value)?;
            Line::Value {
                namespace: name("value", namespace)?,
                key: name("value", key)?,
                value: stored.body,
                expires: stored.expires,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(line))
}

/// A name or id in a key.
fn name<T: FromStr<Err: Display>>(kind: &str, bytes: &[u8]) -> Result<T, StorageError> {
    let text = str::from_utf8(bytes).map_err(|error| corrupt(kind, error))?;
    Ok(text.parse().map_err(|error| corrupt(kind, error))?)
}
