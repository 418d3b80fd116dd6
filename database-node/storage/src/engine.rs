//! The engine: every request, on any store.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{
    Body, Change, ChangeAction, ChangesPage, CollectionName, DatabaseName, Document, DocumentAction,
    DocumentChange, DocumentId, Emitted, Error, FeedStart, KeyName, Message, NamespaceName, Operation,
    Outcome, Precondition, Request, RequestId, Response, Revision, Schema, Schematic, SlotCount, Timestamp,
    ViewDefinition, ViewPolicy, WriteAction,
};

use crate::broker::Broker;
use crate::catalog::{Catalog, DatabaseEntry, DatabaseState, ViewState};
use crate::error::StorageError;
use crate::log_clock::LogClock;
use crate::machine::Scope;
use crate::progress::Progress;
use crate::proposer::{Done, LocalWriter, Proposer};
use crate::schemas::Schemas;
use crate::store::{Batch, OrderedStore};
use crate::views::ViewRuntimes;
use crate::{feed, reading, values};

/// The most bytes that the bodies of a transaction, or a value of the key-value store, can have together.
pub const MAX_WRITE_BYTES: usize = 64 << 20;
/// The most changes of a transaction.
pub const MAX_CHANGES: usize = 100_000;

/// Databases on a store: reads, views, messages, and what is proposed.
pub(crate) struct Engine<S> {
    pub(crate) store: Arc<S>,
    /// Whose log the operations are of.
    pub(crate) scope: Scope,
    proposer: Arc<dyn Proposer>,
    local: Arc<dyn LocalWriter>,
    pub(crate) catalog: Arc<RwLock<Catalog>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) log_clock: Arc<LogClock>,
    pub(crate) broker: Broker,
    pub(crate) views: ViewRuntimes,
    pub(crate) schemas: Schemas,
}

/// What an engine stands on.
pub(crate) struct Foundation<S> {
    pub(crate) store: Arc<S>,
    pub(crate) scope: Scope,
    pub(crate) proposer: Arc<dyn Proposer>,
    pub(crate) local: Arc<dyn LocalWriter>,
    pub(crate) catalog: Arc<RwLock<Catalog>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) log_clock: Arc<LogClock>,
}

impl<S: OrderedStore> Engine<S> {
    pub(crate) fn on(foundation: Foundation<S>) -> Self {
        let Foundation {
            store,
            scope,
            proposer,
            local,
            catalog,
            progress,
            log_clock,
        } = foundation;
        Self {
            store,
            scope,
            proposer,
            local,
            catalog,
            progress,
            log_clock,
            broker: Broker::default(),
            views: ViewRuntimes::default(),
            schemas: Schemas::default(),
        }
    }

    /// Ends all subscriptions, and lets nobody wait any longer.
    pub(crate) fn close(&self) {
        self.progress.close();
        self.broker.close(None);
    }

    /// Writes what this node makes for itself and can make anew.
    pub(crate) fn write_local(&self, batch: Batch) -> Result<(), StorageError> {
        self.proposer.check_room(batch.size())?;
        self.local.write_local(batch)
    }

    /// The database of that name.
    pub(crate) fn state(&self, name: &DatabaseName) -> Result<DatabaseState, Error> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog
            .get(name)
            .cloned()
            .ok_or_else(|| Error::UnknownDatabase(name.clone()))
    }

    /// The databases as they are now, by name.
    pub(crate) fn databases(&self) -> Vec<(DatabaseName, DatabaseState)> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let databases = catalog.databases();
        databases
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect()
    }

    /// The number and slots of the database of that name.
    pub(crate) fn entry(&self, name: &DatabaseName) -> Result<DatabaseEntry, Error> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let state = catalog
            .get(name)
            .ok_or_else(|| Error::UnknownDatabase(name.clone()))?;
        Ok(state.entry)
    }

    /// Whether a database has views that change with its documents.
    pub(crate) fn has_eager_views(&self, name: &DatabaseName) -> Result<bool, Error> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let state = catalog
            .get(name)
            .ok_or_else(|| Error::UnknownDatabase(name.clone()))?;
        Ok(state
            .makeup
            .views
            .iter()
            .any(|view| view.definition.policy != ViewPolicy::Lazy))
    }

    /// A database, and the schema that its views are of.
    pub(crate) fn state_and_schematic(
        &self,
        name: &DatabaseName,
    ) -> Result<(DatabaseState, Arc<Schematic>), Error> {
        // First, for a schema is known before the database has it.
        let state = self.state(name)?;
        let schematic = self.schemas.current(state.entry.id, &state.makeup);
        Ok((state, schematic))
    }

    /// Whether what it stands on is there: a replica can be removed, or replaced by a snapshot.
    ///
    /// # Errors
    /// [`StorageError::Closed`].
    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        match self.scope.is_shard() && self.progress.is_closed() {
            true => Err(StorageError::Closed),
            false => Ok(()),
        }
    }

    /// Reads something of the store. What was read while the replica went may be of the next one, and is not given.
    pub(crate) fn read<T, E: From<StorageError>>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.check_open()?;
        let found = read();
        self.check_open()?;
        found
    }

    /// Has an operation carried out, and waits for what it comes to.
    pub(crate) fn propose(&self, operation: Operation) -> Result<Outcome, StorageError> {
        // Whatever it was made of is of this replica.
        self.check_open()?;
        self.proposer.execute(operation)
    }

    /// Hands an operation on without waiting, as [`Proposer::try_submit`].
    pub(crate) fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError> {
        self.check_open()?;
        self.proposer.try_submit(operation, done)
    }

    /// Hands an operation on, waiting for room, as [`Proposer::submit`].
    pub(crate) fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        self.check_open()?;
        self.proposer.submit(operation, done)
    }

    /// Creates a database.
    pub(crate) fn create_database(&self, name: &DatabaseName, slots: SlotCount) -> Result<(), StorageError> {
        let name = name.clone();
        self.propose(Operation::CreateDatabase { name, slots })
            .map(|_| ())
    }

    /// Deletes a database, and ends the subscriptions to its messages.
    pub(crate) fn delete_database(&self, name: &DatabaseName) -> Result<(), Error> {
        let entry = self.entry(name)?;
        self.propose(Operation::DeleteDatabase { name: name.clone() })?;
        self.broker.close(Some(entry.id));
        self.views.forget(entry.id);
        self.schemas.forget(entry.id);
        Ok(())
    }

    /// Lets a database be used with the schema `X`; gives whether there may be views to build. `()` changes nothing.
    pub(crate) fn define_schema<X: Schema>(&self, name: &DatabaseName) -> Result<bool, Error> {
        let schematic = Schematic::of::<X>().map_err(Error::invalid)?;
        let Some(schema) = schematic.name().cloned() else {
            return self.entry(name).map(|_| false);
        };
        let _defining = self.schemas.defining();
        let state = self.state(name)?;
        let before = self.schemas.of(state.entry.id);
        let views: Vec<_> = schematic.views().map(|view| view.definition().clone()).collect();
        // A view that failed is tried again once in each process.
        let tries_again = !before.was_opened();
        let is_known = |view: &ViewDefinition| {
            let known = state.makeup.view(&view.collection, &view.name);
            known.is_some_and(|known| {
                known.definition == *view && !(tries_again && matches!(known.state, ViewState::Failed(_)))
            })
        };
        let is_current = state.makeup.schema.as_ref() == Some(&schema)
            && views.len() == state.makeup.views.len()
            && views.iter().all(is_known);
        // First, so that nobody finds the views without their code.
        let schematic = Arc::new(schematic);
        self.schemas.learn(state.entry.id, &schematic);
        if !is_current {
            let database = name.clone();
            let defined = self.propose(Operation::DefineSchema {
                database,
                schema,
                views,
            });
            if let Err(error) = defined {
                if !matches!(error, StorageError::Commit(_)) {
                    self.schemas.go_back(state.entry.id, before);
                }
                return Err(error.into());
            }
        }
        self.schemas.open(state.entry.id, &schematic);
        Ok(!is_current || tries_again)
    }

    /// Lets a database be used with the schema `X` if it has it, or is given it later, without giving it to the database.
    /// Gives whether the schema that it has is known now.
    pub(crate) fn learn_schema<X: Schema>(&self, name: &DatabaseName) -> Result<bool, Error> {
        let schematic = Schematic::of::<X>().map_err(Error::invalid)?;
        let _defining = self.schemas.defining();
        let state = self.state(name)?;
        if schematic.name().is_some() {
            self.schemas.learn(state.entry.id, &Arc::new(schematic));
        }
        Ok(self.schemas.of(state.entry.id).has(&state.makeup))
    }

    /// The schema that a database has, if any: its name and views.
    pub(crate) fn schema(&self, name: &DatabaseName) -> Result<Option<SchemaOffer>, Error> {
        let makeup = self.state(name)?.makeup;
        Ok(makeup.schema.clone().map(|name| SchemaOffer {
            name,
            views: makeup.views.iter().map(|view| view.definition.clone()).collect(),
        }))
    }

    /// Answers a request, waiting as long as it takes. One to write is carried out once if it has an id.
    pub(crate) fn execute(
        &self,
        name: &DatabaseName,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Response, Error> {
        match request {
            Request::Transact(_) | Request::ChangeKey { .. } => {
                // Kept only where entries of views can turn out to be outdated, for bodies can be large.
                if !self.has_eager_views(name)? {
                    return answer(self.propose(self.operation(name, request, id)?));
                }
                self.when_built(name, || {
                    answer(self.propose(self.operation(name, request.clone(), id)?))
                })
            }
            Request::Query { .. }
            | Request::Reduce(_)
            | Request::ReduceGrouped(_)
            | Request::DeleteMatching(_) => self.when_built(name, || self.answer(name, &request)),
            Request::Changes {
                mut from,
                limit,
                wait,
            } => {
                let start = Instant::now();
                let mut watch = self.progress.watch(name);
                loop {
                    let page = self.changes(name, &from, limit)?;
                    let left = wait.saturating_sub(start.elapsed());
                    // What was applied may have changed no document.
                    if !page.transactions.is_empty() || !watch.wait(left) {
                        self.check_open()?;
                        return Ok(Response::Changes(page));
                    }
                    from = FeedStart::After(page.next);
                }
            }
            request => self.answer(name, &request),
        }
    }

    /// Answers a request to read, waiting for the disk only: [`pliantdb_core::Rejection::ViewBuilding`] when it would have to wait for a
    /// view, and for no change.
    pub(crate) fn answer(&self, name: &DatabaseName, request: &Request) -> Result<Response, Error> {
        match request {
            // Whatever it reads and writes looks by itself whether the replica is there.
            Request::DeleteMatching(query) => self.delete_matching(name, query.clone()).map(Response::Count),
            Request::Publish(message) => Ok(Response::Count(self.publish(name, message)?)),
            request => self.read(|| self.answer_open(name, request)),
        }
    }

    fn answer_open(&self, name: &DatabaseName, request: &Request) -> Result<Response, Error> {
        match request {
            Request::Get { collection, ids } => {
                let entry = self.entry(name)?;
                if let [id] = ids.as_slice() {
                    let found = reading::get(self.store.as_ref(), entry, collection, id)?;
                    return Ok(Response::Documents(found.into_iter().collect()));
                }
                // All from the same moment, or a transaction could be seen by half.
                let found = reading::get_all_at(&self.store.snapshot(), entry, collection, ids, usize::MAX);
                Ok(Response::Documents(
                    found.map_err(StorageError::from)?.unwrap_or_default(),
                ))
            }
            Request::List { collection, listing } => {
                let entry = self.entry(name)?;
                let page = reading::list(&self.store.snapshot(), entry, collection, listing)?;
                Ok(Response::Page(page))
            }
            Request::Count { collection, listing } => {
                let (entry, snapshot) = (self.entry(name)?, self.store.snapshot());
                let count = reading::count(&snapshot, entry, collection, listing);
                Ok(Response::Count(count.map_err(StorageError::from)?))
            }
            Request::Query { .. } | Request::Reduce(_) | Request::ReduceGrouped(_) => {
                match self.answer_from_view(name, request) {
                    // It has entries to store, and there is no room left: they may fit into memory.
                    Err(full @ Error::DiskFull(_)) => self.answer_unstored(name, request).map_err(|_| full),
                    answer => answer,
                }
            }
            Request::ViewStatus { collection, view } => {
                self.view_status(name, collection, view).map(Response::ViewStatus)
            }
            Request::GetKey { namespace, key } => {
                let entry = self.entry(name)?;
                let now = self.log_clock.now_ms();
                let value = values::get(self.store.as_ref(), entry, namespace, key, now);
                Ok(Response::Value(value.map_err(StorageError::from)?))
            }
            Request::ListKeys { namespace, listing } => {
                let (entry, snapshot) = (self.entry(name)?, self.store.snapshot());
                let page = values::list(&snapshot, entry, namespace, listing, self.log_clock.now_ms());
                Ok(Response::Keys(page.map_err(StorageError::from)?))
            }
            Request::Changes { from, limit, .. } => {
                self.changes_open(name, from, *limit).map(Response::Changes)
            }
            // Whoever holds the handlers answers these.
            Request::Call { api, .. } => Err(Error::UnknownApi(api.clone())),
            Request::Transact(_)
            | Request::ChangeKey { .. }
            | Request::DeleteMatching(_)
            | Request::Publish(_) => Err(Error::invalid("the request is not one to read")),
        }
    }

    fn answer_from_view(&self, name: &DatabaseName, request: &Request) -> Result<Response, Error> {
        match request {
            Request::Query {
                query,
                with_documents,
            } => self.query(name, query, *with_documents).map(Response::Rows),
            Request::Reduce(query) => self
                .reduce(name, query)
                .map(|group| Response::Groups(vec![group])),
            Request::ReduceGrouped(query) => self.reduce_grouped(name, query).map(Response::Groups),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Reads one document if that needs no disk; `None` when it would have to wait for one.
    pub(crate) fn get_cached(
        &self,
        entry: DatabaseEntry,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<Option<Document>>, Error> {
        self.read(|| Ok(reading::get_cached(self.store.as_ref(), entry, collection, id)?))
    }

    /// The same for a key.
    pub(crate) fn get_key_cached(
        &self,
        entry: DatabaseEntry,
        namespace: &NamespaceName,
        key: &KeyName,
    ) -> Result<Option<Option<Body>>, Error> {
        let now = self.log_clock.now_ms();
        self.read(|| {
            let found = values::get_cached(self.store.as_ref(), entry, namespace, key, now);
            Ok(found.map_err(StorageError::from)?)
        })
    }

    /// Sends a message; gives how many subscribers it is for.
    pub(crate) fn publish(&self, name: &DatabaseName, message: &Message) -> Result<u64, Error> {
        let count = self.deliver(name, message)?;
        Ok(count + self.proposer.publish_elsewhere(message))
    }

    /// Gives a message to the subscribers of this node, and gives how many they are.
    pub(crate) fn deliver(&self, name: &DatabaseName, message: &Message) -> Result<u64, Error> {
        self.check_open()?;
        Ok(self.broker.publish(self.entry(name)?.id, message))
    }

    /// Changes, without waiting for any.
    pub(crate) fn changes(
        &self,
        name: &DatabaseName,
        from: &FeedStart,
        limit: usize,
    ) -> Result<ChangesPage, Error> {
        self.read(|| self.changes_open(name, from, limit))
    }

    fn changes_open(
        &self,
        name: &DatabaseName,
        from: &FeedStart,
        limit: usize,
    ) -> Result<ChangesPage, Error> {
        let entry = self.entry(name)?;
        // Taken first, so that the snapshot has everything up to it. What a crash can take back is not in it, or a cursor
        // could lie behind what is committed after the crash.
        let now = self.progress.applied();
        let snapshot = self.store.snapshot();
        // From the snapshot too, for changes may have been trimmed since.
        let makeup = self
            .scope
            .makeup_at(&snapshot, entry)
            .map_err(StorageError::from)?;
        feed::read(&snapshot, name, entry, &makeup, from, now, limit)
    }

    /// The operation that a request to write asks for, to be carried out once if it has an id.
    pub(crate) fn operation(
        &self,
        name: &DatabaseName,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Operation, Error> {
        let (state, schematic) = self.state_and_schematic(name)?;
        operation(name, &state, &schematic, request, id)
    }
}

/// The operation that a request to write a database asks for, to be carried out once if it has an id. `schematic` is
/// the schema that the database is used with.
pub(crate) fn operation(
    name: &DatabaseName,
    state: &DatabaseState,
    schematic: &Schematic,
    request: Request,
    id: Option<RequestId>,
) -> Result<Operation, Error> {
    let write = match request {
        Request::Transact(changes) => {
            if changes.len() > MAX_CHANGES {
                let count = changes.len();
                let reason = format!("the transaction has {count} changes, and {MAX_CHANGES} is the most");
                return Err(Error::Invalid(reason));
            }
            let change = |(number, change)| {
                let generated = id.map(|id| id.document_id(number));
                document_change(state, schematic, change, generated)
            };
            let changes = (0..).zip(changes).map(change);
            WriteAction::Transact(changes.collect::<Result<_, _>>()?)
        }
        Request::ChangeKey {
            namespace,
            key,
            action,
        } => WriteAction::ChangeKey {
            namespace,
            key,
            action,
        },
        _ => return Err(Error::invalid("the request is not one to write")),
    };
    match write.size() {
        size if size > MAX_WRITE_BYTES => Err(Error::Invalid(format!(
            "the write has about {size} bytes, and {MAX_WRITE_BYTES} is the most; split it"
        ))),
        _ => Ok(Operation::write(name.clone(), write, id)),
    }
}

/// What a write came to, as an answer.
pub(crate) fn answer(outcome: Result<Outcome, StorageError>) -> Result<Response, Error> {
    match outcome? {
        Outcome::Transacted(outcomes) => Ok(Response::Transacted(outcomes)),
        Outcome::Key(outcome) => Ok(Response::Key(outcome)),
        Outcome::Done => Err(Error::unexpected_answer()),
    }
}

/// A change with all that applying it needs: its id, and what the document emits. An insert without an id gets the one
/// given, which is then looked up, for it is only as good as whoever made it; else one that nobody has.
fn document_change(
    state: &DatabaseState,
    schematic: &Schematic,
    change: Change,
    generated: Option<DocumentId>,
) -> Result<DocumentChange, Error> {
    let Change { collection, action } = change;
    let is_unheard_of = generated.is_none() && matches!(action, ChangeAction::Insert { id: None, .. });
    let (id, precondition, body) = match action {
        ChangeAction::Insert { id, body } => {
            let id = id
                .or(generated)
                .unwrap_or_else(crate::storage::generate_document_id);
            (id, Precondition::Absent, Some(body))
        }
        ChangeAction::Put {
            id,
            body,
            precondition,
        } => (id, precondition, Some(body)),
        ChangeAction::Delete { id, precondition } => {
            return Ok(DocumentChange {
                collection,
                id,
                precondition,
                action: DocumentAction::Delete,
            });
        }
        ChangeAction::Check { id, precondition } => (id, precondition, None),
    };
    let Some(body) = body else {
        return Ok(DocumentChange {
            collection,
            id,
            precondition,
            action: DocumentAction::Check,
        });
    };
    let mut emitted = Vec::new();
    let document = Document {
        id,
        revision: Revision::at(Timestamp::ZERO),
        body,
    };
    if let Some(schema) = schematic.collection(&collection) {
        // Also without a view: nothing gets into a typed collection that is not of its type.
        let typed = schema.admit(&document)?;
        for record in state.makeup.eager_views(&collection) {
            let Some(view) = schema
                .view(&record.definition.name)
                .filter(|view| *view.definition() == record.definition)
            else {
                continue;
            };
            let entries = view.map(&typed).map_err(|reason| Error::View {
                collection: collection.clone(),
                view: record.definition.name.clone(),
                reason,
            })?;
            emitted.push(Emitted {
                view: record.id,
                entries,
            });
        }
    }
    let body = document.body;
    Ok(DocumentChange {
        collection,
        id: document.id,
        precondition,
        action: match is_unheard_of {
            true => DocumentAction::Create { body, emitted },
            false => DocumentAction::Put { body, emitted },
        },
    })
}
