//! The one way to talk to a database, whether it is embedded or far away, blocking or not.

use std::convert::Infallible;
use std::time::Duration;

use serde::Serialize;

use crate::{
    Api, ApiName, Body, ChangesPage, Collection, DatabaseName, Documents, Error, FeedStart, InvalidName,
    KeyValue, Map, Message, Request, Response, Schema, Topic, TopicPattern, ViewQuery,
};

/// A database. Everything typed is made of [`Request`]s by the methods here, so it is there, and the same, for every
/// kind of connection.
///
/// What a method gives is the connection's [`Output`](Connection::Output): for a blocking one a `Result`, for an
/// asynchronous one a future of such a `Result`.
///
/// ```
/// # use pliantdb_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
/// # #[collection(name = "users", views = [ByCountry])]
/// # struct User { name: String, country: String }
/// # impl User {
/// #     fn new(name: &str, country: &str) -> Self { Self { name: name.to_owned(), country: country.to_owned() } }
/// # }
/// # #[derive(View)]
/// # #[view(collection = User, name = "by-country", key = String, value = u64, reduce)]
/// # struct ByCountry;
/// # impl Map for ByCountry {
/// #     fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) { emit.entry(user.country.clone(), 1); }
/// # }
/// # impl Reduce for ByCountry {
/// #     fn reduce(counts: &[u64]) -> u64 { counts.iter().sum() }
/// # }
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let database = pliantdb_storage::Database::open::<User>(directory.path())?;
/// use std::time::Duration;
///
/// let ada = database.collection::<User>().insert(User::new("Ada", "UK"))?;
/// assert_eq!(database.view::<ByCountry>().reduce()?, 1);
/// database.key_value("sessions").set("token", &ada.id)?;
///
/// let orders = database.subscribe(&["orders.*"])?;
/// database.publish("orders.created", &7)?;
/// assert_eq!(orders.receive()?.payload.read::<u32>().unwrap(), 7);
///
/// let page = database.changes(FeedStart::Oldest, 10, Duration::ZERO)?;
/// assert_eq!(page.transactions[0].revision(), ada.revision);
/// # Ok(())
/// # }
/// ```
pub trait Connection: Clone + Send + Sync + 'static {
    /// A result, now or later.
    type Output<T: Send + 'static>;
    /// What receives messages.
    type Subscriber: Subscriber<Self>;

    /// Asks `first`, then whatever `next` asks on hearing the answer, until that is done. An error instead of `first` is
    /// the result by itself.
    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Self::Output<T>;

    /// Subscribes to topics: what is published from now on is received.
    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Self::Output<Self::Subscriber>;

    /// Asks one thing, and reads the answer.
    fn ask<T: Send + 'static>(
        &self,
        request: Result<Request, Error>,
        read: impl FnOnce(Response) -> Result<T, Error> + Send + 'static,
    ) -> Self::Output<T> {
        let mut read = Some(read);
        self.converse(request, move |answer| {
            Step::Done(answer.and_then(|answer| match read.take() {
                Some(read) => read(answer),
                None => Err(Error::unexpected_answer()),
            }))
        })
    }

    /// Asks for one page after another. `read` takes what an answer holds, and gives the request for the next.
    fn collect<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        mut read: impl FnMut(Response, &mut Vec<T>) -> Result<Option<Request>, Error> + Send + 'static,
    ) -> Self::Output<Vec<T>> {
        let mut found = Vec::new();
        self.converse(first, move |answer| {
            match answer.and_then(|answer| read(answer, &mut found)) {
                Ok(Some(next)) => Step::Ask(next),
                Ok(None) => Step::Done(Ok(std::mem::take(&mut found))),
                Err(error) => Step::Done(Err(error)),
            }
        })
    }

    /// The documents of a collection.
    fn collection<T: Collection>(&self) -> Documents<'_, Self, T> {
        Documents::new(self)
    }

    /// A query of a view, at first for all of it.
    fn view<V: Map>(&self) -> ViewQuery<'_, Self, V> {
        ViewQuery::new(self)
    }

    /// The key-value store of a namespace.
    fn key_value(&self, namespace: &str) -> KeyValue<'_, Self> {
        KeyValue::new(self, namespace)
    }

    /// Sends a message to all who subscribe to its topic at the moment; gives how many they are.
    fn publish<T: Serialize>(&self, topic: &str, payload: &T) -> Self::Output<u64> {
        let request = (|| {
            let topic: Topic = topic.parse().map_err(Error::invalid)?;
            let payload = Body::of(payload).map_err(Error::invalid)?;
            Ok(Request::Publish(Message { topic, payload }))
        })();
        self.ask(request, |answer| match answer {
            Response::Count(receivers) => Ok(receivers),
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// Subscribes to topics, such as `orders.created`, `orders.*` or `orders.**`: what is published from now on is
    /// received.
    fn subscribe(&self, patterns: &[&str]) -> Self::Output<Self::Subscriber> {
        let patterns = patterns.iter().map(|pattern| pattern.parse());
        self.subscribe_to(patterns.collect::<Result<_, _>>().map_err(Error::invalid))
    }

    /// Reads what was changed: at most `limit` transactions, waiting up to `wait` for the first.
    fn changes(&self, from: FeedStart, limit: usize, wait: Duration) -> Self::Output<ChangesPage> {
        let request = Request::Changes { from, limit, wait };
        self.ask(Ok(request), |answer| match answer {
            Response::Changes(page) => Ok(page),
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// Calls a custom API. The inner result is what its handler said.
    fn call<A: Api>(&self, request: &A) -> Self::Output<Result<A::Response, A::Error>> {
        let request = (|| {
            let api: ApiName = A::NAME.parse().map_err(Error::invalid)?;
            let body = Body::of(request).map_err(Error::invalid)?;
            Ok(Request::Call { api, body })
        })();
        self.ask(request, |answer| match answer {
            Response::Called(Ok(body)) => body.read().map(Ok).map_err(Error::invalid),
            Response::Called(Err(body)) => body.read().map(Err).map_err(Error::invalid),
            _ => Err(Error::unexpected_answer()),
        })
    }
}

/// What to do on hearing an answer.
pub enum Step<T> {
    /// Ask this.
    Ask(Request),
    /// Stop; this is the result.
    Done(Result<T, Error>),
}

/// How a blocking connection converses ([`Connection::converse`]): `ask` asks one thing.
///
/// # Errors
/// What `first` or the conversation comes to.
pub fn converse<T>(
    first: Result<Request, Error>,
    mut next: impl FnMut(Result<Response, Error>) -> Step<T>,
    mut ask: impl FnMut(Request) -> Result<Response, Error>,
) -> Result<T, Error> {
    let mut request = first?;
    loop {
        match next(ask(request)) {
            Step::Ask(again) => request = again,
            Step::Done(result) => return result,
        }
    }
}

/// As [`converse`], for an asynchronous connection.
///
/// # Errors
/// What `first` or the conversation comes to.
pub async fn converse_async<T, F: Future<Output = Result<Response, Error>>>(
    first: Result<Request, Error>,
    mut next: impl FnMut(Result<Response, Error>) -> Step<T>,
    mut ask: impl FnMut(Request) -> F,
) -> Result<T, Error> {
    let mut request = first?;
    loop {
        match next(ask(request).await) {
            Step::Ask(again) => request = again,
            Step::Done(result) => return result,
        }
    }
}

/// Receives messages.
pub trait Subscriber<C: Connection>: Send + 'static {
    /// The next message. [`Error::Lagged`] once when some had to be dropped, [`Error::Closed`] when the database was
    /// closed.
    fn receive(&self) -> C::Output<Message>;

    /// The next message, if one has come already.
    ///
    /// # Errors
    /// As [`Subscriber::receive`].
    fn try_receive(&self) -> Result<Option<Message>, Error>;
}

/// No messages: for connections that cannot be subscribed to.
impl<C: Connection> Subscriber<C> for Infallible {
    fn receive(&self) -> C::Output<Message> {
        match *self {}
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        match *self {}
    }
}

/// A database that can be read as it was at one moment.
///
/// ```
/// # use pliantdb_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
/// # #[collection(name = "users")]
/// # struct User { name: String }
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let database = pliantdb_storage::Database::open::<User>(directory.path())?;
/// let user = |name: &str| User { name: name.to_owned() };
/// database.collection::<User>().insert(user("Ada"))?;
/// let before = database.snapshot()?;
/// database.collection::<User>().insert(user("Alan"))?;
/// assert_eq!(before.collection::<User>().list().count()?, 1);
/// assert!(before.collection::<User>().insert(user("Kurt")).is_err());
/// # Ok(())
/// # }
/// ```
pub trait TakeSnapshot: Connection {
    /// What reads that moment: everything that reads works as with the database, and what would change something is
    /// [`Error::ReadOnlySnapshot`].
    type Snapshot: Connection;

    /// The database as it is now, across all its collections, views and keys. What it shows stays on the disk until it is
    /// dropped, so drop it soon.
    fn snapshot(&self) -> Self::Output<Self::Snapshot>;
}

/// A storage of many databases.
pub trait StorageConnection: Clone + Send + Sync + 'static {
    /// One of its databases.
    type Database: Connection;

    /// Creates a database with a schema.
    fn create_database<S: Schema>(&self, name: &str) -> Answer<Self, Self::Database>;

    /// A database, which is given the schema if it has none yet, or an earlier version of it.
    fn database<S: Schema>(&self, name: &str) -> Answer<Self, Self::Database>;

    /// Deletes a database with everything in it.
    fn delete_database(&self, name: &str) -> Answer<Self, ()>;

    /// The names of all databases, in order.
    fn databases(&self) -> Answer<Self, Vec<DatabaseName>>;
}

/// What a [`StorageConnection`] gives.
pub type Answer<S, T> = <<S as StorageConnection>::Database as Connection>::Output<T>;

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error)
    }
}
