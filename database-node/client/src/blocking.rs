//! The client for programs that block.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pliantdb_core::{
    Connection, Consistency, DatabaseName, Error, Message, Position, Request, Response, Schema, Step,
    StorageConnection, Subscriber, TakeSnapshot, TopicPattern,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

use crate::client::AsyncClient;
use crate::database::{AsyncRemoteDatabase, AsyncRemoteSnapshot, AsyncRemoteSubscription};
use crate::link::Sending;
use crate::options::Options;

/// A server, or any node of a cluster, for programs that block: [`AsyncClient`] with a thread of its own.
#[derive(Clone)]
pub struct Client {
    client: AsyncClient,
    driver: Driver,
}

/// Waits for what is asynchronous.
#[derive(Clone)]
struct Driver(Arc<Background>);

/// How long the end of the last connection takes at most.
const GOODBYE: Duration = Duration::from_secs(1);

/// The runtime, which must not be waited for when it goes within another.
struct Background {
    runtime: Option<Runtime>,
    /// Ends when all connections have, so that the server need not wait for signs of life.
    sent: Mutex<mpsc::Receiver<Infallible>>,
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if Handle::try_current().is_err() {
            let sent = self.sent.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = runtime.block_on(async { tokio::time::timeout(GOODBYE, sent.recv()).await });
        }
        runtime.shutdown_background();
    }
}

impl Driver {
    fn start() -> Result<(Self, Sending), Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pliantdb-client")
            .enable_all()
            .build()
            .map_err(|error| Error::Unreachable(format!("the client's thread cannot be started: {error}")))?;
        let (sending, sent) = mpsc::channel(1);
        let background = Background {
            runtime: Some(runtime),
            sent: Mutex::new(sent),
        };
        Ok((Self(Arc::new(background)), sending))
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Handle::try_current().is_ok() {
            return Err(Error::Invalid(
                "a blocking client cannot be used within an asynchronous runtime: use AsyncClient there"
                    .to_owned(),
            ));
        }
        match &self.0.runtime {
            Some(runtime) => runtime.block_on(work),
            None => Err(Error::Closed),
        }
    }
}

impl Client {
    /// As [`AsyncClient::connect`].
    ///
    /// # Errors
    /// As [`AsyncClient::connect`].
    pub fn connect(address: &str, options: Options) -> Result<Self, Error> {
        let (driver, sending) = Driver::start()?;
        let client = driver.wait(AsyncClient::connect_with(address, options, sending))?;
        Ok(Self { client, driver })
    }

    /// As [`AsyncClient::close`].
    ///
    /// # Errors
    /// [`Error::Invalid`] within an asynchronous runtime, where nothing may block.
    pub fn close(&self) -> Result<(), Error> {
        self.driver.wait(async {
            self.client.close().await;
            Ok(())
        })
    }

    /// The same, asynchronous.
    #[must_use]
    pub fn asynchronous(&self) -> &AsyncClient {
        &self.client
    }

    /// As [`AsyncClient::ask`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn ask(&self, ask: pliantdb_core::protocol::Ask) -> Result<pliantdb_core::protocol::Reply, Error> {
        self.driver.wait(self.client.ask(ask))
    }

    fn opened(&self, opened: Result<AsyncRemoteDatabase, Error>) -> Result<RemoteDatabase, Error> {
        Ok(RemoteDatabase {
            database: opened?,
            driver: self.driver.clone(),
        })
    }
}

impl StorageConnection for Client {
    type Database = RemoteDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Result<RemoteDatabase, Error> {
        self.opened(self.driver.wait(self.client.create_database::<S>(name)))
    }

    fn database<S: Schema>(&self, name: &str) -> Result<RemoteDatabase, Error> {
        self.opened(self.driver.wait(self.client.database::<S>(name)))
    }

    fn delete_database(&self, name: &str) -> Result<(), Error> {
        self.driver.wait(self.client.delete_database(name))
    }

    fn databases(&self) -> Result<Vec<DatabaseName>, Error> {
        self.driver.wait(self.client.databases())
    }
}

/// An [`AsyncRemoteDatabase`] for programs that block.
#[derive(Clone)]
pub struct RemoteDatabase {
    database: AsyncRemoteDatabase,
    driver: Driver,
}

impl RemoteDatabase {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DatabaseName {
        self.database.name()
    }

    /// The same, asynchronous.
    #[must_use]
    pub fn asynchronous(&self) -> &AsyncRemoteDatabase {
        &self.database
    }

    /// As [`AsyncRemoteDatabase::with_consistency`].
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self {
            database: self.database.with_consistency(consistency),
            driver: self.driver.clone(),
        }
    }

    /// As [`AsyncRemoteDatabase::position`].
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.database.position()
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn execute(&self, request: Request) -> Result<Response, Error> {
        self.driver.wait(self.database.execute(request))
    }
}

impl Connection for RemoteDatabase {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = RemoteSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.driver.wait(self.database.converse(first, next))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<RemoteSubscription, Error> {
        Ok(RemoteSubscription {
            subscription: self.driver.wait(self.database.subscribe_to(patterns))?,
            _driver: self.driver.clone(),
        })
    }
}

/// Receives the messages of a [`RemoteDatabase`], blocking; else as [`AsyncRemoteSubscription`].
pub struct RemoteSubscription {
    subscription: AsyncRemoteSubscription,
    _driver: Driver,
}

impl Subscriber<RemoteDatabase> for RemoteSubscription {
    fn receive(&self) -> Result<Message, Error> {
        self.subscription.inbox().receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.subscription.inbox().try_receive()
    }
}

impl TakeSnapshot for RemoteDatabase {
    type Snapshot = RemoteSnapshot;

    fn snapshot(&self) -> Result<RemoteSnapshot, Error> {
        Ok(RemoteSnapshot {
            snapshot: self.driver.wait(self.database.snapshot())?,
            driver: self.driver.clone(),
        })
    }
}

/// An [`AsyncRemoteSnapshot`] for programs that block.
#[derive(Clone)]
pub struct RemoteSnapshot {
    snapshot: AsyncRemoteSnapshot,
    driver: Driver,
}

impl Connection for RemoteSnapshot {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = Infallible;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.driver.wait(self.snapshot.converse(first, next))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<Infallible, Error> {
        self.driver.wait(self.snapshot.subscribe_to(patterns))
    }
}
