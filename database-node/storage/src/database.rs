//! One database, blocking.

use std::path::Path;
use std::sync::Arc;

use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{
    Body, Change, ChangeAction, ChangeOutcome, CollectionName, Connection, DatabaseName, Document,
    DocumentId, Error, Inbox, Listing, Message, Operation, Outcome, Page, Precondition, Request, RequestId,
    Response, Revision, Schema, Step, StorageConnection, Subscriber, TopicPattern, converse,
};

use crate::apis::Apis;
use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::engine::Engine;
use crate::error::StorageError;
use crate::reading::{self, Found};
use crate::storage::{Inner, Options, StateStore, Storage, generate_document_id};
use crate::store::OrderedStore;

/// One database: of a [`Storage`], or as a replica of its group has it ([`crate::group::GroupState::database`]). Every call
/// blocks until it is done: writes, until they are on disk, or the group has committed them and they are applied.
///
/// What is typed comes from [`Connection`]; the methods here take any JSON.
#[derive(Clone)]
pub struct Database {
    pub(crate) engine: Arc<Engine<StateStore>>,
    apis: Arc<Apis>,
    /// The storage that it is in, which it keeps open.
    home: Option<Arc<Inner>>,
    name: DatabaseName,
    /// Which one of that name, if there were several over time.
    id: DatabaseId,
}

impl Database {
    /// A database of a storage.
    pub(crate) fn new(inner: Arc<Inner>, name: DatabaseName, id: DatabaseId) -> Self {
        Self {
            engine: Arc::clone(&inner.engine),
            apis: Arc::clone(&inner.apis),
            home: Some(inner),
            name,
            id,
        }
    }

    /// A database that is in no storage.
    pub(crate) fn alone(
        engine: Arc<Engine<StateStore>>,
        apis: Arc<Apis>,
        name: DatabaseName,
        id: DatabaseId,
    ) -> Self {
        Self {
            engine,
            apis,
            home: None,
            name,
            id,
        }
    }

    /// Opens the database `default` of the data directory at `path`, which is created if there is none, with the schema
    /// `S`.
    ///
    /// # Errors
    /// As [`Storage::open`], and [`Error::Invalid`] for a schema that contradicts itself.
    pub fn open<S: Schema>(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with::<S>(path, Options::default())
    }

    /// [`Database::open`], with options.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with<S: Schema>(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Storage::open_with(path, options)?.database::<S>(DatabaseName::default_database().as_str())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Its number, which tells it from others that had its name before, or will.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.id.get()
    }

    /// The storage that it is in; `None` of a replica's, which lies beside others in a store of its node.
    #[must_use]
    pub fn storage(&self) -> Option<Storage> {
        self.home.clone().map(Storage::of)
    }

    /// What time it is for the database, in milliseconds since the Unix epoch: [`Storage::now_ms`]. A replica's is not
    /// behind the last command that it has applied.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.engine.log_clock.now_ms()
    }

    /// The schema that it has, if any: its name and views.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], and [`Error::Closed`] of a replica that is gone.
    pub fn schema(&self) -> Result<Option<SchemaOffer>, Error> {
        self.entry()?;
        self.engine.schema(&self.name)
    }

    /// Gives it the schema `S`, and lets it be used with that; views that are new or have changed are built by and by. `()`
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a schema that contradicts itself, [`pliantdb_core::Rejection::OtherSchema`] when it has a
    /// schema of another name, and whatever a write comes to.
    pub fn define_schema<S: Schema>(&self) -> Result<(), Error> {
        self.entry()?;
        if self.engine.define_schema::<S>(&self.name)?
            && let Some(home) = &self.home
        {
            home.wake_housekeeper();
        }
        Ok(())
    }

    /// Lets it be used with the schema `S` as soon as it has that, and writes nothing: for a node that has the code of
    /// schemas, of which another node gives the database one, now or later. Several versions can be learnt. Gives whether
    /// it has one that this process knows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a schema that contradicts itself, [`Error::UnknownDatabase`], and [`Error::Closed`] of a
    /// replica that is gone.
    pub fn learn_schema<S: Schema>(&self) -> Result<bool, Error> {
        self.entry()?;
        self.engine.learn_schema::<S>(&self.name)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn execute(&self, request: Request) -> Result<Response, Error> {
        self.answer(request, None)
    }

    /// Answers a request, which writes once however often it is given with this id: a transaction or a change of a key
    /// comes to what it came to the first time. One that failed is tried anew. For who may have missed the answer.
    ///
    /// The id is remembered for [`pliantdb_core::REQUEST_MEMORY`], beside the first document or key that the request
    /// names. It must come with the same request each time. For requests of other kinds it means nothing.
    ///
    /// # Errors
    /// Any [`Error`]; [`pliantdb_core::Rejection::RequestExpired`] when the id is too old, or too far ahead of
    /// [`Storage::now_ms`], to tell whether the write was made.
    pub fn execute_once(&self, id: RequestId, request: Request) -> Result<Response, Error> {
        self.answer(request, Some(id))
    }

    pub(crate) fn answer(&self, request: Request, id: Option<RequestId>) -> Result<Response, Error> {
        self.entry()?;
        match request {
            Request::Call { api, body } => self.apis.call(self, &api, &body).map(Response::Called),
            request => self.engine.execute(&self.name, request, id),
        }
    }

    /// The operation that a request to write asks for, for [`Storage::submit`].
    ///
    /// # Errors
    /// [`Error::OtherType`], [`Error::View`] and [`Error::Invalid`] when it cannot be one.
    pub fn operation(&self, request: Request) -> Result<Operation, Error> {
        self.entry()?;
        self.engine.operation(&self.name, request, None)
    }

    /// Has an operation of this database carried out, and waits for what it comes to, as [`Storage::execute`]: a schema
    /// without views, for one.
    ///
    /// # Errors
    /// As [`Storage::execute`]; [`StorageError::Closed`] also of a replica that is gone.
    pub fn propose(&self, operation: Operation) -> Result<Outcome, StorageError> {
        self.entry()?;
        self.engine.propose(operation)
    }

    /// Reads a document; `None` when there is none.
    ///
    /// # Errors
    /// [`StorageError::Store`] and [`StorageError::UnknownDatabase`].
    pub fn get(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<Document>, StorageError> {
        let entry = self.entry()?;
        self.engine
            .read(|| reading::get(self.engine.store.as_ref(), entry, collection, id))
    }

    /// Reads a document if its body has at most `most` bytes; else tells its size. For who must have room before.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn get_within(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        most: usize,
    ) -> Result<Found, StorageError> {
        let entry = self.entry()?;
        self.engine
            .read(|| reading::get_within(self.engine.store.as_ref(), entry, collection, id, most))
    }

    /// Reads documents from one moment: those that exist, in the order of the ids; `None` when their bodies have more than
    /// `most` bytes together, of which no more is held than that and one of them.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn get_multiple_within(
        &self,
        collection: &CollectionName,
        ids: &[DocumentId],
        most: usize,
    ) -> Result<Option<Vec<Document>>, StorageError> {
        let entry = self.entry()?;
        let snapshot = self
            .engine
            .read(|| Ok::<_, StorageError>(self.engine.store.snapshot()))?;
        Ok(reading::get_all_at(&snapshot, entry, collection, ids, most)?)
    }

    /// Reads one page of a collection, in the order of ids.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn list(&self, collection: &CollectionName, listing: &Listing) -> Result<Page, StorageError> {
        let entry = self.entry()?;
        let snapshot = self
            .engine
            .read(|| Ok::<_, StorageError>(self.engine.store.snapshot()))?;
        reading::list(&snapshot, entry, collection, listing)
    }

    /// Writes a document if `precondition` holds; returns its revision, and whether it is new.
    ///
    /// # Errors
    /// [`Error::Rejected`] when it does not hold, [`Error::OtherType`] when the body is not of the collection's type.
    pub fn put(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        body: Body,
        precondition: Precondition,
    ) -> Result<(Revision, bool), Error> {
        let id = id.clone();
        match self.change(
            collection,
            ChangeAction::Put {
                id,
                body,
                precondition,
            },
        )? {
            ChangeOutcome::Written {
                revision, created, ..
            } => Ok((revision, created)),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Inserts a document under an id made for it.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn push(&self, collection: &CollectionName, body: Body) -> Result<(DocumentId, Revision), Error> {
        let id = generate_document_id();
        let (revision, _) = self.put(collection, &id, body, Precondition::Absent)?;
        Ok((id, revision))
    }

    /// Deletes a document if `precondition` holds.
    ///
    /// # Errors
    /// [`Error::Rejected`], also when there is no such document.
    pub fn delete(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        precondition: Precondition,
    ) -> Result<(), Error> {
        let id = id.clone();
        self.change(collection, ChangeAction::Delete { id, precondition })
            .map(|_| ())
    }

    fn change(&self, collection: &CollectionName, action: ChangeAction) -> Result<ChangeOutcome, Error> {
        let collection = collection.clone();
        match self.execute(Request::Transact(vec![Change { collection, action }]))? {
            Response::Transacted(mut outcomes) => outcomes.pop().ok_or_else(Error::unexpected_answer),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Its number and slots, as long as it is there: another database of its name is not this one.
    pub(crate) fn entry(&self) -> Result<DatabaseEntry, StorageError> {
        self.engine.check_open()?;
        let found = self
            .engine
            .entry(&self.name)
            .ok()
            .filter(|entry| entry.id == self.id);
        found.ok_or_else(|| StorageError::UnknownDatabase(self.name.clone()))
    }
}

impl Connection for Database {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = Subscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        converse(first, next, |request| self.execute(request))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<Subscription, Error> {
        let id = self.entry()?.id;
        Ok(Subscription(self.engine.broker.subscribe(id, patterns?)))
    }
}

/// Receives the messages of a [`Database`], blocking.
pub struct Subscription(Arc<Inbox>);

impl Subscriber<Database> for Subscription {
    fn receive(&self) -> Result<Message, Error> {
        self.0.receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}
