//! What a node makes of a replica for itself, beside what the group's log says: the entries of lazy views, and stored
//! partial results. It can be made anew, and goes with the replica.

use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::Slot;

use crate::catalog::DatabaseId;
use crate::error::StorageError;
use crate::keys;
use crate::proposer::LocalWriter;
use crate::store::{Batch, Durability, OrderedStore};

/// Writes it, as long as the replica is there.
#[derive(Debug)]
pub(super) struct Beside<S> {
    store: Arc<S>,
    has_ended: RwLock<bool>,
}

impl<S> Beside<S> {
    pub(super) fn of(store: &Arc<S>) -> Self {
        Self {
            store: Arc::clone(store),
            has_ended: RwLock::new(false),
        }
    }

    /// Waits for those who are writing; nobody does any more when this returns.
    pub(super) fn end(&self) {
        *self.has_ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl<S: OrderedStore> LocalWriter for Beside<S> {
    fn write_local(&self, batch: Batch) -> Result<(), StorageError> {
        // Held until it is written: what comes after the end would lie in the place of another replica.
        let has_ended = self.has_ended.read().unwrap_or_else(PoisonError::into_inner);
        if *has_ended {
            return Err(StorageError::Closed);
        }
        let written = self.store.write(&batch, Durability::Buffered);
        written.map(|_| ()).map_err(StorageError::Commit)
    }
}

/// Deletes what a node has made of a database for itself, outside of the slots that a shard has.
pub(super) fn forget_beside(batch: &mut Batch, database: DatabaseId) {
    batch.delete_range(keys::everything_in(database, Slot::LOCAL));
    batch.delete_range(keys::lazy_views(database));
}
