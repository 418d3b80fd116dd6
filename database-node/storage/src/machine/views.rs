//! The entries of views: of those that change with their documents, and of those that are being built.

use std::collections::HashMap;

use pliantdb_core::{
    DatabaseName, DocumentId, IndexedDocument, Rejection, Revision, Slot, Timestamp, ViewEntry, ViewId,
    ViewPolicy,
};

use super::{Applying, Pending};
use crate::catalog::{DatabaseEntry, ViewRecord, ViewState};
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys::{self, Space};
use crate::records;
use crate::store::{OrderedStore, Reads};

/// Gives a document other entries in a view. `existed`: whether it can have had any. `marks`: with which time to mark what
/// partials do not count yet; `None` where there are none.
///
/// # Errors
/// [`Rejection::NotUnique`], [`Rejection::WrongShard`] when a unique key lies in a slot that is not of `extent`, and
/// whatever the store says.
pub(crate) fn replace<S: Reads>(
    pending: &mut Pending<'_, S>,
    extent: Extent,
    view: &ViewRecord,
    id: &DocumentId,
    existed: bool,
    entries: &[ViewEntry],
    marks: Option<Timestamp>,
) -> Result<(), StorageError> {
    let database = extent.database;
    let slot = match view.definition.policy {
        ViewPolicy::Lazy => Slot::LOCAL,
        ViewPolicy::Eager | ViewPolicy::Unique => keys::slot_of(database, id),
    };
    let base = |space, room| keys::view(database.id, slot, space, view.id, room);
    let emitted_key = with(base(Space::Emitted, id.as_str().len()), id.as_str().as_bytes());
    let before = match existed {
        true => pending
            .get(&emitted_key, records::decode_emitted)?
            .unwrap_or_default(),
        false => Vec::new(),
    };
    let now: Vec<&[u8]> = entries.iter().map(|entry| entry.key.as_slice()).collect();
    let is_unique = view.definition.policy == ViewPolicy::Unique;
    let stale = |pending: &mut Pending<'_, S>, entry: &[u8]| {
        if let Some(time) = marks.filter(|_| view.definition.reduces) {
            let stale = with(base(Space::Stale, 8 + entry.len()), &time.bits().to_be_bytes());
            pending.put_unread(with(stale, entry), Vec::new());
        }
    };
    for entry in numbered(before.iter().map(Vec::as_slice), id) {
        stale(pending, &entry);
        pending.delete_unread(with(base(Space::Entries, entry.len()), &entry));
    }
    if is_unique {
        for key in before.iter().filter(|key| !now.contains(&key.as_slice())) {
            let owner = keys::owner(database, view.id, key);
            extent.check(&owner)?;
            pending.delete(owner);
        }
        for key in &now {
            let owner = keys::owner(database, view.id, key);
            extent.check(&owner)?;
            match pending.get(&owner, records::decode_owner)? {
                Some(existing) if existing != *id => {
                    return Err(Rejection::NotUnique {
                        collection: view.definition.collection.clone(),
                        view: view.definition.name.clone(),
                        id: id.clone(),
                        existing,
                    }
                    .into());
                }
                Some(_) => {}
                None => pending.put(owner, records::encode_owner(id)),
            }
        }
    }
    for (entry, ViewEntry { value, .. }) in numbered(now.iter().copied(), id).zip(entries) {
        stale(pending, &entry);
        pending.put_unread(with(base(Space::Entries, entry.len()), &entry), value.clone());
    }
    if !now.is_empty() {
        pending.put(emitted_key, records::encode_emitted(&now)?);
    } else if !before.is_empty() {
        pending.delete(emitted_key);
    }
    Ok(())
}

fn with(mut key: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    key.extend_from_slice(rest);
    key
}

/// The entries of a document that has emitted these keys.
pub(crate) fn numbered<'k>(
    keys: impl Iterator<Item = &'k [u8]>,
    id: &DocumentId,
) -> impl Iterator<Item = Vec<u8>> {
    let mut times = HashMap::new();
    keys.map(move |key| {
        let before = times.entry(key).or_insert(0u16);
        let entry = keys::entry(key, id, *before);
        // More than that of one key from one document would be one entry.
        *before = before.saturating_add(1);
        entry
    })
}

impl<S: OrderedStore> Applying<'_, S> {
    pub(super) fn build_view(
        &mut self,
        database: &DatabaseName,
        id: ViewId,
        documents: &[IndexedDocument],
        is_last: bool,
        time: Timestamp,
    ) -> Result<(), StorageError> {
        let state = self.database(database)?;
        let found = state
            .makeup
            .views
            .iter()
            .find(|view| view.id == id && view.state == ViewState::Building);
        // It was given up, or replaced by a newer version, while its documents were read.
        let Some(view) = found else { return Ok(()) };
        let extent = self.scope.extent(state.entry);
        if self.scope.is_shard() && view.definition.policy == ViewPolicy::Lazy && !documents.is_empty() {
            // Its entries are local to a node, so they are no command's.
            extent.check_slot(Slot::LOCAL.get())?;
        }
        for document in documents {
            let key = keys::document(state.entry, &view.definition.collection, &document.id);
            extent.check(&key)?;
            let read = |value: &[u8]| records::split_document(value).map(|(revision, _)| revision);
            let current: Option<Revision> = self.pending.get(&key, read)?;
            if current != Some(document.revision) {
                continue;
            }
            let before = self.pending.savepoint();
            match replace(
                &mut self.pending,
                extent,
                view,
                &document.id,
                true,
                &document.entries,
                Some(time),
            ) {
                Err(StorageError::Rejected(rejection)) => {
                    self.pending.go_back(&before);
                    return self.fail_view(database, id, rejection.to_string());
                }
                replaced => replaced?,
            }
        }
        if is_last {
            self.change_view(database, id, |view| {
                view.state = ViewState::Ready;
                view.previous.take()
            })?;
        }
        Ok(())
    }

    pub(super) fn fail_view(
        &mut self,
        database: &DatabaseName,
        id: ViewId,
        reason: String,
    ) -> Result<(), StorageError> {
        self.delete_view(self.database(database)?.entry, id);
        self.change_view(database, id, |view| {
            view.state = ViewState::Failed(reason);
            view.previous.take()
        })
    }

    /// Changes the record of a view; what `change` gives is the id of a version that is no longer needed.
    fn change_view(
        &mut self,
        database: &DatabaseName,
        id: ViewId,
        change: impl FnOnce(&mut ViewRecord) -> Option<ViewId>,
    ) -> Result<(), StorageError> {
        let state = self.database(database)?;
        let mut makeup = (*state.makeup).clone();
        if let Some(view) = makeup.views.iter_mut().find(|view| view.id == id)
            && let Some(previous) = change(view)
        {
            self.delete_view(state.entry, previous);
        }
        self.set_makeup(database, state.entry, makeup)
    }

    /// Deletes everything of one version of a view.
    pub(super) fn delete_view(&mut self, database: DatabaseEntry, id: ViewId) {
        let local = Some(Slot::LOCAL).filter(|_| !self.scope.is_shard());
        for slot in self.scope.extent(database).slots().chain(local) {
            for range in keys::view_ranges(database.id, slot, id) {
                self.pending.delete_range(range);
            }
        }
        if local.is_some() {
            self.pending.delete_unread(keys::lazy_view(database.id, id));
        }
    }
}
