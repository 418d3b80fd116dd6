//! The databases of a server for the program that it is part of: as clients have them, without a connection.

use std::pin::Pin;
use std::sync::Arc;

use pliantdb_core::protocol::{DatabaseHandle, SchemaOffer};
use pliantdb_core::{
    Connection, Consistency, DatabaseName, Error, Message, Request, Response, Schema, Schematic, Step,
    StorageConnection, Subscriber, TakeSnapshot, TopicPattern, converse_async,
};

use crate::databases::{Databases, HeldSnapshot, Messages};
use crate::dispatch::Terms;

type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;

/// The databases of a server, for the program that it is part of. Nobody is asked who they are; whichever node of a cluster
/// this is, it answers as all others do.
#[derive(Clone)]
pub struct Local(pub(crate) Databases);

/// One of them.
#[derive(Clone)]
pub struct LocalDatabase {
    databases: Databases,
    handle: DatabaseHandle,
    consistency: Consistency,
}

impl Local {
    fn open<S: Schema>(
        &self,
        name: &str,
        creates: bool,
    ) -> impl std::future::Future<Output = Result<LocalDatabase, Error>> + Send + 'static {
        let databases = self.0.clone();
        let asked = name.parse::<DatabaseName>().map_err(Error::from);
        let schema = Schematic::of::<S>().map_err(Error::invalid);
        async move {
            let (name, schema) = (asked?, SchemaOffer::of(&schema?));
            databases.check(schema.as_ref())?;
            if creates {
                databases.create(&name).await?;
            }
            let handle = databases.open(name, schema).await?;
            Ok(LocalDatabase {
                databases,
                handle,
                consistency: Consistency::default(),
            })
        }
    }
}

impl StorageConnection for Local {
    type Database = LocalDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Future<LocalDatabase> {
        Box::pin(self.open::<S>(name, true))
    }

    fn database<S: Schema>(&self, name: &str) -> Future<LocalDatabase> {
        Box::pin(self.open::<S>(name, false))
    }

    fn delete_database(&self, name: &str) -> Future<()> {
        let (databases, name) = (self.0.clone(), name.parse::<DatabaseName>());
        Box::pin(async move { databases.delete(name?).await })
    }

    fn databases(&self) -> Future<Vec<DatabaseName>> {
        let databases = self.0.clone();
        Box::pin(async move { databases.names().await })
    }
}

impl LocalDatabase {
    /// The same database, of which what is read has to be as fresh as this.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self {
            consistency,
            ..self.clone()
        }
    }
}

impl Connection for LocalDatabase {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = LocalSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let database = self.clone();
        Box::pin(converse_async(first, next, move |request| {
            let LocalDatabase {
                databases,
                handle,
                consistency,
            } = database.clone();
            let terms = Terms {
                id: None,
                consistency,
            };
            async move {
                databases
                    .request(&handle, request, terms)
                    .await
                    .map(|(response, _)| response)
            }
        }))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Future<LocalSubscription> {
        let database = self.clone();
        Box::pin(async move {
            let messages = database.databases.subscribe(&database.handle, patterns?).await?;
            Ok(LocalSubscription(Arc::new(messages)))
        })
    }
}

impl TakeSnapshot for LocalDatabase {
    type Snapshot = LocalSnapshot;

    fn snapshot(&self) -> Future<LocalSnapshot> {
        let database = self.clone();
        Box::pin(async move {
            let taken = database
                .databases
                .snapshot(&database.handle, database.consistency)
                .await?;
            Ok(LocalSnapshot(taken))
        })
    }
}

/// Messages that a subscriber receives.
pub struct LocalSubscription(Arc<Messages>);

impl Subscriber<LocalDatabase> for LocalSubscription {
    fn receive(&self) -> Future<Message> {
        let messages = Arc::clone(&self.0);
        Box::pin(async move { messages.receive().await })
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}

/// A moment of a database.
#[derive(Clone)]
pub struct LocalSnapshot(HeldSnapshot);

impl Connection for LocalSnapshot {
    type Output<T: Send + 'static> = Future<T>;
    type Subscriber = std::convert::Infallible;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Future<T> {
        let snapshot = self.0.clone();
        Box::pin(converse_async(first, next, move |request| {
            let snapshot = snapshot.clone();
            async move { snapshot.read(request).await }
        }))
    }

    fn subscribe_to(&self, _: Result<Vec<TopicPattern>, Error>) -> Future<std::convert::Infallible> {
        Box::pin(async { Err(Error::ReadOnlySnapshot("a subscription".to_owned())) })
    }
}
