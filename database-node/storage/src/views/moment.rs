//! Views as of a snapshot: what a lazy one has not read yet is made in memory, over the snapshot.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use pliantdb_core::{
    CollectionName, Error, Freshness, Query, Request, Response, Schematic, Timestamp, ViewId, ViewName,
    ViewStatus,
};

use super::partials::MarkedFrom;
use super::{Readable, query, stored};
use crate::catalog::{DatabaseState, ViewRecord, ViewState};
use crate::feed::Changes;
use crate::keys;
use crate::machine::{Pending, views};
use crate::records::{self, LazyView};
use crate::store::{At, Overlaid, Overlay, Snapshot};

/// The most documents that are mapped in memory.
const DOCUMENTS: usize = 100_000;
/// The most bytes of entries that are made of them.
const BYTES: usize = 64 << 20;

/// The views of a database at the moment of a snapshot.
pub(crate) struct ViewsAt {
    state: DatabaseState,
    schematic: Arc<Schematic>,
    /// The last command that the snapshot has.
    applied: Timestamp,
    /// What lazy views had not read yet.
    unread: Mutex<HashMap<ViewId, Arc<Overlay>>>,
}

impl ViewsAt {
    pub(crate) fn new(state: DatabaseState, schematic: Arc<Schematic>, applied: Timestamp) -> Self {
        Self {
            state,
            schematic,
            applied,
            unread: Mutex::default(),
        }
    }

    /// Answers a request to read a view; `None` if it is not one.
    pub(crate) fn answer(
        &self,
        snapshot: &impl Snapshot,
        request: &Request,
    ) -> Result<Option<Response>, Error> {
        let query = match request {
            Request::Query { query, .. } | Request::Reduce(query) | Request::ReduceGrouped(query) => query,
            Request::ViewStatus { collection, view } => {
                return self.status(collection, view).map(Response::ViewStatus).map(Some);
            }
            _ => return Ok(None),
        };
        let view = self.view(query)?;
        if !matches!(request, Request::Query { .. }) {
            query::check_reducible(&view, query)?;
        }
        let unread = match view.is_lazy() && query.freshness != Freshness::Stale {
            true => self.unread(snapshot, &view)?,
            false => Arc::default(),
        };
        let snapshot = Overlaid {
            below: snapshot,
            above: &unread,
        };
        let marked_from = MarkedFrom::default();
        Ok(Some(match request {
            Request::Reduce(_) => {
                Response::Groups(vec![query::reduce_at(&snapshot, &view, &marked_from, query)?])
            }
            Request::ReduceGrouped(_) => {
                Response::Groups(query::reduce_grouped_at(&snapshot, &view, &marked_from, query)?)
            }
            _ => {
                let with_documents = matches!(
                    request,
                    Request::Query {
                        with_documents: true,
                        ..
                    }
                );
                Response::Rows(query::rows(
                    &snapshot,
                    &view,
                    query,
                    with_documents,
                    query::ROWS_BYTES,
                )?)
            }
        }))
    }

    fn record(&self, collection: &CollectionName, view: &ViewName) -> Result<&ViewRecord, Error> {
        let record = self.state.makeup.view(collection, view);
        record.ok_or_else(|| Error::UnknownView {
            collection: collection.clone(),
            view: view.clone(),
        })
    }

    /// A view as a query wants it.
    fn view(&self, query: &Query) -> Result<Readable, Error> {
        let record = self.record(&query.collection, &query.view)?;
        let mut view = Readable::current(&self.state, record, &self.schematic);
        match (&record.state, record.previous) {
            (ViewState::Ready, _) => {}
            (ViewState::Failed(reason), _) => return Err(view.failed(reason)),
            (ViewState::Building, previous) if query.freshness == Freshness::Stale => {
                view.id = previous.unwrap_or(record.id);
            }
            (ViewState::Building, _) => {
                return Err(view.failed(
                    "it was being built at the moment of the snapshot; take another when it is built, or ask for what \
                     was there (Freshness::Stale)",
                ));
            }
        }
        Ok(view)
    }

    /// The changes of a lazy view's entries that it had yet to make at the moment of the snapshot.
    fn unread(&self, snapshot: &impl Snapshot, view: &Readable) -> Result<Arc<Overlay>, Error> {
        // Locked meanwhile, so that it is made once.
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = unread.get(&view.id) {
            return Ok(Arc::clone(made));
        }
        let key = keys::lazy_view(view.database.id, view.id);
        let read = stored(
            snapshot
                .get(&key, records::decode_lazy_view)
                .and_then(Option::transpose),
        )?;
        let since = match read {
            Some(LazyView::Local(up_to)) => up_to,
            // Nothing that counts is in the local slot yet.
            Some(LazyView::InSlots) | None => Timestamp::ZERO,
        };
        if since.bits().saturating_add(1) < self.state.makeup.changes_from.bits() {
            return Err(view.failed(
                "the changes that it had not read at the moment of the snapshot are no longer kept; query it, and take \
                 another snapshot",
            ));
        }
        let too_many = || {
            view.failed(format_args!(
                "at the moment of the snapshot it had not read the changes of more than {DOCUMENTS} documents, or of \
                 such with more than {BYTES} bytes of entries; query it, and take another snapshot"
            ))
        };
        let mut changes = stored(Changes::between(snapshot, view.database, since))?;
        let mut changed = BTreeSet::new();
        while let Some(transaction) = stored(changes.next())? {
            let of_collection = transaction
                .changes
                .into_iter()
                .filter(|change| change.collection == view.record.definition.collection);
            changed.extend(of_collection.map(|change| change.id));
            if changed.len() > DOCUMENTS {
                return Err(too_many());
            }
        }
        let at = At(snapshot);
        let mut pending = Pending::new(&at);
        for id in changed {
            let entries = view.map(snapshot, &id)?;
            let (extent, record, now) = (view.database.into(), &view.record, Some(self.applied));
            views::replace(&mut pending, extent, record, &id, true, &entries, now)?;
            if pending.size() > BYTES {
                return Err(too_many());
            }
        }
        let made = Arc::new(Overlay::of(&pending.into_batch()));
        unread.insert(view.id, Arc::clone(&made));
        Ok(made)
    }

    fn status(&self, collection: &CollectionName, view: &ViewName) -> Result<ViewStatus, Error> {
        let record = self.record(collection, view)?;
        Ok(match &record.state {
            ViewState::Ready => ViewStatus::Ready,
            ViewState::Failed(reason) => ViewStatus::Failed(reason.clone()),
            ViewState::Building => ViewStatus::Building {
                documents: 0,
                slots_done: 0,
                slots: self.state.entry.slots.get(),
                serves_previous: record.previous.is_some(),
            },
        })
    }
}
