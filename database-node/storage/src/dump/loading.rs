//! Reading a dump.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pliantdb_core::{
    Change, ChangeAction, DatabaseName, Error, Expiry, KeyAction, KeyCondition, KeyStatus, Outcome,
    Precondition, Rejection, Request, shorten,
};

use super::line::{FORMAT, Line, Totals};
use crate::error::StorageError;
use crate::storage::Storage;

/// The longest line that is read, in bytes: more than any document that a node takes.
const MAX_LINE: u64 = 257 << 20;
/// Lines on their way to the disk at once, so that many share a sync; and their bytes.
const IN_FLIGHT: usize = 1024;
const BYTES_IN_FLIGHT: usize = 64 << 20;

/// Why a dump was not loaded, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The dump cannot be read.
    #[error("cannot read line {line} of the dump: {reason}")]
    Read {
        /// The line, from 1.
        line: u64,
        /// What the operating system said.
        reason: String,
    },
    /// A line is not what it can be.
    #[error("line {line} of the dump is wrong: {reason}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A dump by a later version of PliantDB.
    #[error(
        "the dump has format {found}, and this version knows formats up to {FORMAT}; load it with the version that \
         made it, or a later one"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// The end is missing.
    #[error("the dump ends after line {line} without its last line (\"end\"): it is incomplete")]
    Incomplete {
        /// The last line that is there.
        line: u64,
    },
    /// What a line holds could not be stored.
    #[error("line {line} of the dump cannot be stored: {error}")]
    Store {
        /// The line, from 1.
        line: u64,
        /// Why.
        error: Error,
    },
}

/// Reads a whole dump and checks every line, storing nothing.
///
/// # Errors
/// Any [`LoadError`] except [`LoadError::Store`].
pub fn check_dump(dump: impl BufRead) -> Result<Totals, LoadError> {
    read(dump, |_, _, _| Ok(()))
}

/// Stores everything in a dump. Databases are created as needed; documents get new revisions, and a document or
/// value that exists already is an error. Values that have expired meanwhile are left out. What comes before a line that is wrong is stored: [`check_dump`] finds it before.
///
/// # Errors
/// Any [`LoadError`].
pub fn load(storage: &Storage, dump: impl BufRead) -> Result<Totals, LoadError> {
    let mut loader = Loader::new(storage);
    let totals = read(dump, |number, database, line| {
        loader.store(number, database, line)
    });
    // Also after an error: what is on its way arrives or fails before this returns.
    let stored = loader.finish();
    let totals = totals?;
    stored?;
    Ok(totals)
}

/// Hands each line to `take`, with its number and the database that it is in.
fn read(
    mut dump: impl BufRead,
    mut take: impl FnMut(u64, Option<&DatabaseName>, Line) -> Result<(), LoadError>,
) -> Result<Totals, LoadError> {
    let (mut number, mut database, mut found) = (0, None, Totals::default());
    let mut bytes = Vec::new();
    let mut end = None;
    loop {
        number += 1;
        bytes.clear();
        let wrong = |reason: String| LoadError::Line { line: number, reason };
        let mut limited = dump.by_ref().take(MAX_LINE);
        limited
            .read_until(b'\n', &mut bytes)
            .map_err(|error| LoadError::Read {
                line: number,
                reason: error.to_string(),
            })?;
        if bytes.is_empty() {
            return end.ok_or(LoadError::Incomplete { line: number - 1 });
        }
        if bytes.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(match bytes.len() as u64 {
                MAX_LINE => wrong(format!("it is longer than {MAX_LINE} bytes")),
                _ => LoadError::Incomplete { line: number - 1 },
            });
        }
        if end.is_some() {
            return Err(wrong("it comes after the last one (\"end\")".to_owned()));
        }
        let text = str::from_utf8(&bytes).map_err(|error| wrong(format!("it is not UTF-8: {error}")))?;
        if number == 1 {
            check_header(text)?;
            continue;
        }
        let line = Line::parse(text).map_err(wrong)?;
        match &line {
            Line::Header { .. } => return Err(wrong("it is another first line".to_owned())),
            Line::Database { name, .. } => {
                found.databases += 1;
                database = Some(name.clone());
            }
            Line::Document { .. } | Line::Value { .. } if database.is_none() => {
                return Err(wrong("it comes before any database".to_owned()));
            }
            Line::Document { .. } => found.documents += 1,
            Line::Value { .. } => found.values += 1,
            Line::End(totals) if *totals == found => end = Some(found),
            Line::End(totals) => {
                return Err(wrong(format!("it says {totals:?}, and the dump holds {found:?}")));
            }
        }
        take(number, database.as_ref(), line)?;
    }
}

fn check_header(text: &str) -> Result<(), LoadError> {
    /// All that a header of a later format need have.
    #[derive(serde::Deserialize)]
    struct Format {
        #[serde(rename = "pliantdbDump")]
        format: u32,
    }
    match serde_json::from_str(text) {
        Ok(Format { format: FORMAT }) => Ok(()),
        Ok(Format { format: found }) if found > FORMAT => Err(LoadError::Newer { found }),
        _ => Err(LoadError::Line {
            line: 1,
            reason: format!(
                "it must be {{\"pliantdbDump\":{FORMAT}, …}} and is {:?}",
                shorten(text)
            ),
        }),
    }
}

fn not_stored(line: u64, error: Error) -> LoadError {
    LoadError::Store { line, error }
}

/// What came of a line: its number, its bytes, and whether it is stored.
type Stored = (u64, usize, Result<(), Error>);

/// Stores lines, many at once.
struct Loader<'a> {
    storage: &'a Storage,
    done: (Sender<Stored>, Receiver<Stored>),
    /// By line, so that the first failure is named.
    failed: BTreeMap<u64, Error>,
    on_their_way: usize,
    bytes: usize,
}

impl<'a> Loader<'a> {
    fn new(storage: &'a Storage) -> Self {
        Self {
            storage,
            done: channel(),
            failed: BTreeMap::new(),
            on_their_way: 0,
            bytes: 0,
        }
    }

    fn store(&mut self, line: u64, database: Option<&DatabaseName>, content: Line) -> Result<(), LoadError> {
        let request = match content {
            Line::Header { .. } | Line::End(_) => return Ok(()),
            Line::Database { name, slots } => {
                return match self.storage.create(&name, slots) {
                    Ok(_) | Err(StorageError::Rejected(Rejection::DatabaseExists { .. })) => Ok(()),
                    Err(error) => Err(not_stored(line, error.into())),
                };
            }
            Line::Document { collection, id, body } => {
                let precondition = Precondition::Absent;
                let action = ChangeAction::Put {
                    id,
                    body,
                    precondition,
                };
                Request::Transact(vec![Change { collection, action }])
            }
            Line::Value {
                namespace,
                key,
                value,
                expires,
            } => {
                let now = self.storage.engine().log_clock.now_ms();
                let expiry = match expires.map(|expires| expires.saturating_sub(now)) {
                    None => Expiry::Never,
                    Some(0) => return Ok(()),
                    Some(millis) => Expiry::After(Duration::from_millis(millis)),
                };
                let action = KeyAction::Set {
                    value,
                    expiry,
                    condition: KeyCondition::Vacant,
                };
                Request::ChangeKey {
                    namespace,
                    key,
                    action,
                }
            }
        };
        match database {
            Some(database) => self.submit(line, database, request),
            None => Ok(()),
        }
    }

    fn submit(&mut self, line: u64, database: &DatabaseName, request: Request) -> Result<(), LoadError> {
        let operation = self.storage.engine().operation(database, request, None);
        let operation = operation.map_err(|error| not_stored(line, error))?;
        let bytes = operation.size();
        while self.on_their_way > 0
            && (self.on_their_way >= IN_FLIGHT || self.bytes + bytes > BYTES_IN_FLIGHT)
        {
            self.receive();
        }
        self.first_failure()?;
        let done = self.done.0.clone();
        let submitted = self.storage.submit(operation, move |result| {
            let stored = match result {
                Ok(Outcome::Key(outcome)) if outcome.status == KeyStatus::Unchanged => {
                    Err(Error::Invalid("the key has a value already".to_owned()))
                }
                result => result.map(|_| ()).map_err(Error::from),
            };
            // Heard until all have arrived.
            let _ = done.send((line, bytes, stored));
        });
        submitted.map_err(|error| not_stored(line, error.into()))?;
        self.on_their_way += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Waits for one of those on their way.
    fn receive(&mut self) {
        if let Ok((line, bytes, result)) = self.done.1.recv() {
            self.on_their_way -= 1;
            self.bytes -= bytes;
            if let Err(error) = result {
                self.failed.insert(line, error);
            }
        }
    }

    fn first_failure(&self) -> Result<(), LoadError> {
        match self.failed.first_key_value() {
            Some((line, error)) => Err(not_stored(*line, error.clone())),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), LoadError> {
        while self.on_their_way > 0 {
            self.receive();
        }
        self.first_failure()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LoadError, check_dump};

    const PARTS: [&[u8]; 8] = [
        b"{\"pliantdbDump\":1}\n",
        b"{\"database\":\"a\",\"slots\":1}\n",
        b"{\"collection\":\"c\",\"id\":\"i\",\"body\":[]}\n",
        b"{\"end\":{\"databases\":1,\"documents\":1,\"values\":0}}\n",
        b"{",
        b"\n",
        b"\xff",
        b"\"body\":",
    ];

    proptest! {
        #[test]
        fn nothing_makes_reading_panic(lines in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..8)) {
            match check_dump(&*lines.concat()) {
                Ok(totals) => prop_assert_eq!((totals.databases, totals.documents), (1, 1)),
                Err(LoadError::Line { line, .. } | LoadError::Incomplete { line }) => prop_assert!(line <= 9),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
