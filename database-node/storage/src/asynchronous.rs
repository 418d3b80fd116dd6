//! The embedded storage for asynchronous programs: the same, and no call blocks the thread.
//!
//! A read that is answered from memory is answered at once; what has to wait for the disk does so on a thread that tokio
//! keeps for such things. Writes wait for the group commit without a thread, feeds for changes, and whatever needs a view
//! that is being built, for that. A future that is dropped waits no longer.

use std::ops::ControlFlow;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use pliantdb_core::{
    CollectionName, Connection, DatabaseName, Document, DocumentId, Error, FeedStart, Inbox, Message,
    Request, RequestId, Response, Schema, Step, StorageConnection, Subscriber, TopicPattern, converse_async,
};
use tokio::sync::oneshot;

use crate::database::Database;
use crate::engine::answer;
use crate::error::StorageError;
use crate::reading::{self, Found};
use crate::retry::{LOOK_AGAIN, Retry};
use crate::storage::{Options, Storage};

/// What asynchronous calls give.
pub(crate) type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;

/// A [`Storage`] for asynchronous programs. It must be used within a tokio runtime.
#[derive(Clone)]
pub struct AsyncStorage(Storage);

impl AsyncStorage {
    /// As [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Options::default()).await
    }

    /// As [`Storage::open_with`].
    ///
    /// # Errors
    /// As [`Storage::open_with`].
    pub async fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        blocking(move || Ok(Self(Storage::open_with(path, options)?))).await
    }

    /// The same storage, blocking.
    #[must_use]
    pub fn blocking(&self) -> &Storage {
        &self.0
    }

    /// The database of that name, as [`Storage::get`].
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`].
    pub fn get(&self, name: &DatabaseName) -> Result<AsyncDatabase, Error> {
        Ok(AsyncDatabase(self.0.get(name)?))
    }

    /// Does something with the blocking storage, on a thread that may wait for the disk.
    pub fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Storage) -> Result<T, Error> + Send + 'static,
    ) -> Future<T> {
        let storage = self.0.clone();
        Box::pin(blocking(move || run(&storage)))
    }
}

impl From<Storage> for AsyncStorage {
    fn from(storage: Storage) -> Self {
        Self(storage)
    }
}

impl StorageConnection for AsyncStorage {
    type Database = AsyncDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Future<AsyncDatabase> {
        let name = name.to_owned();
        self.run(move |storage| storage.create_database::<S>(&name).map(AsyncDatabase))
    }

    fn database<S: Schema>(&self, name: &str) -> Future<AsyncDatabase> {
        let name = name.to_owned();
        self.run(move |storage| storage.database::<S>(&name).map(AsyncDatabase))
    }

    fn delete_database(&self, name: &str) -> Future<()> {
        let name = name.to_owned();
        self.run(move |storage| storage.delete_database(&name))
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        self.run(|storage| storage.databases())
    }
}

/// A [`Database`] for asynchronous programs. It must be used within a tokio runtime.
#[derive(Clone)]
pub struct AsyncDatabase(Database);

impl AsyncDatabase {
    /// As [`Database::open`].
    ///
    /// # Errors
    /// As [`Database::open`].
    pub async fn open<S: Schema>(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with::<S>(path, Options::default()).await
    }

    /// As [`Database::open_with`].
    ///
    /// # Errors
    /// As [`Database::open_with`].
    pub async fn open_with<S: Schema>(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        blocking(move || Database::open_with::<S>(path, options).map(Self)).await
    }

    /// The same database, blocking.
    #[must_use]
    pub fn blocking(&self) -> &Database {
        &self.0
    }

    /// As [`Database::number`].
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.number()
    }

    /// Does something with the blocking database, on a thread that may wait: as giving it a schema.
    pub fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Future<T> {
        let database = self.0.clone();
        Box::pin(blocking(move || run(&database)))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        self.answer(request, None).await
    }

    /// Answers a request, which writes once however often it is given with this id: as [`Database::execute_once`].
    ///
    /// # Errors
    /// As [`Database::execute_once`].
    pub async fn execute_once(&self, id: RequestId, request: Request) -> Result<Response, Error> {
        self.answer(request, Some(id)).await
    }

    /// As [`Database::get_within`].
    ///
    /// # Errors
    /// As [`Database::get_within`].
    pub async fn get_within(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        most: usize,
    ) -> Result<Found, Error> {
        let (entry, store) = (self.0.entry()?, self.0.engine.store.as_ref());
        let cached = || reading::get_within_cached(store, entry, collection, id, most);
        if let Some(found) = self.0.engine.read(cached)? {
            return Ok(found);
        }
        let (database, collection, id) = (self.0.clone(), collection.clone(), id.clone());
        blocking(move || Ok(database.get_within(&collection, &id, most)?)).await
    }

    /// As [`Database::get_multiple_within`].
    ///
    /// # Errors
    /// As [`Database::get_multiple_within`].
    pub async fn get_multiple_within(
        &self,
        collection: CollectionName,
        ids: Vec<DocumentId>,
        most: usize,
    ) -> Result<Option<Vec<Document>>, Error> {
        let database = self.0.clone();
        blocking(move || Ok(database.get_multiple_within(&collection, &ids, most)?)).await
    }

    async fn answer(&self, request: Request, id: Option<RequestId>) -> Result<Response, Error> {
        let engine = &self.0.engine;
        let entry = self.0.entry()?;
        match request {
            Request::Get { collection, ids } => {
                if let [id] = ids.as_slice()
                    && let Some(found) = engine.get_cached(entry, &collection, id)?
                {
                    return Ok(Response::Documents(found.into_iter().collect()));
                }
                self.wait_for(Request::Get { collection, ids }).await
            }
            Request::GetKey { namespace, key } => {
                if let Some(value) = engine.get_key_cached(entry, &namespace, &key)? {
                    return Ok(Response::Value(value));
                }
                self.wait_for(Request::GetKey { namespace, key }).await
            }
            Request::Transact(_) | Request::ChangeKey { .. } => self.write(request, id).await,
            Request::Publish(message) => Ok(Response::Count(engine.publish(self.0.name(), &message)?)),
            Request::Changes { from, limit, wait } => {
                let read = |from: FeedStart| {
                    let database = self.0.clone();
                    blocking(move || database.engine.changes(database.name(), &from, limit))
                };
                let start = Instant::now();
                let mut from = from;
                let mut watch = engine.progress.watch(self.0.name());
                loop {
                    let page = read(from).await?;
                    let left = wait.saturating_sub(start.elapsed());
                    // What was applied may have changed no document.
                    if !page.transactions.is_empty() || !watch.wait_async(left).await {
                        engine.check_open()?;
                        return Ok(Response::Changes(page));
                    }
                    from = FeedStart::After(page.next);
                }
            }
            Request::Query { .. }
            | Request::Reduce(_)
            | Request::ReduceGrouped(_)
            | Request::DeleteMatching(_) => {
                if let Request::Query {
                    query,
                    with_documents: false,
                } = &request
                    && let Some(rows) = engine.query_cached(self.0.name(), query)
                {
                    return Ok(Response::Rows(rows));
                }
                let request = Arc::new(request);
                // It waits for the disk on a thread, and for a view that is being built without one.
                let answer = || {
                    let (database, request) = (self.0.clone(), Arc::clone(&request));
                    blocking(move || database.engine.answer(database.name(), &request))
                };
                self.when_built(answer).await
            }
            request => self.wait_for(request).await,
        }
    }

    /// Makes an attempt, again and again while a view is being built.
    async fn when_built<T, F: std::future::Future<Output = Result<T, Error>> + Send>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let mut retry = Retry::new(&self.0.engine.progress, self.0.name());
        loop {
            match retry.after(attempt().await) {
                ControlFlow::Break(done) => return done,
                ControlFlow::Continue(None) => {}
                ControlFlow::Continue(Some(watch)) => {
                    watch.wait_async(LOOK_AGAIN).await;
                }
            }
        }
    }

    /// Has a request answered by a thread that may wait for the disk.
    async fn wait_for(&self, request: Request) -> Result<Response, Error> {
        let database = self.0.clone();
        blocking(move || database.execute(request)).await
    }

    async fn write(&self, request: Request, id: Option<RequestId>) -> Result<Response, Error> {
        // Kept only where entries of views can turn out to be outdated, for bodies can be large.
        if !self.0.engine.has_eager_views(self.0.name())? {
            return self.try_to_write(request, id).await;
        }
        self.when_built(|| async {
            // It may have been deleted meanwhile, and another have its name.
            self.0.entry()?;
            self.try_to_write(request.clone(), id).await
        })
        .await
    }

    async fn try_to_write(&self, request: Request, id: Option<RequestId>) -> Result<Response, Error> {
        let engine = &self.0.engine;
        let operation = engine.operation(self.0.name(), request, id)?;
        let (done, outcome) = oneshot::channel();
        let done = Box::new(move |result| {
            // Fails only if the caller is gone.
            let _ = done.send(result);
        });
        if let Err((operation, done)) = engine.try_submit(operation, done)? {
            // The queue is full: a thread waits for room in it.
            let database = self.0.clone();
            blocking(move || Ok(database.engine.submit(operation, done)?)).await?;
        }
        answer(outcome.await.unwrap_or(Err(StorageError::Closed)))
    }
}

impl From<Database> for AsyncDatabase {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl Connection for AsyncDatabase {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = AsyncSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let database = self.clone();
        Box::pin(converse_async(first, next, move |request| {
            let database = database.clone();
            async move { database.execute(request).await }
        }))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Future<AsyncSubscription> {
        let database = self.0.clone();
        Box::pin(async move {
            let id = database.entry()?.id;
            Ok(AsyncSubscription(database.engine.broker.subscribe(id, patterns?)))
        })
    }
}

/// Receives the messages of an [`AsyncDatabase`].
pub struct AsyncSubscription(Arc<Inbox>);

impl AsyncSubscription {
    /// Ends it, also for those who wait for a message: from now on it counts as no receiver.
    pub fn end(&self) {
        self.0.close();
    }
}

impl Subscriber<AsyncDatabase> for AsyncSubscription {
    fn receive(&self) -> Future<Message> {
        let inbox = Arc::clone(&self.0);
        Box::pin(async move { inbox.receive_async().await })
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}

/// Runs what may wait for the disk on a thread that is kept for that.
pub(crate) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => Err(Error::Storage(format!("the request was not finished: {error}"))),
    }
}
