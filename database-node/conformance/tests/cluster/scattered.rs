//! A way to a cluster by which each request goes to another of its nodes.

use std::pin::Pin;
use std::sync::Arc;

use pliantdb_client::{AsyncClient, AsyncRemoteDatabase, AsyncRemoteSnapshot, AsyncRemoteSubscription};
use pliantdb_core::protocol::Ask;
use pliantdb_core::{
    Answer, Connection, DatabaseName, Error, Message, Request, Response, Schema, Step, StorageConnection,
    Subscriber, TakeSnapshot, TopicPattern, converse_async,
};
use tokio::runtime::Handle;

use crate::nodes::any;

type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;

/// The clients of all nodes.
#[derive(Clone)]
pub struct Scattered(pub Arc<Vec<AsyncClient>>);

impl Scattered {
    fn any(&self) -> AsyncClient {
        self.0[any()].clone()
    }

    /// The same database, by each of the clients.
    fn by_all(&self, opened: AsyncRemoteDatabase) -> ScatteredDatabase {
        let clients = self.0.iter();
        ScatteredDatabase(clients.map(|client| opened.by(client)).collect())
    }
}

impl StorageConnection for Scattered {
    type Database = ScatteredDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Future<ScatteredDatabase> {
        let (scattered, created) = (self.clone(), self.any().create_database::<S>(name));
        Box::pin(async move { created.await.map(|created| scattered.by_all(created)) })
    }

    fn database<S: Schema>(&self, name: &str) -> Future<ScatteredDatabase> {
        let (scattered, opened) = (self.clone(), self.any().database::<S>(name));
        Box::pin(async move { opened.await.map(|opened| scattered.by_all(opened)) })
    }

    fn delete_database(&self, name: &str) -> Answer<Self, ()> {
        Box::pin(self.any().delete_database(name))
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        Box::pin(self.any().databases())
    }
}

/// A database, by each of the clients.
#[derive(Clone)]
pub struct ScatteredDatabase(Arc<[AsyncRemoteDatabase]>);

impl ScatteredDatabase {
    fn any(&self) -> AsyncRemoteDatabase {
        self.0[any()].clone()
    }
}

impl Connection for ScatteredDatabase {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = Receiving;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let scattered = self.clone();
        Box::pin(converse_async(first, next, move |request| {
            let database = scattered.any();
            async move { database.execute(request).await }
        }))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Future<Receiving> {
        let database = self.any();
        Box::pin(async move {
            Ok(Receiving {
                messages: Some(database.subscribe_to(patterns).await?),
                client: database.client().clone(),
                runtime: Handle::current(),
            })
        })
    }
}

impl TakeSnapshot for ScatteredDatabase {
    type Snapshot = AsyncRemoteSnapshot;

    fn snapshot(&self) -> Future<AsyncRemoteSnapshot> {
        Box::pin(self.any().snapshot())
    }
}

/// Receives the messages of a database by one of the nodes. When it is dropped, that node has heard of it: by the connection
/// over which the next question goes nobody could tell.
pub struct Receiving {
    messages: Option<AsyncRemoteSubscription>,
    client: AsyncClient,
    runtime: Handle,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.messages = None;
        let (client, runtime) = (self.client.clone(), self.runtime.clone());
        // Not on this thread, which may be one of the runtime.
        let asked = std::thread::spawn(move || runtime.block_on(client.ask(Ask::Databases)));
        let _ = asked.join();
    }
}

impl Subscriber<ScatteredDatabase> for Receiving {
    fn receive(&self) -> Future<Message> {
        Box::pin(self.messages.as_ref().unwrap().receive())
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.messages.as_ref().unwrap().try_receive()
    }
}
