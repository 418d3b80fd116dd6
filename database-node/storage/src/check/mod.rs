//! Checking a data directory: every block is read with its checksum, every record decoded and compared with its place.

mod records;
mod views;

use std::path::Path;

use pliantdb_core::{DatabaseName, Order};

use crate::directory::DataDirectory;
use crate::disk_space::DiskSpace;
use crate::encryption::{self, KeyVault};
use crate::error::StorageError;
use crate::memory::{self, MemoryPlan};
use crate::store::{Cursor, EncryptedStore, KeyRange, OrderedStore, RocksStore, Snapshot, StoreError};

use records::Records;

/// So many faults are listed; more are counted.
const MAX_FAULTS: usize = 10_000;

/// What was found in a data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The databases, by name.
    pub databases: Vec<CheckedDatabase>,
    /// What is wrong, in the order of the keys; at most 10,000.
    pub faults: Vec<Fault>,
    /// How many more faults there are.
    pub more_faults: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, fault: Fault) {
        match self.faults.len() < MAX_FAULTS {
            true => self.faults.push(fault),
            false => self.more_faults += 1,
        }
    }
}

/// How much a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedDatabase {
    /// Its name.
    pub name: DatabaseName,
    /// Its documents that can be read.
    pub documents: u64,
    /// The values of its key-value store that can be read.
    pub values: u64,
    /// Its other records: of views, and of the feed of changes.
    pub others: u64,
    /// The bytes of all their keys and values.
    pub bytes: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A part that cannot be read.
    #[error("nothing can be read after {after} and before {before}: {reason}")]
    Unreadable {
        /// The last thing that can be read before it.
        after: String,
        /// Where reading goes on.
        before: String,
        /// What the store said.
        reason: StoreError,
    },
    /// A record that is not of a database.
    #[error("the record \"{key}\" of the directory: {reason}")]
    Directory {
        /// Its key, with bytes that are not text escaped.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A document.
    #[error("the document {id:?} of the collection {collection:?} of the database {database:?}: {reason}")]
    Document {
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// The document.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A value of the key-value store.
    #[error("the key {key:?} of the namespace {namespace:?} of the database {database:?}: {reason}")]
    Value {
        /// The database.
        database: String,
        /// The namespace.
        namespace: String,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A view that does not agree with itself or with its documents. It can be built anew: raise its version.
    #[error("the view {view} of the collection {collection:?} of the database {database:?}: {reason}")]
    View {
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// The view.
        view: String,
        /// What is wrong.
        reason: String,
    },
    /// Another record of a database.
    #[error("the record \"{key}\" of the database {database:?}: {reason}")]
    Record {
        /// The database.
        database: String,
        /// Its key, with bytes that are not text escaped.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Records of a database that does not exist.
    #[error("there are {records} records of the database with the number {number}, which does not exist")]
    NoSuchDatabase {
        /// Its number.
        number: u32,
        /// How many.
        records: u64,
    },
}

/// Reads all of the data directory at `path`, which must not be in use, and changes nothing that is stored there.
/// `encryption` is its master key, if it is encrypted.
///
/// # Errors
/// Those of opening it: what cannot be opened at all cannot be checked. Everything else is in the report.
pub fn check(path: &Path, encryption: Option<&dyn KeyVault>) -> Result<CheckReport, StorageError> {
    let directory = DataDirectory::open_existing(path)?;
    let key = encryption::directory_key(&directory, encryption)?;
    let memory = MemoryPlan::for_limit(memory::limit()).on_disk(DiskSpace::total(directory.path())?);
    let store = RocksStore::open_read_only(&directory.state(), memory)?;
    let store = match key {
        Some(key) => EncryptedStore::open(store, key)?,
        None => EncryptedStore::plain(store),
    };
    let mut records = Records::new(&store);
    // As it is on the disk; each value is decrypted by itself, so that one that cannot be does not end the scan.
    let snapshot = store.inner().snapshot();
    let (mut at, mut next) = (Vec::new(), Some(Vec::new()));
    // Whether something was read since the last fault.
    let mut went_on = true;
    while let Some(start) = next {
        next = None;
        at.clone_from(&start);
        let scanned = scan(&snapshot, start, |key, value| {
            key.clone_into(&mut at);
            went_on = true;
            records.take(key, value);
        });
        if let Err(reason) = scanned {
            next = restart(&store, &records, &at)?;
            let before = next.as_ref().map(|key| records.describe(key));
            let before = before.unwrap_or_else(|| "the end".to_owned());
            match records.report.faults.last_mut() {
                Some(Fault::Unreadable { before: longer, .. }) if !went_on => *longer = before,
                _ => records.report.add(Fault::Unreadable {
                    after: records.describe(&at),
                    before,
                    reason,
                }),
            }
            went_on = false;
        }
    }
    let mut report = records.finish();
    // What cannot be read is in the report already, and would be once more for every view.
    if report.is_sound() {
        views::check(&store.snapshot(), &mut report)?;
    }
    Ok(report)
}

/// Reads from a key on, as far as it goes.
fn scan(
    snapshot: &impl Snapshot,
    start: Vec<u8>,
    mut take: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let mut cursor = snapshot.scan(KeyRange { start, end: None }, Order::Ascending)?;
    while let Some((key, value)) = cursor.entry() {
        take(key, value);
        cursor.advance()?;
    }
    Ok(())
}

/// The next key after `at` from which on it may be possible to read: where a file or a slot begins.
fn restart(
    store: &EncryptedStore<RocksStore>,
    records: &Records<'_>,
    at: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut starts = store.inner().file_starts()?;
    starts.extend(records.slot_starts());
    Ok(starts.into_iter().filter(|start| start.as_slice() > at).min())
}
