//! Writing a dump.

use std::io::{self, Write};

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

/// Writes everything in `storage`, as it is at this moment, to `out`: of a database at a time, the documents in no
/// particular order. Reads and writes go on.
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
    let (snapshot, mut totals) = (storage.store().snapshot(), Totals::default());
    write(Line::Header { format: FORMAT })?;
    for (name, entry) in inspect::databases(&snapshot)? {
        write(Line::Database {
            name: name.clone(),
            slots: entry.slots,
        })?;
        totals.databases += 1;
        let range = KeyRange::prefixed(&entry.id.get().to_be_bytes());
        let mut cursor = snapshot.scan(range).map_err(StorageError::from)?;
        while let Some((key, value)) = cursor.entry() {
            if let Some(document) = document(key, value)? {
                write(document)?;
                totals.documents += 1;
            }
            cursor.advance().map_err(StorageError::from)?;
        }
    }
    write(Line::End(totals))?;
    out.flush().map_err(|error| DumpError::Write(error.to_string()))?;
    Ok(totals)
}

/// A document; `None` for anything else, which is made from documents.
fn document(key: &[u8], value: &[u8]) -> Result<Option<Line>, StorageError> {
    let Some((_, Place::Document { collection, id, .. })) = Place::of(key) else {
        return Ok(None);
    };
    let text = |bytes| str::from_utf8(bytes).map_err(|error| corrupt("document", error));
    let (_, body) = records::decode_document(value)?;
    Ok(Some(Line::Document {
        collection: text(collection)?
            .parse()
            .map_err(|error| corrupt("document", error))?,
        id: text(id)?.parse().map_err(|error| corrupt("document", error))?,
        body,
    }))
}
