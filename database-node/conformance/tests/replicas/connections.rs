//! Ways to the databases of a node, blocking and not. A client names a database and its number each time: the one that had
//! the name before is another one.

use std::pin::Pin;

use pliantdb_core::{
    Answer, Connection, DatabaseName, Error, Message, Request, Response, Schema, Step, StorageConnection,
    Subscriber, TakeSnapshot, TopicPattern, converse, converse_async,
};
use pliantdb_storage::{
    AsyncDatabase, AsyncDatabaseSnapshot, AsyncSubscription, Database, DatabaseSnapshot, Subscription,
};

use crate::storage::Replicas;

type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;

/// A database, as a client means it.
#[derive(Clone)]
pub struct Named {
    replicas: Replicas,
    name: DatabaseName,
    number: u32,
}

impl Named {
    fn of(replicas: &Replicas, database: &Database) -> Self {
        Self {
            replicas: replicas.clone(),
            name: database.name().clone(),
            number: database.number(),
        }
    }

    fn find(&self) -> Result<Database, Error> {
        let found = self.replicas.find(&self.name)?;
        match found.number() == self.number {
            true => Ok(found),
            false => Err(Error::UnknownDatabase(self.name.clone())),
        }
    }
}

impl StorageConnection for Replicas {
    type Database = Named;

    fn create_database<S: Schema>(&self, name: &str) -> Result<Named, Error> {
        self.create::<S>(name).map(|database| Named::of(self, &database))
    }

    fn database<S: Schema>(&self, name: &str) -> Result<Named, Error> {
        self.open_database::<S>(name)
            .map(|database| Named::of(self, &database))
    }

    fn delete_database(&self, name: &str) -> Result<(), Error> {
        self.delete(name)
    }

    fn databases(&self) -> Result<Vec<DatabaseName>, Error> {
        Ok(self.names())
    }
}

impl Connection for Named {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = Receiving<Subscription>;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        converse(first, next, |request| self.find()?.execute(request))
    }

    fn subscribe_to(
        &self,
        patterns: Result<Vec<TopicPattern>, Error>,
    ) -> Result<Receiving<Subscription>, Error> {
        self.find()?.subscribe_to(patterns).map(Receiving)
    }
}

impl TakeSnapshot for Named {
    type Snapshot = DatabaseSnapshot;

    fn snapshot(&self) -> Result<DatabaseSnapshot, Error> {
        self.find()?.snapshot()
    }
}

/// Receives the messages of a database.
pub struct Receiving<S>(S);

impl Subscriber<Named> for Receiving<Subscription> {
    fn receive(&self) -> Result<Message, Error> {
        self.0.receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}

/// [`Replicas`] for asynchronous programs.
#[derive(Clone)]
pub struct AsyncReplicas(pub Replicas);

impl AsyncReplicas {
    fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Replicas) -> Result<T, Error> + Send + 'static,
    ) -> Future<T> {
        let replicas = self.0.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || run(&replicas)).await.unwrap() })
    }
}

impl StorageConnection for AsyncReplicas {
    type Database = AsyncNamed;

    fn create_database<S: Schema>(&self, name: &str) -> Future<AsyncNamed> {
        let name = name.to_owned();
        self.run(move |replicas| replicas.create_database::<S>(&name).map(AsyncNamed))
    }

    fn database<S: Schema>(&self, name: &str) -> Future<AsyncNamed> {
        let name = name.to_owned();
        self.run(move |replicas| replicas.database::<S>(&name).map(AsyncNamed))
    }

    fn delete_database(&self, name: &str) -> Answer<Self, ()> {
        let name = name.to_owned();
        self.run(move |replicas| replicas.delete(&name))
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        self.run(|replicas| Ok(replicas.names()))
    }
}

/// [`Named`] for asynchronous programs.
#[derive(Clone)]
pub struct AsyncNamed(Named);

impl AsyncNamed {
    fn find(&self) -> Result<AsyncDatabase, Error> {
        self.0.find().map(AsyncDatabase::from)
    }
}

impl Connection for AsyncNamed {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = Receiving<AsyncSubscription>;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let named = self.clone();
        Box::pin(converse_async(first, next, move |request| {
            let found = named.find();
            async move { found?.execute(request).await }
        }))
    }

    fn subscribe_to(
        &self,
        patterns: Result<Vec<TopicPattern>, Error>,
    ) -> Future<Receiving<AsyncSubscription>> {
        let found = self.find();
        Box::pin(async move { found?.subscribe_to(patterns).await.map(Receiving) })
    }
}

impl TakeSnapshot for AsyncNamed {
    type Snapshot = AsyncDatabaseSnapshot;

    fn snapshot(&self) -> Future<AsyncDatabaseSnapshot> {
        let found = self.find();
        Box::pin(async move { found?.snapshot().await })
    }
}

impl Subscriber<AsyncNamed> for Receiving<AsyncSubscription> {
    fn receive(&self) -> Future<Message> {
        self.0.receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}
