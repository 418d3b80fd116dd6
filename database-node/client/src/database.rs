//! A database of a server.

use std::sync::{Arc, Mutex, PoisonError};

use pliantdb_core::protocol::{Ask, DatabaseHandle, Reply};
use pliantdb_core::{
    Connection, Consistency, DatabaseName, Error, Inbox, Message, Position, Request, Response, Step,
    Subscriber, TakeSnapshot, TopicPattern, converse_async,
};
use std::convert::Infallible;

use crate::Future;
use crate::client::{AsyncClient, Shared};
use crate::session::Session;

/// A database of a server. Everything typed comes from [`Connection`].
#[derive(Clone)]
pub struct AsyncRemoteDatabase {
    client: AsyncClient,
    handle: DatabaseHandle,
    consistency: Consistency,
    told: Arc<Told>,
}

/// The latest position that an answer had.
#[derive(Default)]
struct Told(Mutex<Option<Position>>);

impl Told {
    fn note(&self, position: Option<Position>) {
        let Some(position) = position else { return };
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let life = |of: &Position| (of.group, of.incarnation);
        // Answers may overtake each other.
        let is_older = |latest: &Position| {
            life(latest) == life(&position) && (latest.term, latest.index) > (position.term, position.index)
        };
        if !latest.as_ref().is_some_and(is_older) {
            *latest = Some(position);
        }
    }

    fn latest(&self) -> Option<Position> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRemoteDatabase {
    pub(crate) fn new(client: AsyncClient, handle: DatabaseHandle) -> Self {
        Self {
            client,
            handle,
            consistency: Consistency::default(),
            told: Arc::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DatabaseName {
        &self.handle.name
    }

    /// The server that it is on.
    #[must_use]
    pub fn client(&self) -> &AsyncClient {
        &self.client
    }

    /// The same database by another client: of another node of its cluster, say.
    #[must_use]
    pub fn by(&self, client: &AsyncClient) -> Self {
        let database = Self::new(client.clone(), self.handle.clone());
        database.with_consistency(self.consistency)
    }

    /// The same database, of which what is read by this handle is as fresh as that. It shares the [`Self::position`].
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self {
            consistency,
            ..self.clone()
        }
    }

    /// How far the database had come by the answers to this handle and its clones: whoever reads with
    /// [`Consistency::AtLeast`] this, by any node and in any program, sees what they told of. `None` before the first answer,
    /// and from a server alone, whose reads always see everything.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.told.latest()
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let database = self.handle.clone();
        let ask = Ask::Request { database, request };
        let answered = self.client.shared().ask(ask, self.consistency).await?;
        self.told.note(answered.position);
        response(answered.result?)
    }
}

fn response(reply: Reply) -> Result<Response, Error> {
    match reply {
        Reply::Response(response) => Ok(response),
        _ => Err(Error::unexpected_answer()),
    }
}

impl Connection for AsyncRemoteDatabase {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = AsyncRemoteSubscription;

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

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Future<AsyncRemoteSubscription> {
        let database = self.clone();
        Box::pin(async move {
            let client = Arc::clone(database.client.shared());
            let (key, inbox) = client.subscribe(database.handle, patterns?).await?;
            Ok(AsyncRemoteSubscription { client, key, inbox })
        })
    }
}

/// Receives the messages of an [`AsyncRemoteDatabase`]. When its connection was lost, it goes on over the next one and is
/// told so by [`Error::Lagged`]: at least that many messages may have been missed.
pub struct AsyncRemoteSubscription {
    client: Arc<Shared>,
    key: u64,
    inbox: Arc<Inbox>,
}

impl AsyncRemoteSubscription {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }
}

impl Drop for AsyncRemoteSubscription {
    fn drop(&mut self) {
        self.client.unsubscribe(self.key);
    }
}

impl Subscriber<AsyncRemoteDatabase> for AsyncRemoteSubscription {
    fn receive(&self) -> Future<Message> {
        let inbox = Arc::clone(&self.inbox);
        Box::pin(async move { inbox.receive_async().await })
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.inbox.try_receive()
    }
}

impl TakeSnapshot for AsyncRemoteDatabase {
    type Snapshot = AsyncRemoteSnapshot;

    fn snapshot(&self) -> Future<AsyncRemoteSnapshot> {
        let database = self.clone();
        Box::pin(async move {
            let shared = database.client.shared();
            let session = shared.session().await?;
            let number = session.number();
            let ask = Ask::Snapshot {
                database: database.handle.clone(),
            };
            let answered = shared
                .within(async {
                    let asked = session.ask(number, None, None, database.consistency, ask).await;
                    asked.map_err(|_| lost())
                })
                .await?;
            database.told.note(answered.position);
            answered.result?;
            Ok(AsyncRemoteSnapshot(Arc::new(Taken {
                session,
                number,
                client: database.client,
            })))
        })
    }
}

fn lost() -> Error {
    Error::Disconnected("the reading from the snapshot, which is gone with its connection,".to_owned())
}

/// An [`AsyncRemoteDatabase`] as it was at one moment. It ends with the connection over which it was taken: take another
/// one then. Clones share it.
#[derive(Clone)]
pub struct AsyncRemoteSnapshot(Arc<Taken>);

struct Taken {
    session: Arc<Session>,
    number: u64,
    /// Keeps the connection.
    client: AsyncClient,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.session.stop(self.number);
    }
}

impl AsyncRemoteSnapshot {
    /// Answers a request to read.
    ///
    /// # Errors
    /// [`Error::ReadOnlySnapshot`] for any other request, [`Error::Disconnected`] when its connection is lost, and whatever
    /// reading comes to.
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let Taken {
            session,
            number,
            client,
        } = self.0.as_ref();
        let ask = Ask::RequestAt {
            snapshot: *number,
            request,
        };
        let asking = async {
            let any = Consistency::default();
            match session.ask(session.number(), None, None, any, ask).await {
                Ok(answer) => response(answer.result?),
                Err(_) => Err(lost()),
            }
        };
        client.shared().within(asking).await
    }
}

impl Connection for AsyncRemoteSnapshot {
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
        Box::pin(async { Err(Error::ReadOnlySnapshot("subscribing to messages".to_owned())) })
    }
}
