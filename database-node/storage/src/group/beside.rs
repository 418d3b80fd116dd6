//! What a node makes of a replica for itself, beside what the group's log says: the entries of lazy views, and stored
//! partial results. It can be made anew, and goes with the replica.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::{Slot, ViewId};

use crate::catalog::{Catalog, DatabaseId, Makeup, ViewRecord};
use crate::error::StorageError;
use crate::keys;
use crate::proposer::LocalWriter;
use crate::store::{Batch, Durability, OrderedStore};

/// Writes it, as long as the replica is there.
#[derive(Debug)]
pub(super) struct Beside<S> {
    store: Arc<S>,
    catalog: Arc<RwLock<Catalog>>,
    has_ended: RwLock<bool>,
}

impl<S> Beside<S> {
    pub(super) fn of(store: &Arc<S>, catalog: &Arc<RwLock<Catalog>>) -> Self {
        Self {
            store: Arc::clone(store),
            catalog: Arc::clone(catalog),
            has_ended: RwLock::new(false),
        }
    }

    /// Waits for those who are writing; nobody does any more when this returns.
    pub(super) fn end(&self) {
        *self.has_ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Does something while nobody writes: what removes views, for whoever wrote to one later would write for ever.
    pub(super) fn pause<T>(&self, run: impl FnOnce() -> T) -> T {
        let _paused = self.has_ended.write().unwrap_or_else(PoisonError::into_inner);
        run()
    }
}

impl<S: OrderedStore> LocalWriter for Beside<S> {
    fn write_local(&self, batch: Batch) -> Result<(), StorageError> {
        // Held until it is written: what comes after the end would lie in the place of another replica.
        let has_ended = self.has_ended.read().unwrap_or_else(PoisonError::into_inner);
        if *has_ended {
            return Err(StorageError::Closed);
        }
        let Some(first) = batch.change(0) else {
            return Ok(());
        };
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        if !keys::view_of(first.key()).is_some_and(|(database, view)| catalog.has_view(database, view)) {
            return Err(StorageError::ViewGone);
        }
        drop(catalog);
        let written = self.store.write(&batch, Durability::Buffered);
        written.map(|_| ()).map_err(StorageError::Commit)
    }
}

/// Deletes what a node has made of a database for itself, outside of the slots that a shard has.
pub(super) fn forget_beside(batch: &mut Batch, database: DatabaseId) {
    batch.delete_range(keys::everything_in(database, Slot::LOCAL));
    batch.delete_range(keys::lazy_views(database));
}

/// Deletes of it what is of views that a database had and has no longer.
pub(super) fn forget_views(batch: &mut Batch, database: DatabaseId, before: &Makeup, after: &Makeup) {
    for gone in versions(before).difference(&versions(after)) {
        for range in keys::view_ranges(database, Slot::LOCAL, *gone) {
            batch.delete_range(range);
        }
        batch.delete(keys::lazy_view(database, *gone));
    }
}

/// The versions of views that can answer, or will.
fn versions(makeup: &Makeup) -> BTreeSet<ViewId> {
    let versions = |record: &ViewRecord| [Some(record.id), record.previous];
    makeup.views.iter().flat_map(versions).flatten().collect()
}
