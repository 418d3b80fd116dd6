//! Building views that are new, or whose definition has changed, out of the documents there are.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use pliantdb_core::{
    DatabaseName, Document, DocumentId, Error, IndexedDocument, Operation, Order, Slot, SlotCount, Timestamp,
    ViewPolicy,
};

use super::update::BATCH_BYTES;
use super::{Readable, ViewRuntime, stored};
use crate::catalog::ViewState;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::machine::{Pending, views};
use crate::records::{LazyView, corrupt};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot, StoreError};
use crate::{keys, records};

/// How many documents one command adds to a view.
const DOCUMENTS: usize = 512;

impl<S: OrderedStore> Engine<S> {
    /// Builds every view that is to be built and whose map this process knows. `is_wanted` says whether to go on.
    pub(crate) fn build_views(&self, is_wanted: &dyn Fn() -> bool) {
        for (name, state) in self.databases() {
            for view in self.known_views(&state) {
                if view.record.state != ViewState::Building || !is_wanted() {
                    continue;
                }
                match self.build(&name, &view, is_wanted) {
                    Ok(()) => {}
                    // It is tried again, here or at the next start.
                    Err(
                        error @ (Error::Closed
                        | Error::Busy
                        | Error::DiskFull(_)
                        | Error::UnknownOutcome(_)
                        | Error::Corrupt(_)
                        | Error::Storage(_)),
                    ) => {
                        tracing::warn!(database = %name, view = %view.record.definition.name, %error, "a view was not built");
                    }
                    Err(error) => {
                        let database = name.clone();
                        let (view, reason) = (view.id, error.to_string());
                        let _ = self.propose(Operation::FailView {
                            database,
                            view,
                            reason,
                        });
                    }
                }
            }
        }
    }

    fn build(&self, name: &DatabaseName, view: &Readable, is_wanted: &dyn Fn() -> bool) -> Result<(), Error> {
        let runtime = self.views.get(view.database.id, view.id);
        if view.record.definition.policy == ViewPolicy::Lazy {
            let mut up_to = runtime.up_to.lock().unwrap_or_else(PoisonError::into_inner);
            *up_to = Some(self.build_lazy_view(name, view, &runtime)?);
            drop(up_to);
            self.add_documents(name, view, Vec::new(), true)
        } else {
            self.build_eager_view(name, view, &runtime, is_wanted)
        }
    }

    /// Maps all documents as of now, and gives when that is. The view's `up_to` is locked.
    pub(super) fn build_lazy_view(
        &self,
        name: &DatabaseName,
        view: &Readable,
        runtime: &ViewRuntime,
    ) -> Result<Timestamp, Error> {
        tracing::info!(database = %name, view = %view.record.definition.name, "building a view");
        runtime.restart();
        // What lies in slots answers until this is done, to whom stale entries will do.
        let is_in_slots = matches!(stored(self.lazy_view(view))?, Some(LazyView::InSlots));
        let mut pending = Pending::new(self.store.as_ref());
        if !is_in_slots {
            pending.delete_unread(keys::lazy_view(view.database.id, view.id));
        }
        for range in keys::view_ranges(view.database.id, Slot::LOCAL, view.id) {
            stored(self.remove(&mut pending, range))?;
        }
        self.write_pending(std::mem::replace(&mut pending, Pending::new(self.store.as_ref())))?;
        let snapshot = self.store.snapshot();
        let now = stored(self.scope.applied_at(&snapshot))?;
        // Its partials are made at the end, at once.
        let mut record = view.record.clone();
        record.definition.reduces = false;
        for slot in view.database.slots.slots() {
            let mut documents = stored(InSlot::scan(&snapshot, view, slot))?;
            while let Some(document) = readable(view, documents.next())? {
                let entries = view.entries_of(&document)?;
                views::replace(
                    &mut pending,
                    view.database.into(),
                    &record,
                    &document.id,
                    false,
                    &entries,
                    Some(now),
                )?;
                let looked_at = runtime.documents.fetch_add(1, Ordering::Relaxed);
                if looked_at.is_multiple_of(DOCUMENTS as u64) && self.progress.is_closed() {
                    return Err(Error::Closed);
                }
                if pending.size() > BATCH_BYTES {
                    self.write_pending(std::mem::replace(&mut pending, Pending::new(self.store.as_ref())))?;
                }
            }
            runtime.slots_done.fetch_add(1, Ordering::Relaxed);
        }
        drop(snapshot);
        pending.put_unread(
            keys::lazy_view(view.database.id, view.id),
            stored(records::encode_lazy_view(now))?,
        );
        for slot in is_in_slots
            .then_some(view.database.slots)
            .into_iter()
            .flat_map(SlotCount::slots)
        {
            for range in keys::view_ranges(view.database.id, slot, view.id) {
                pending.delete_range(range);
            }
        }
        self.write_pending(pending)?;
        self.make_partials(view)?;
        Ok(now)
    }

    /// Maps all documents; those that are changed meanwhile bring their entries along.
    fn build_eager_view(
        &self,
        name: &DatabaseName,
        view: &Readable,
        runtime: &ViewRuntime,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        tracing::info!(database = %name, view = %view.record.definition.name, "building a view");
        runtime.restart();
        let snapshot = self.store.snapshot();
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in view.database.slots.slots() {
            let mut documents = stored(InSlot::scan(&snapshot, view, slot))?;
            while let Some(document) = readable(view, documents.next())? {
                let entries = view.entries_of(&document)?;
                bytes += document.id.as_str().len();
                bytes += entries
                    .iter()
                    .map(|entry| entry.key.len() + entry.value.len())
                    .sum::<usize>();
                found.push(IndexedDocument {
                    id: document.id,
                    revision: document.revision,
                    entries,
                });
                runtime.documents.fetch_add(1, Ordering::Relaxed);
                if found.len() == DOCUMENTS || bytes > BATCH_BYTES {
                    bytes = 0;
                    self.add_documents(name, view, std::mem::take(&mut found), false)?;
                    if !is_wanted() {
                        return Err(Error::Closed);
                    }
                }
            }
            runtime.slots_done.fetch_add(1, Ordering::Relaxed);
        }
        drop(snapshot);
        self.add_documents(name, view, found, false)?;
        self.make_partials(view)?;
        self.add_documents(name, view, Vec::new(), true)
    }

    fn add_documents(
        &self,
        name: &DatabaseName,
        view: &Readable,
        documents: Vec<IndexedDocument>,
        is_last: bool,
    ) -> Result<(), Error> {
        let operation = Operation::BuildView {
            database: name.clone(),
            view: view.id,
            documents,
            is_last,
        };
        self.propose(operation).map(|_| ()).map_err(|error| match error {
            // The builder goes on when there is room, or writes are taken again.
            error @ StorageError::DiskFull { .. } => Error::Storage(error.to_string()),
            error => error.into(),
        })
    }
}

/// A document that is damaged is not read better the next time: the view fails, and says why.
fn readable<T>(view: &Readable, read: Result<T, StoreError>) -> Result<T, Error> {
    match read {
        Err(error @ StoreError::Corrupt(_)) => Err(view.failed(error)),
        read => stored(read),
    }
}

/// The documents of a view's collection in one slot.
struct InSlot<C> {
    base: usize,
    cursor: C,
}

impl<C: Cursor> InSlot<C> {
    fn scan<'s, S: Snapshot<Cursor<'s> = C>>(
        snapshot: &'s S,
        view: &Readable,
        slot: Slot,
    ) -> Result<Self, StoreError> {
        let base = keys::collection(view.database.id, slot, &view.record.definition.collection, 0);
        Ok(Self {
            base: base.len(),
            cursor: snapshot.scan(KeyRange::prefixed(&base), Order::Ascending)?,
        })
    }

    fn next(&mut self) -> Result<Option<Document>, StoreError> {
        let Some((key, value)) = self.cursor.entry() else {
            return Ok(None);
        };
        let id = str::from_utf8(key.get(self.base..).unwrap_or_default());
        let id: DocumentId = id
            .map_err(|error| corrupt("document", error))?
            .parse()
            .map_err(|error| corrupt("document", error))?;
        let (revision, body) = records::decode_document(value)?;
        self.cursor.advance()?;
        Ok(Some(Document { id, revision, body }))
    }
}
