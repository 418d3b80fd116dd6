//! Lazy views: bringing them up to date with what was changed since they were last queried.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use pliantdb_core::{DatabaseName, Document, DocumentId, Error, Order, Timestamp, ViewEntry};

use super::{Readable, ViewRuntime, stored};
use crate::catalog::{DatabaseState, ViewState};
use crate::engine::Engine;
use crate::feed::Changes;
use crate::keys;
use crate::machine::{Pending, views};
use crate::records::{self, LazyView};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot, StoreError};

/// How many documents are looked at between two places from where an update could go on.
const DOCUMENTS: usize = 10_000;
/// How many bytes are written at once.
pub(super) const BATCH_BYTES: usize = 1 << 20;

impl<S: OrderedStore> Engine<S> {
    /// Lets all lazy views of a database show everything that was committed before now, as far as that can be done.
    pub(crate) fn update_lazy_views(&self, name: &DatabaseName, state: &DatabaseState) {
        let views = self.known_views(state).into_iter();
        for view in views.filter(|view| view.is_ready() && view.is_lazy()) {
            let updated = self
                .update_lazy_view(name, &view)
                .and_then(|()| self.note_lazy_view(&view));
            if let Err(error) = updated {
                tracing::warn!(database = %name, view = %view.record.definition.name, %error, "a view was not updated");
            }
        }
    }

    /// Stores up to when a lazy view has read the changes, also when none of them concerned it.
    fn note_lazy_view(&self, view: &Readable) -> Result<(), Error> {
        let runtime = self.views.get(view.database.id, view.id);
        let up_to = runtime.up_to.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pending = Pending::new(self.store.as_ref());
        if let Some(up_to) = *up_to {
            let key = keys::lazy_view(view.database.id, view.id);
            pending.put_unread(key, stored(records::encode_lazy_view(up_to))?);
        }
        self.write_pending(pending)
    }

    /// Removes the marks of eager views that nobody reduces, as far as there are many.
    pub(crate) fn refresh_eager_views(&self, state: &DatabaseState) {
        let views = self.known_views(state).into_iter();
        for view in views.filter(|view| view.is_ready() && !view.is_lazy()) {
            let runtime = self.views.get(view.database.id, view.id);
            if let Err(error) = self.refresh_partials(&view, &runtime) {
                tracing::warn!(view = %view.record.definition.name, %error, "stored partial results were not refreshed");
            }
        }
    }

    /// Lets a lazy view show everything that was committed before now.
    pub(super) fn update_lazy_view(&self, name: &DatabaseName, view: &Readable) -> Result<(), Error> {
        let runtime = self.views.get(view.database.id, view.id);
        let mut up_to = runtime.up_to.lock().unwrap_or_else(PoisonError::into_inner);
        if up_to.is_none() {
            *up_to = Some(match stored(self.lazy_view(view))? {
                Some(LazyView::Local(up_to)) => up_to,
                // It was built by a program that put it elsewhere, or its building was interrupted.
                Some(LazyView::InSlots) | None => self.build_lazy_view(name, view, &runtime)?,
            });
        }
        let target = self.progress.applied();
        if up_to.is_some_and(|up_to| up_to >= target) {
            return Ok(());
        }
        while let Some(since) = *up_to
            && since < target
        {
            match self.read_changes(view, since)? {
                Some(now) if now > since => *up_to = Some(now),
                // What was there is gone: the replica was removed.
                Some(_) => return Err(Error::Closed),
                // What it would have to read is no longer kept: a view that was not queried for long.
                None => *up_to = Some(self.build_lazy_view(name, view, &runtime)?),
            }
        }
        drop(up_to);
        self.refresh_partials(view, &runtime)
    }

    /// How far a lazy view is, as it was stored.
    pub(super) fn lazy_view(&self, view: &Readable) -> Result<Option<LazyView>, StoreError> {
        let key = keys::lazy_view(view.database.id, view.id);
        self.store.get(&key, records::decode_lazy_view)?.transpose()
    }

    /// Maps the documents that were changed after `since`, and gives up to when that was done; `None` when the changes
    /// are no longer kept.
    fn read_changes(&self, view: &Readable, since: Timestamp) -> Result<Option<Timestamp>, Error> {
        let snapshot = self.store.snapshot();
        let now = stored(self.scope.applied_at(&snapshot))?;
        let makeup = stored(self.scope.makeup_at(&snapshot, view.database))?;
        if since.bits().saturating_add(1) < makeup.changes_from.bits() {
            return Ok(None);
        }
        let mut changes = stored(Changes::between(&snapshot, view.database, since))?;
        let mut changed = BTreeSet::new();
        let mut reached = now;
        while let Some(transaction) = stored(changes.next())? {
            let of_collection = transaction
                .changes
                .into_iter()
                .filter(|change| change.collection == view.record.definition.collection);
            changed.extend(of_collection.map(|change| change.id));
            if changed.len() >= DOCUMENTS {
                reached = transaction.timestamp;
                break;
            }
        }
        let mut pending = Pending::new(self.store.as_ref());
        for id in changed {
            let entries = view.map(&snapshot, &id)?;
            views::replace(
                &mut pending,
                view.database.into(),
                &view.record,
                &id,
                true,
                &entries,
                Some(now),
            )?;
            if pending.size() > BATCH_BYTES {
                self.write_pending(std::mem::replace(&mut pending, Pending::new(self.store.as_ref())))?;
            }
        }
        pending.put_unread(
            keys::lazy_view(view.database.id, view.id),
            stored(records::encode_lazy_view(reached))?,
        );
        // Without entries there is nothing to lose: the next update may as well begin where this one did.
        if pending.length() > 1 || reached != now {
            self.write_pending(pending)?;
        }
        Ok(Some(reached))
    }

    /// Removes what lies in a range, if there is anything: RocksDB keeps a note of each range that was removed, which every
    /// cursor would have to look at.
    pub(super) fn remove(&self, pending: &mut Pending<'_, S>, range: KeyRange) -> Result<(), StoreError> {
        let snapshot = self.store.snapshot();
        if snapshot.scan(range.clone(), Order::Ascending)?.entry().is_some() {
            pending.delete_range(range);
        }
        Ok(())
    }

    pub(super) fn write_pending(&self, pending: Pending<'_, S>) -> Result<(), Error> {
        Ok(self.write_local(pending.into_batch())?)
    }
}

impl Readable {
    fn is_ready(&self) -> bool {
        self.record.state == ViewState::Ready
    }

    /// What a document emits as of a snapshot; nothing if there is no such document.
    pub(super) fn map(&self, snapshot: &impl Snapshot, id: &DocumentId) -> Result<Vec<ViewEntry>, Error> {
        let key = keys::document(self.database, &self.record.definition.collection, id);
        let found = stored(
            snapshot
                .get(&key, records::decode_document)
                .and_then(Option::transpose),
        )?;
        match found {
            Some((revision, body)) => {
                let id = id.clone();
                self.entries_of(&Document { id, revision, body })
            }
            None => Ok(Vec::new()),
        }
    }

    /// What a document emits.
    pub(super) fn entries_of(&self, document: &Document) -> Result<Vec<ViewEntry>, Error> {
        let schema = self.schema()?;
        let collection = self.schematic.collection(&self.record.definition.collection);
        let typed = match collection {
            Some(collection) => collection.read(document)?,
            None => return Err(self.failed("its collection is not in the schema")),
        };
        schema
            .map(&typed)
            .map_err(|reason| self.failed(format_args!("document {:?}: {reason}", document.id)))
    }
}

impl ViewRuntime {
    /// Starts counting anew.
    pub(super) fn restart(&self) {
        self.documents.store(0, std::sync::atomic::Ordering::Relaxed);
        self.slots_done.store(0, std::sync::atomic::Ordering::Relaxed);
    }
}
