//! A batch in the making: what it will write, and what its commands see that the store does not hold yet.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::store::{Batch, Change, KeyRange, OrderedStore, StoreError};

/// Changes that a batch is gathering. Those of a command that is rejected can be taken back.
pub(crate) struct Pending<'a, S> {
    store: &'a S,
    batch: Batch,
    size: usize,
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

impl<'a, S: OrderedStore> Pending<'a, S> {
    pub(crate) fn new(store: &'a S) -> Self {
        Self {
            store,
            batch: Batch::default(),
            size: 0,
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
        match self.latest(key).and_then(|at| self.batch.changes().get(at)) {
            Some(Change::Put(_, value)) => read(value).map(Some),
            Some(_) => Ok(None),
            None => self.store.get(key, read)?.transpose(),
        }
    }

    /// Sets the value of a key that commands read.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.put_unread(key, value);
        self.touch();
    }

    /// Removes a key that commands read.
    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.delete_unread(key);
        self.touch();
    }

    /// Sets the value of a key that no command reads.
    pub(crate) fn put_unread(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.size += key.len() + value.len();
        self.batch.put(key, value);
    }

    /// Removes a key that no command reads.
    pub(crate) fn delete_unread(&mut self, key: Vec<u8>) {
        self.size += key.len();
        self.batch.delete(key);
    }

    /// Removes a range of keys, none of which any later command reads.
    pub(crate) fn delete_range(&mut self, range: KeyRange) {
        self.batch.delete_range(range);
    }

    /// Where in the batch the last change of a key is.
    fn latest(&self, key: &[u8]) -> Option<usize> {
        let changes = self.batch.changes();
        let found = self
            .latest
            .find(self.hasher.hash_one(key), |at| is_of(changes, *at, key));
        found.copied()
    }

    /// Takes note of the change that was just added to the batch.
    fn touch(&mut self) {
        let changes = self.batch.changes();
        let Some((key, at)) = changes
            .last()
            .zip(changes.len().checked_sub(1))
            .map(|(last, at)| (last.key(), at))
        else {
            return;
        };
        let hash = |at: &usize| {
            changes
                .get(*at)
                .map_or(0, |change| self.hasher.hash_one(change.key()))
        };
        let before = match self
            .latest
            .entry(self.hasher.hash_one(key), |at| is_of(changes, *at, key), hash)
        {
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
            changes: self.batch.changes().len(),
            undo: self.undo.len(),
        }
    }

    /// Takes back everything since.
    pub(super) fn go_back(&mut self, to: &Savepoint) {
        let changes = self.batch.changes();
        while self.undo.len() > to.undo {
            let Some((at, before)) = self.undo.pop() else {
                break;
            };
            let hash = changes
                .get(at)
                .map_or(0, |change| self.hasher.hash_one(change.key()));
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
        self.batch.changes().len()
    }

    /// About how many bytes they have.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }
}

/// Whether a change in a batch is of this key.
fn is_of(changes: &[Change], at: usize, key: &[u8]) -> bool {
    changes.get(at).is_some_and(|change| change.key() == key)
}
