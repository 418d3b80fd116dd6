//! A database of a server.

use std::sync::Arc;

use pliantdb_core::protocol::{Ask, DatabaseHandle, Reply};
use pliantdb_core::{
    Connection, DatabaseName, Error, Inbox, Message, Request, Response, Step, Subscriber, TakeSnapshot,
    TopicPattern, converse_async,
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
}

impl AsyncRemoteDatabase {
    pub(crate) fn new(client: AsyncClient, handle: DatabaseHandle) -> Self {
        Self { client, handle }
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
        Self::new(client.clone(), self.handle.clone())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let database = self.handle.clone();
        response(self.client.ask(Ask::Request { database, request }).await?)
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
            shared
                .within(async {
                    match session.ask(number, None, None, ask).await {
                        Ok(answer) => answer,
                        Err(_) => Err(lost()),
                    }
                })
                .await?;
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
            match session.ask(session.number(), None, None, ask).await {
                Ok(answer) => response(answer?),
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
