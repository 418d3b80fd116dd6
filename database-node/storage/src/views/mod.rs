//! Views: building them, keeping the lazy ones up to date, and answering from them.

mod build;
mod entries;
mod moment;
mod partials;
mod query;
#[cfg(test)]
mod reads;
mod update;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pliantdb_core::{
    CollectionName, DatabaseName, DocumentId, Error, Freshness, Query, Rejection, Schematic, Slot, SlotCount,
    Timestamp, ViewDefinition, ViewId, ViewName, ViewPolicy, ViewSchema, ViewStatus,
};

pub(crate) use self::moment::ViewsAt;
use self::partials::MarkedFrom;
use crate::catalog::{DatabaseEntry, DatabaseId, DatabaseState, ViewRecord, ViewState};
use crate::engine::Engine;
use crate::error::StorageError;
use crate::keys;
use crate::records::{self, LazyView, corrupt};
use crate::store::{OrderedStore, Snapshot, StoreError};

/// What is kept in memory of each view.
#[derive(Default)]
pub(crate) struct ViewRuntimes {
    views: Mutex<HashMap<(DatabaseId, ViewId), Arc<ViewRuntime>>>,
}

/// What is kept in memory of a view.
#[derive(Default)]
pub(crate) struct ViewRuntime {
    /// Up to when a lazy view has read the changes; `None` until that was looked up. Locked while it reads more, so
    /// that only one does.
    up_to: Mutex<Option<Timestamp>>,
    /// Locked while its partials are made anew, so that only one does. Who looks for marks begins here, for on the way
    /// to it RocksDB would have to pass what is left of each that was removed.
    partials: Mutex<MarkedFrom>,
    /// Documents that the building of it has looked at.
    documents: AtomicU64,
    /// Slots that the building of it has done.
    slots_done: AtomicU16,
}

impl ViewRuntimes {
    fn get(&self, database: DatabaseId, view: ViewId) -> Arc<ViewRuntime> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(views.entry((database, view)).or_default())
    }

    /// Forgets the views of a database.
    pub(crate) fn forget(&self, database: DatabaseId) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|(of, _), _| *of != database);
    }
}

/// A view that can answer.
struct Readable {
    database: DatabaseEntry,
    record: ViewRecord,
    /// The version to read: that of the record, or the one before.
    id: ViewId,
    schematic: Arc<Schematic>,
}

/// Where a version of a view has its entries, and all that goes with them.
#[derive(Clone, Copy)]
enum Place {
    /// In the local slot: what lazy views have.
    Local,
    /// In the slots of their documents.
    Slots(SlotCount),
}

impl Place {
    fn slots(self) -> impl Iterator<Item = Slot> {
        let (local, slots) = match self {
            Self::Local => (Some(Slot::LOCAL), None),
            Self::Slots(slots) => (None, Some(slots)),
        };
        local
            .into_iter()
            .chain(slots.into_iter().flat_map(SlotCount::slots))
    }
}

impl Readable {
    /// The current version of a view.
    fn current(state: &DatabaseState, record: &ViewRecord, schematic: &Arc<Schematic>) -> Self {
        Self {
            database: state.entry,
            record: record.clone(),
            id: record.id,
            schematic: Arc::clone(schematic),
        }
    }

    fn schema(&self) -> Result<&ViewSchema, Error> {
        let definition = &self.record.definition;
        find(&self.schematic, &self.record).ok_or_else(|| Error::UnknownView {
            collection: definition.collection.clone(),
            view: definition.name.clone(),
        })
    }

    fn failed(&self, reason: impl std::fmt::Display) -> Error {
        failed(&self.record, reason)
    }

    fn is_lazy(&self) -> bool {
        self.record.definition.policy == ViewPolicy::Lazy
    }

    /// Where the view writes its entries.
    fn place(&self) -> Place {
        match self.is_lazy() {
            true => Place::Local,
            false => Place::Slots(self.database.slots),
        }
    }

    /// Where the version that is to be read has its entries. One before the current may be of another policy, and what
    /// was last built by a program that knew no local slot lies in slots.
    fn place_in(&self, snapshot: &impl Snapshot) -> Result<Place, StoreError> {
        let is_current = self.id == self.record.id;
        if is_current && !self.is_lazy() {
            return Ok(self.place());
        }
        let key = keys::lazy_view(self.database.id, self.id);
        Ok(
            match snapshot.get(&key, records::decode_lazy_view)?.transpose()? {
                Some(LazyView::Local(_)) => Place::Local,
                Some(LazyView::InSlots) => Place::Slots(self.database.slots),
                // It is being built, or was never lazy.
                None if is_current => Place::Local,
                None => Place::Slots(self.database.slots),
            },
        )
    }
}

/// What the program says of exactly this version of a view.
fn find<'s>(schematic: &'s Schematic, record: &ViewRecord) -> Option<&'s ViewSchema> {
    let collection = schematic.collection(&record.definition.collection)?;
    collection
        .view(&record.definition.name)
        .filter(|view| *view.definition() == record.definition)
}

fn failed(record: &ViewRecord, reason: impl std::fmt::Display) -> Error {
    Error::View {
        collection: record.definition.collection.clone(),
        view: record.definition.name.clone(),
        reason: reason.to_string(),
    }
}

/// An id out of a key.
fn id_of(text: &[u8]) -> Result<DocumentId, StoreError> {
    let text = str::from_utf8(text).map_err(|error| corrupt("entry", error))?;
    text.parse().map_err(|error| corrupt("entry", error))
}

impl<S: OrderedStore> Engine<S> {
    /// A view as a query wants it: built, and up to date. [`Rejection::ViewBuilding`] if that is to be waited for.
    fn readable(&self, name: &DatabaseName, query: &Query) -> Result<Readable, Error> {
        let (state, schematic) = self.state_and_schematic(name)?;
        let record = state
            .makeup
            .view(&query.collection, &query.view)
            .ok_or_else(|| Error::UnknownView {
                collection: query.collection.clone(),
                view: query.view.clone(),
            })?;
        let mut readable = Readable::current(&state, record, &schematic);
        let is_lazy = record.definition.policy == ViewPolicy::Lazy;
        if let (ViewState::Building, Some(previous), Freshness::Stale) =
            (&record.state, record.previous, query.freshness)
        {
            readable.id = previous;
            // A replica in which nobody has asked for it has nothing of it, not even outdated entries.
            if !is_lazy || self.was_made_here(&readable)? {
                return Ok(readable);
            }
        }
        match (&record.state, record.previous) {
            (ViewState::Failed(reason), _) => return Err(failed(record, reason)),
            (ViewState::Building, None) if query.freshness == Freshness::Stale => {}
            (ViewState::Building, _) => {
                // Only who knows its map can build it.
                readable.schema()?;
                let (collection, view) = (query.collection.clone(), query.view.clone());
                return Err(Rejection::ViewBuilding { collection, view }.into());
            }
            (ViewState::Ready, _) => {
                if is_lazy && (query.freshness != Freshness::Stale || !self.was_made_here(&readable)?) {
                    let updated = self.update_lazy_view(name, &readable);
                    self.unless_replaced(name, &readable, updated)?;
                }
            }
        }
        Ok(readable)
    }

    /// Whether this process, or one before, has made something of a lazy view.
    fn was_made_here(&self, view: &Readable) -> Result<bool, Error> {
        let runtime = self.views.get(view.database.id, view.id);
        // Whoever holds it makes it just now.
        let is_known = runtime.up_to.try_lock().is_ok_and(|up_to| up_to.is_some());
        Ok(is_known || stored(self.lazy_view(view))?.is_some())
    }

    /// What came of working on a view; if it failed because another version took its place meanwhile, that has to be waited
    /// for.
    fn unless_replaced(
        &self,
        name: &DatabaseName,
        view: &Readable,
        done: Result<(), Error>,
    ) -> Result<(), Error> {
        let Err(error) = done else { return Ok(()) };
        let ViewDefinition {
            collection, name: of, ..
        } = &view.record.definition;
        let state = self.state(name)?;
        let current = state.makeup.view(collection, of);
        match current.is_some_and(|current| current.id == view.record.id) {
            true => Err(error),
            false => {
                let (collection, view) = (collection.clone(), of.clone());
                Err(Rejection::ViewBuilding { collection, view }.into())
            }
        }
    }

    /// Whether a view of a database is being built by this process.
    pub(crate) fn builds_views(&self, name: &DatabaseName) -> Result<bool, Error> {
        let views = self.known_views(&self.state(name)?);
        Ok(views.iter().any(|view| view.record.state == ViewState::Building))
    }

    /// A lazy view as a query wants it, if it is so already.
    fn readable_now(&self, name: &DatabaseName, query: &Query) -> Option<Readable> {
        let (state, schematic) = self.state_and_schematic(name).ok()?;
        let record = state.makeup.view(&query.collection, &query.view)?;
        let is_lazy = record.definition.policy == ViewPolicy::Lazy && record.state == ViewState::Ready;
        if !is_lazy || query.freshness == Freshness::Stale {
            return None;
        }
        let runtime = self.views.get(state.entry.id, record.id);
        let up_to = *runtime.up_to.try_lock().ok()?;
        (up_to >= Some(self.progress.applied())).then(|| Readable::current(&state, record, &schematic))
    }

    /// The views of a database whose map this process knows.
    fn known_views(&self, state: &DatabaseState) -> Vec<Readable> {
        let schematic = self.schemas.current(state.entry.id, &state.makeup);
        let records = state.makeup.views.iter();
        records
            .filter(|record| find(&schematic, record).is_some())
            .map(|record| Readable::current(state, record, &schematic))
            .collect()
    }

    /// How a view is doing.
    pub(crate) fn view_status(
        &self,
        name: &DatabaseName,
        collection: &CollectionName,
        view: &ViewName,
    ) -> Result<ViewStatus, Error> {
        let state = self.state(name)?;
        let record = state
            .makeup
            .view(collection, view)
            .ok_or_else(|| Error::UnknownView {
                collection: collection.clone(),
                view: view.clone(),
            })?;
        let runtime = self.views.get(state.entry.id, record.id);
        Ok(match &record.state {
            ViewState::Ready => ViewStatus::Ready,
            ViewState::Failed(reason) => ViewStatus::Failed(reason.clone()),
            ViewState::Building => ViewStatus::Building {
                documents: runtime.documents.load(Ordering::Relaxed),
                slots_done: runtime.slots_done.load(Ordering::Relaxed),
                slots: state.entry.slots.get(),
                serves_previous: record.previous.is_some(),
            },
        })
    }
}

/// What the store says, as an error of the database.
fn stored<T>(result: Result<T, StoreError>) -> Result<T, Error> {
    Ok(result.map_err(StorageError::from)?)
}
