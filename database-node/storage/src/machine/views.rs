//! The entries of views: of those that change with their documents, and of those that are being built.

use std::collections::HashMap;

use pliantdb_core::{
    DatabaseName, DocumentId, IndexedDocument, Rejection, Revision, Timestamp, ViewEntry, ViewId, ViewPolicy,
};

use super::{Applying, Pending};
use crate::catalog::{DatabaseEntry, ViewRecord, ViewState};
use crate::error::StorageError;
use crate::keys::{self, Space};
use crate::records;
use crate::store::{OrderedStore, Reads};

/// Gives a document other entries in a view. `existed`: whether it can have had any.
///
/// # Errors
/// [`Rejection::NotUnique`], and whatever the store says.
pub(crate) fn replace<S: Reads>(
    pending: &mut Pending<'_, S>,
    database: DatabaseEntry,
    view: &ViewRecord,
    id: &DocumentId,
    existed: bool,
    entries: &[ViewEntry],
    time: Timestamp,
) -> Result<(), StorageError> {
    let slot = keys::slot_of(database, id);
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
        if view.definition.reduces {
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
            pending.delete(keys::owner(database, view.id, key));
        }
        for key in &now {
            let owner = keys::owner(database, view.id, key);
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
        for document in documents {
            let key = keys::document(state.entry, &view.definition.collection, &document.id);
            let read = |value: &[u8]| records::split_document(value).map(|(revision, _)| revision);
            let current: Option<Revision> = self.pending.get(&key, read)?;
            if current != Some(document.revision) {
                continue;
            }
            let before = self.pending.savepoint();
            match replace(
                &mut self.pending,
                state.entry,
                view,
                &document.id,
                true,
                &document.entries,
                time,
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
        for slot in database.slots.slots() {
            for space in keys::VIEW_SPACES {
                let range = crate::store::KeyRange::prefixed(&keys::view(database.id, slot, space, id, 0));
                self.pending.delete_range(range);
            }
        }
        self.pending.delete_unread(keys::lazy_view(database.id, id));
    }
}
