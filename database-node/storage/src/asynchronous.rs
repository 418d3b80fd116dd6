//! The embedded storage for asynchronous programs: the same, and no call blocks the thread.
//!
//! A read that is answered from memory is answered at once; what has to wait for the disk does so on a thread that tokio
//! keeps for such things. Writes wait for the group commit without a thread.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use pliantdb_core::{
    Connection, DatabaseName, Error, FeedStart, Message, Request, Response, Schema, Step, StorageConnection,
    Subscriber, TopicPattern,
};
use tokio::sync::oneshot;

use crate::broker::Inbox;
use crate::database::Database;
use crate::engine::answer;
use crate::error::StorageError;
use crate::storage::{Options, Storage};

/// What asynchronous calls give.
type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;

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

    fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Storage) -> Result<T, Error> + Send + 'static,
    ) -> Future<T> {
        let storage = self.0.clone();
        Box::pin(blocking(move || run(&storage)))
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

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let engine = &self.0.inner().engine;
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
            Request::Transact(_) | Request::ChangeKey { .. } => self.write(request).await,
            Request::Publish(message) => Ok(Response::Count(engine.publish(self.0.name(), &message)?)),
            Request::Changes { from, limit, wait } => {
                let read = |from: FeedStart| {
                    let database = self.0.clone();
                    blocking(move || database.inner().engine.changes(database.name(), &from, limit))
                };
                let start = Instant::now();
                let mut from = from;
                loop {
                    let (page, now) = read(from).await?;
                    let left = wait.saturating_sub(start.elapsed());
                    // What was applied may have changed no document.
                    if !page.transactions.is_empty() || !engine.progress.wait_async(now, left).await {
                        return Ok(Response::Changes(page));
                    }
                    from = FeedStart::After(page.next);
                }
            }
            request => self.wait_for(request).await,
        }
    }

    /// Has a request answered by a thread that may wait for the disk.
    async fn wait_for(&self, request: Request) -> Result<Response, Error> {
        let database = self.0.clone();
        blocking(move || database.execute(request)).await
    }

    async fn write(&self, request: Request) -> Result<Response, Error> {
        let engine = &self.0.inner().engine;
        let again = engine.has_eager_views(self.0.name())?.then(|| request.clone());
        let operation = engine.operation(self.0.name(), request)?;
        let (done, outcome) = oneshot::channel();
        let done = Box::new(move |result| {
            // Fails only if the caller is gone.
            let _ = done.send(result);
        });
        if let Err((operation, done)) = engine.writer.try_submit(operation, done)? {
            // The queue is full: a thread waits for room in it.
            let database = self.0.clone();
            blocking(move || Ok(database.inner().engine.writer.queue(operation, done)?)).await?;
        }
        match (outcome.await.unwrap_or(Err(StorageError::Closed)), again) {
            // Waiting for a view may take long: a thread does.
            (Err(StorageError::Rejected(rejection)), Some(again)) => {
                let database = self.0.clone();
                blocking(move || {
                    database
                        .inner()
                        .engine
                        .try_again(database.name(), rejection, again)
                })
                .await
            }
            (outcome, _) => answer(outcome),
        }
    }
}

impl Connection for AsyncDatabase {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = AsyncSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        mut next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let database = self.clone();
        Box::pin(async move {
            let mut request = first?;
            loop {
                match next(database.execute(request).await) {
                    Step::Ask(again) => request = again,
                    Step::Done(result) => return result,
                }
            }
        })
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Future<AsyncSubscription> {
        let database = self.0.clone();
        Box::pin(async move {
            let engine = &database.inner().engine;
            let id = database.entry()?.id;
            Ok(AsyncSubscription(engine.broker.subscribe(id, patterns?)))
        })
    }
}

/// Receives the messages of an [`AsyncDatabase`].
pub struct AsyncSubscription(Arc<Inbox>);

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
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => Err(Error::Storage(format!("the request was not finished: {error}"))),
    }
}
