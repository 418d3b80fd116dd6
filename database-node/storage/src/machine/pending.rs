//! A batch in the making: what it will write, and what its commands see that the store does not hold yet.

use std::collections::HashMap;

use crate::store::{Batch, Change, KeyRange, Reads, StoreError};

/// Changes that a batch is gathering. Those of a command that is rejected can be taken back.
pub(crate) struct Pending<'a, S> {
    store: &'a S,
    batch: Batch,
    size: usize,
    /// Where in the batch the last change is of each key that commands read.
    latest: HashMap<Vec<u8>, usize>,
    /// What `latest` said before, for taking back.
    undo: Vec<(Vec<u8>, Option<usize>)>,
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
            size: 0,
            latest: HashMap::new(),
            undo: Vec::new(),
        }
    }

    /// Hands the value of a key to `read`, as the batch leaves it so far.
    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self.latest.get(key).and_then(|at| self.batch.changes().get(*at)) {
            Some(Change::Put(_, value)) => read(value).map(Some),
            Some(_) => Ok(None),
            None => self.store.read(key, read)?.transpose(),
        }
    }

    /// Sets the value of a key that commands read.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.touch(&key);
        self.put_unread(key, value);
    }

    /// Removes a key that commands read.
    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.touch(&key);
        self.delete_unread(key);
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

    fn touch(&mut self, key: &[u8]) {
        let before = self.latest.insert(key.to_vec(), self.batch.changes().len());
        self.undo.push((key.to_vec(), before));
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
        self.batch.truncate(to.changes);
        while self.undo.len() > to.undo {
            if let Some((key, before)) = self.undo.pop() {
                match before {
                    Some(at) => self.latest.insert(key, at),
                    None => self.latest.remove(&key),
                };
            }
        }
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
