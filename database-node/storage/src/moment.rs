//! One moment of a database: everything that can be asked of a snapshot.

use std::sync::Arc;

use pliantdb_core::{
    CollectionName, DatabaseName, Document, DocumentId, Error, Request, Response, Timestamp,
};

use crate::catalog::{DatabaseId, DatabaseState};
use crate::engine::Engine;
use crate::error::StorageError;
use crate::machine::Scope;
use crate::schemas::Known;
use crate::store::{At, OrderedStore, Snapshot};
use crate::views::ViewsAt;
use crate::{feed, reading, values};

/// What does not lie in the snapshot itself.
pub(crate) struct Moment {
    name: DatabaseName,
    state: DatabaseState,
    views: ViewsAt,
    /// The last command that is in the snapshot and that a crash cannot take back.
    synced: Timestamp,
    /// By what values have expired, in milliseconds since the Unix epoch.
    now_ms: u64,
}

/// What is noted while a snapshot is taken.
pub(crate) struct Noted {
    known: Arc<Known>,
    synced: Timestamp,
    now_ms: u64,
    scope: Scope,
}

impl<S: OrderedStore> Engine<S> {
    /// Takes a snapshot by `take`, and notes what goes with it.
    pub(crate) fn take_snapshot<T>(
        &self,
        database: DatabaseId,
        take: impl FnOnce() -> T,
    ) -> Result<(T, Noted), StorageError> {
        // First, so that the snapshot has everything up to it.
        let (synced, now_ms) = (self.progress.applied(), self.log_clock.now_ms());
        let taken = self.read(|| Ok::<_, StorageError>(take()))?;
        let noted = Noted {
            // Last, so that the schema that the snapshot has is one of them.
            known: self.schemas.of(database),
            synced,
            now_ms,
            scope: self.scope,
        };
        Ok((taken, noted))
    }

    /// Answers a request to read a view without bringing it up to date in the store.
    pub(crate) fn answer_unstored(&self, name: &DatabaseName, request: &Request) -> Result<Response, Error> {
        let database = self.entry(name)?.id;
        let (snapshot, noted) = self.take_snapshot(database, || self.store.snapshot())?;
        Moment::of(&snapshot, name, database, noted)?.answer(&snapshot, request)
    }
}

impl Moment {
    /// That of a snapshot.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`] when the snapshot has no such database, or another of its name.
    pub(crate) fn of(
        snapshot: &impl Snapshot,
        name: &DatabaseName,
        database: DatabaseId,
        noted: Noted,
    ) -> Result<Self, Error> {
        let scope = noted.scope;
        let read = || {
            let Some(entry) = scope.database_at(snapshot, name)? else {
                return Ok(None);
            };
            let makeup = scope.makeup_at(snapshot, entry)?;
            Ok::<_, StorageError>(Some((entry, makeup, scope.applied_at(snapshot)?)))
        };
        let found = read()?.filter(|(entry, ..)| entry.id == database);
        let (entry, makeup, applied) = found.ok_or_else(|| Error::UnknownDatabase(name.clone()))?;
        let state = DatabaseState {
            entry,
            makeup: Arc::new(makeup),
        };
        Ok(Self {
            name: name.clone(),
            views: ViewsAt::new(state.clone(), noted.known.of(&state.makeup), applied),
            state,
            synced: noted.synced,
            now_ms: noted.now_ms,
        })
    }

    /// Reads documents, as [`reading::get_all_at`].
    pub(crate) fn get_all(
        &self,
        snapshot: &impl Snapshot,
        collection: &CollectionName,
        ids: &[DocumentId],
        most: usize,
    ) -> Result<Option<Vec<Document>>, Error> {
        let found = reading::get_all_at(snapshot, self.state.entry, collection, ids, most);
        Ok(found.map_err(StorageError::from)?)
    }

    /// Answers a request to read. `snapshot` is the one that this is of.
    pub(crate) fn answer(&self, snapshot: &impl Snapshot, request: &Request) -> Result<Response, Error> {
        let entry = self.state.entry;
        let read_only = |asked: &str| Err(Error::ReadOnlySnapshot(asked.to_owned()));
        let answer = match request {
            Request::Get { collection, ids } => {
                let found = reading::get_all_at(snapshot, entry, collection, ids, usize::MAX);
                found.map(|found| Response::Documents(found.unwrap_or_default()))
            }
            Request::List { collection, listing } => {
                return Ok(Response::Page(reading::list(
                    snapshot, entry, collection, listing,
                )?));
            }
            Request::Count { collection, listing } => {
                reading::count(snapshot, entry, collection, listing).map(Response::Count)
            }
            Request::GetKey { namespace, key } => {
                values::get(&At(snapshot), entry, namespace, key, self.now_ms).map(Response::Value)
            }
            Request::ListKeys { namespace, listing } => {
                values::list(snapshot, entry, namespace, listing, self.now_ms).map(Response::Keys)
            }
            Request::Changes { from, limit, .. } => {
                let (name, makeup) = (&self.name, &self.state.makeup);
                let page = feed::read(snapshot, name, entry, makeup, from, self.synced, *limit);
                return page.map(Response::Changes);
            }
            Request::Query { .. }
            | Request::Reduce(_)
            | Request::ReduceGrouped(_)
            | Request::ViewStatus { .. } => {
                return self
                    .views
                    .answer(snapshot, request)?
                    .ok_or_else(Error::unexpected_answer);
            }
            Request::Transact(_) => return read_only("changing documents"),
            Request::DeleteMatching(_) => return read_only("deleting documents"),
            Request::ChangeKey { .. } => return read_only("changing a key"),
            Request::Publish(_) => return read_only("publishing a message"),
            Request::Call { .. } => return read_only("calling an API"),
        };
        Ok(answer.map_err(StorageError::from)?)
    }
}
