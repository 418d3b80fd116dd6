//! A batch in the making: what it will write, and what its commands see that the store does not hold yet.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::store::{Batch, Change, KeyRange, Reads, StoreError};

/// Changes that a batch is gathering. Those of a command that is rejected can be taken back.
pub(crate) struct Pending<'a, S> {
    store: &'a S,
    batch: Batch,
    /// Where in the batch the last change is of each key that commands read. The keys lie in the batch only.
    latest: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// What was put into `latest`, and what it said before, for taking back.
    undo: Vec<(usize, Option<usize>)>,
}

/// How far a batch had come.
pub(super) struct Savepoint {
    changes: usize,
    undo: usize,
}

impl<'a, S: Reads> Pending<'a, S> {
    pub(crate) fn new(store: &'a S) -> Self {
        Self {
            store,
            batch: Batch::default(),
            latest: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            undo: Vec::new(),
        }
    }

    /// Hands the value of a key to `read`, as the batch leaves it so far.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self.latest(key).and_then(|at| self.batch.change(at)) {
            Some(Change::Put(_, value)) => read(value).map(Some),
            Some(_) => Ok(None),
            None => self.store.read(key, read)?.transpose(),
        }
    }

    /// Sets the value of a key that commands read.
    pub(crate) fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.batch.put(key, value);
        self.touch();
    }

    /// [`Pending::put`], with what `write` appends.
    pub(crate) fn put_with(&mut self, key: impl AsRef<[u8]>, write: impl FnOnce(&mut Vec<u8>)) {
        self.batch.put_with(key, write);
        self.touch();
    }

    /// Removes a key that commands read.
    pub(crate) fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.batch.delete(key);
        self.touch();
    }

    /// Sets the value of a key that no command reads.
    pub(crate) fn put_unread(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.batch.put(key, value);
    }

    /// [`Pending::put_unread`], with what `write` appends.
    pub(crate) fn put_unread_with(&mut self, key: impl AsRef<[u8]>, write: impl FnOnce(&mut Vec<u8>)) {
        self.batch.put_with(key, write);
    }

    /// Removes a key that no command reads.
    pub(crate) fn delete_unread(&mut self, key: impl AsRef<[u8]>) {
        self.batch.delete(key);
    }

    /// Removes a range of keys, none of which any later command reads.
    pub(crate) fn delete_range(&mut self, range: KeyRange) {
        self.batch.delete_range(range);
    }

    /// Where in the batch the last change of a key is.
    fn latest(&self, key: &[u8]) -> Option<usize> {
        let found = self
            .latest
            .find(self.hasher.hash_one(key), |at| is_of(&self.batch, *at, key));
        found.copied()
    }

    /// Takes note of the change that was just added to the batch.
    fn touch(&mut self) {
        let Some(at) = self.batch.len().checked_sub(1) else {
            return;
        };
        let key = key_at(&self.batch, at);
        let found = self.latest.entry(
            self.hasher.hash_one(key),
            |at| is_of(&self.batch, *at, key),
            |at| self.hasher.hash_one(key_at(&self.batch, *at)),
        );
        let before = match found {
            Entry::Occupied(mut latest) => Some(std::mem::replace(latest.get_mut(), at)),
            Entry::Vacant(none) => {
                none.insert(at);
                None
            }
        };
        self.undo.push((at, before));
    }

    /// A place to go back to.
    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint {
            changes: self.batch.len(),
            undo: self.undo.len(),
        }
    }

    /// Takes back everything since.
    pub(super) fn go_back(&mut self, to: &Savepoint) {
        while self.undo.len() > to.undo {
            let Some((at, before)) = self.undo.pop() else {
                break;
            };
            let hash = self.hasher.hash_one(key_at(&self.batch, at));
            if let Ok(mut latest) = self.latest.find_entry(hash, |latest| *latest == at) {
                match before {
                    Some(before) => *latest.get_mut() = before,
                    None => drop(latest.remove()),
                }
            }
        }
        self.batch.truncate(to.changes);
    }

    /// The changes so far.
    pub(crate) fn length(&self) -> usize {
        self.batch.len()
    }

    /// About how many bytes they have.
    pub(crate) fn size(&self) -> usize {
        self.batch.size()
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }
}

/// The key of a change in a batch.
fn key_at(batch: &Batch, at: usize) -> &[u8] {
    batch.change(at).map_or(&[], Change::key)
}

/// Whether a change in a batch is of this key.
fn is_of(batch: &Batch, at: usize, key: &[u8]) -> bool {
    key_at(batch, at) == key
}
