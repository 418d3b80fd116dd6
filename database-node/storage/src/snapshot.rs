//! Databases as they were at one moment.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pliantdb_core::{
    CollectionName, Connection, Document, DocumentId, Error, Request, Response, Step, TakeSnapshot,
    TopicPattern, converse, converse_async,
};
use self_cell::self_cell;

use crate::asynchronous::{AsyncDatabase, Future, blocking};
use crate::database::Database;
use crate::moment::Moment;
use crate::storage::StateStore;
use crate::store::OrderedStore;

/// How long views that are being built are waited for: those of a database that was just opened soon are.
const BUILDS: Duration = Duration::from_secs(1);

type StoreSnapshot<'a> = <StateStore as OrderedStore>::Snapshot<'a>;

self_cell!(
    /// A snapshot of a database's store, which stays open as long as it is there.
    struct Held {
        owner: Database,
        #[not_covariant]
        dependent: StoreSnapshot,
    }
);

/// A [`Database`] as it was at one moment, across all its collections: [`TakeSnapshot::snapshot`]. Clones share it.
///
/// It is a [`Connection`] as the database is: documents, views, keys and changes are read through it as they were, whatever
/// is written, deleted or defined meanwhile, also when the database itself is deleted. Keys that had not expired do not
/// expire in it. It changes nothing: what would is [`Error::ReadOnlySnapshot`]. Reading changes does not wait for any, and
/// `FeedStart::Now` gives a cursor that goes on, in the database, from this moment.
///
/// Taking one brings lazy views up to date, as queries of them would. A view that is being built is waited for, up to a
/// second; one that takes longer is an error when it is queried, and the error says so. As long as a snapshot is open, what
/// was written over or deleted since stays on the disk, and the storage stays open: drop it soon. One of a replica can be read
/// when the replica is gone.
#[derive(Clone)]
pub struct DatabaseSnapshot(Arc<Shared>);

struct Shared {
    moment: Moment,
    held: Held,
}

impl DatabaseSnapshot {
    fn take(database: &Database) -> Result<Self, Error> {
        let (engine, name, id) = (&database.engine, database.name(), database.entry()?.id);
        // So that little is left to be made in memory.
        engine.update_lazy_views(name, &engine.state(name)?);
        let (held, noted) = engine.take_snapshot(id, || {
            Held::new(database.clone(), |database| database.engine.store.snapshot())
        })?;
        let moment = held.with_dependent(|_, snapshot| Moment::of(snapshot, name, id, noted))?;
        Ok(Self(Arc::new(Shared { moment, held })))
    }

    /// Answers a request to read.
    ///
    /// # Errors
    /// [`Error::ReadOnlySnapshot`] for any other request, and whatever reading comes to.
    pub fn execute(&self, request: &Request) -> Result<Response, Error> {
        let Shared { moment, held } = self.0.as_ref();
        held.with_dependent(|_, snapshot| moment.answer(snapshot, request))
    }
}

fn no_subscription<T>() -> Result<T, Error> {
    Err(Error::ReadOnlySnapshot("subscribing to messages".to_owned()))
}

impl TakeSnapshot for Database {
    type Snapshot = DatabaseSnapshot;

    fn snapshot(&self) -> Result<DatabaseSnapshot, Error> {
        self.entry()?;
        let engine = &self.engine;
        let (mut watch, start) = (engine.progress.watch(self.name()), Instant::now());
        while engine.builds_views(self.name())? && watch.wait(BUILDS.saturating_sub(start.elapsed())) {}
        DatabaseSnapshot::take(self)
    }
}

impl Connection for DatabaseSnapshot {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = Infallible;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        converse(first, next, |request| self.execute(&request))
    }

    fn subscribe_to(&self, _: Result<Vec<TopicPattern>, Error>) -> Result<Infallible, Error> {
        no_subscription()
    }
}

/// A [`DatabaseSnapshot`] for asynchronous programs. It must be used within a tokio runtime.
#[derive(Clone)]
pub struct AsyncDatabaseSnapshot(DatabaseSnapshot);

impl AsyncDatabaseSnapshot {
    /// The same snapshot, blocking.
    #[must_use]
    pub fn blocking(&self) -> &DatabaseSnapshot {
        &self.0
    }

    /// Answers a request to read.
    ///
    /// # Errors
    /// As [`DatabaseSnapshot::execute`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let snapshot = self.0.clone();
        blocking(move || snapshot.execute(&request)).await
    }

    /// As [`Database::get_multiple_within`].
    ///
    /// # Errors
    /// As [`DatabaseSnapshot::execute`].
    pub async fn get_multiple_within(
        &self,
        collection: CollectionName,
        ids: Vec<DocumentId>,
        most: usize,
    ) -> Result<Option<Vec<Document>>, Error> {
        let snapshot = self.0.clone();
        blocking(move || {
            let Shared { moment, held } = snapshot.0.as_ref();
            held.with_dependent(|_, snapshot| moment.get_all(snapshot, &collection, &ids, most))
        })
        .await
    }
}

impl TakeSnapshot for AsyncDatabase {
    type Snapshot = AsyncDatabaseSnapshot;

    fn snapshot(&self) -> Future<AsyncDatabaseSnapshot> {
        let database = self.blocking().clone();
        Box::pin(async move {
            database.entry()?;
            let engine = &database.engine;
            let (mut watch, start) = (engine.progress.watch(database.name()), Instant::now());
            while engine.builds_views(database.name())?
                && watch.wait_async(BUILDS.saturating_sub(start.elapsed())).await
            {}
            blocking(move || DatabaseSnapshot::take(&database).map(AsyncDatabaseSnapshot)).await
        })
    }
}

impl Connection for AsyncDatabaseSnapshot {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = Infallible;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let snapshot = self.clone();
        Box::pin(converse_async(first, next, move |request| {
            let snapshot = snapshot.clone();
            async move { snapshot.execute(request).await }
        }))
    }

    fn subscribe_to(&self, _: Result<Vec<TopicPattern>, Error>) -> Future<Infallible> {
        Box::pin(async { no_subscription() })
    }
}
