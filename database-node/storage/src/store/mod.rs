//! The narrow interface that everything persistent stands on: ordered keys, atomic batches, snapshots, and
//! a clear word about what survives a crash.

mod batch;
mod encrypted;
mod memory;
mod overlaid;
mod rocks;
mod wal;

use std::sync::Arc;

pub use batch::{Batch, Change};
pub use encrypted::{EncryptedCursor, EncryptedSnapshot, EncryptedStore, KeptEncryptedSnapshot};
pub use memory::{Counters, Fault, MemorySnapshot, MemoryStore};
pub(crate) use overlaid::{Overlaid, Overlay};
use pliantdb_core::Order;
pub use rocks::{KeptRocksSnapshot, RocksStats, RocksStore};
pub use wal::TornLog;

/// Why a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Stored bytes are not what was written, or not what they can be.
    #[error("the stored data is corrupt: {0}")]
    Corrupt(String),
    /// A record of a later version of this program. It is whole, but cannot be read here.
    #[error(
        "a record of kind {kind} has version {found}, and this version knows versions up to {supported}; run the \
         version that wrote it, or a later one"
    )]
    NewerRecord {
        /// What the record is.
        kind: &'static str,
        /// Its version.
        found: u8,
        /// The newest known.
        supported: u8,
    },
    /// The disk took no more. The batch is not acknowledged and may or may not be there.
    #[error("the disk is full: {0}")]
    NoSpace(String),
    /// Any other failure of the engine or the disk below it.
    #[error("the storage engine failed: {0}")]
    Engine(String),
}

/// The number of a batch, from 1 in the order of writing since the store was opened. 0: none.
pub type BatchNumber = u64;

/// Whether a write returns when it is visible or when it is also safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Visible at once; a crash may lose it until a later sync.
    Buffered,
    /// Visible when it and every batch before it survive a crash.
    Synced,
}

/// The keys from `start` up to, not including, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key, if it exists.
    pub start: Vec<u8>,
    /// The first key after the range; `None` for no bound.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefixed(prefix: &[u8]) -> Self {
        // The first key after all of them: the prefix with its last byte below 0xff raised.
        let mut end = prefix.to_vec();
        let end = loop {
            match end.pop() {
                Some(0xff) => {}
                Some(last) => {
                    end.push(last + 1);
                    break Some(end);
                }
                None => break None,
            }
        };
        Self {
            start: prefix.to_vec(),
            end,
        }
    }

    /// Of the keys that begin with `base`, those whose rest begins with `prefix` and lies behind `after` in this order.
    #[must_use]
    pub fn listed(base: &[u8], prefix: &str, after: Option<&str>, order: Order) -> Self {
        let mut range = Self::prefixed(&[base, prefix.as_bytes()].concat());
        if let Some(after) = after {
            let after = [base, after.as_bytes()].concat();
            match order {
                // The first key that can follow: the same with a zero byte added.
                Order::Ascending => range.start = range.start.max([after.as_slice(), &[0]].concat()),
                Order::Descending => range.end = Some(range.end.map_or(after.clone(), |end| end.min(after))),
            }
        }
        range
    }

    /// Whether no key can lie in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// An ordered map of byte strings that survives crashes as far as it says.
pub trait OrderedStore: Send + Sync + 'static {
    /// An unchanging view of the store.
    type Snapshot<'a>: Snapshot
    where
        Self: 'a;

    /// A snapshot that keeps its store open.
    type Kept: Snapshot + Send + Sync + 'static;

    /// Hands the newest value of `key` to `read`, without copying it first; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a checksum does not match, else [`StoreError::Engine`].
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError>;

    /// As [`OrderedStore::get`], if that needs no disk: `None` when it would have to wait for one.
    ///
    /// # Errors
    /// As [`OrderedStore::get`].
    fn get_cached<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<Option<T>>, StoreError> {
        self.get(key, read).map(Some)
    }

    /// The store as it is now, untouched by later writes.
    fn snapshot(&self) -> Self::Snapshot<'_>;

    /// [`OrderedStore::snapshot`], which keeps the store and whoever holds it.
    fn keep(holder: Arc<dyn Holds<Self>>) -> Self::Kept
    where
        Self: Sized;

    /// [`OrderedStore::snapshot`], of what is in memory: reading what is not fails, instead of waiting for a disk.
    fn snapshot_cached(&self) -> Self::Snapshot<'_> {
        self.snapshot()
    }

    /// Writes a batch and returns its number.
    ///
    /// # Errors
    /// Any [`StoreError`]. The batch is then not visible, but may come back after a crash.
    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError>;

    /// Makes every batch written so far survive a crash, and returns the number of the last.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn sync(&self) -> Result<BatchNumber, StoreError>;

    /// About how many bytes have yet to be written from memory and log to where they stay.
    fn unflushed(&self) -> u64 {
        0
    }

    /// Gives room on the disk back as far as that can be had quickly.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing is lost.
    fn make_room(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The last batch that was written.
    fn written(&self) -> BatchNumber;

    /// The last batch that is known to survive a crash, as are all before it.
    fn durable(&self) -> BatchNumber;
}

/// Whoever holds a store: itself, or a store on it.
pub trait Holds<S>: Send + Sync + 'static {
    /// The store.
    fn held(&self) -> &S;
}

impl<S: OrderedStore> Holds<S> for S {
    fn held(&self) -> &S {
        self
    }
}

/// An unchanging view of a store.
pub trait Snapshot {
    /// A position in a scan.
    type Cursor<'a>: Cursor
    where
        Self: 'a;

    /// Hands the value of `key` to `read`, without copying it first; `None` when there is none.
    ///
    /// # Errors
    /// As [`OrderedStore::get`].
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError>;

    /// Starts reading `range` from its first key, or from its last when that is the order.
    ///
    /// # Errors
    /// As [`OrderedStore::get`].
    fn scan(&self, range: KeyRange, order: Order) -> Result<Self::Cursor<'_>, StoreError>;
}

/// Where values are read by their keys: a store, or a snapshot of one.
pub(crate) trait Reads {
    /// Hands the value of `key` to `read`; `None` when there is none.
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError>;
}

impl<S: OrderedStore> Reads for S {
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.get(key, read)
    }
}

/// Reads from a snapshot.
pub(crate) struct At<'s, S>(pub(crate) &'s S);

impl<S: Snapshot> Reads for At<'_, S> {
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.0.get(key, read)
    }
}

/// A position in a scan.
pub trait Cursor {
    /// The key and value here, or `None` past the end.
    fn entry(&self) -> Option<(&[u8], &[u8])>;

    /// Goes to the next key, in the order of the scan.
    ///
    /// # Errors
    /// As [`OrderedStore::get`].
    fn advance(&mut self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::KeyRange;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(KeyRange::prefixed(b"ab").end, Some(b"ac".to_vec()));
        assert_eq!(KeyRange::prefixed(b"a\xff\xff").end, Some(b"b".to_vec()));
        assert_eq!(KeyRange::prefixed(b"\xff").end, None);
        assert_eq!(KeyRange::prefixed(b"").end, None);
    }
}
