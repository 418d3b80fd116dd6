//! One database, blocking.

use std::path::Path;
use std::sync::Arc;

use pliantdb_core::{
    Body, Change, ChangeAction, ChangeOutcome, CollectionName, Connection, DatabaseName, Document,
    DocumentId, Error, Inbox, Listing, Message, Operation, Page, Precondition, Request, RequestId, Response,
    Revision, Schema, Step, StorageConnection, Subscriber, TopicPattern, converse,
};

use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::error::StorageError;
use crate::reading::{self, Found};
use crate::storage::{Inner, Options, Storage, generate_document_id};
use crate::store::OrderedStore;

/// One database of a [`Storage`]. Every call blocks until it is done: writes, until they are on disk.
///
/// What is typed comes from [`Connection`]; the methods here take any JSON.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    name: DatabaseName,
    /// Which one of that name, if there were several over time.
    id: DatabaseId,
}

impl Database {
    pub(crate) fn new(inner: Arc<Inner>, name: DatabaseName, id: DatabaseId) -> Self {
        Self { inner, name, id }
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

    /// The storage that it is in.
    #[must_use]
    pub fn storage(&self) -> Storage {
        Storage::of(Arc::clone(&self.inner))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
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
            Request::Call { api, body } => self.inner.apis.call(self, &api, &body).map(Response::Called),
            request => self.inner.engine.execute(&self.name, request, id),
        }
    }

    /// The operation that a request to write asks for, for [`Storage::submit`].
    ///
    /// # Errors
    /// [`Error::OtherType`], [`Error::View`] and [`Error::Invalid`] when it cannot be one.
    pub fn operation(&self, request: Request) -> Result<Operation, Error> {
        self.entry()?;
        self.inner.engine.operation(&self.name, request, None)
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
        reading::get(self.inner.engine.store.as_ref(), self.entry()?, collection, id)
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
        reading::get_within(
            self.inner.engine.store.as_ref(),
            self.entry()?,
            collection,
            id,
            most,
        )
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
        let snapshot = self.inner.engine.store.snapshot();
        Ok(reading::get_all_at(
            &snapshot,
            self.entry()?,
            collection,
            ids,
            most,
        )?)
    }

    /// Reads one page of a collection, in the order of ids.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn list(&self, collection: &CollectionName, listing: &Listing) -> Result<Page, StorageError> {
        reading::list(
            &self.inner.engine.store.snapshot(),
            self.entry()?,
            collection,
            listing,
        )
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
        let found = self
            .inner
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
        Ok(Subscription(self.inner.engine.broker.subscribe(id, patterns?)))
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
