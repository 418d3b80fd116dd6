//! The one dispatcher behind every door: who asks is checked, what is asked is carried out.

use std::sync::Arc;

use pliantdb_core::protocol::{Ask, DatabaseHandle, Reply, SchemaOffer};
use pliantdb_core::{
    CollectionName, Connection, DocumentId, Error, Request, RequestId, Response, SchemaName,
    StorageConnection, TakeSnapshot, TopicPattern,
};
use pliantdb_storage::{AsyncDatabase, AsyncDatabaseSnapshot, AsyncStorage, AsyncSubscription, Found};
use tokio::sync::Semaphore;

use crate::access::Caller;
use crate::schemas::Schemas;

/// The most bytes of documents in one answer; a client that asks for more is told where to go on.
pub(crate) const MAX_PAGE_BYTES: usize = 16 << 20;

/// Carries out what is asked.
pub(crate) struct Dispatcher {
    storage: AsyncStorage,
    schemas: Schemas,
    /// Keeps the storage's queue from overflowing: who cannot enter waits here, in order, and without a thread.
    writes: Arc<Semaphore>,
}

impl Dispatcher {
    pub(crate) fn new(storage: AsyncStorage, schemas: Schemas) -> Self {
        Self {
            storage,
            schemas,
            writes: Arc::new(Semaphore::new(pliantdb_storage::QUEUE_CAPACITY)),
        }
    }

    /// Answers what needs no connection: everything but subscriptions and snapshots.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask(&self, caller: &Caller, ask: Ask, id: Option<RequestId>) -> Result<Reply, Error> {
        caller.check(&ask)?;
        match ask {
            Ask::Databases => self.storage.databases().await.map(Reply::Databases),
            Ask::CreateDatabase { name, schema } => {
                let database = self.schemas.create(&self.storage, name, schema).await?;
                Ok(Reply::Database(database))
            }
            Ask::OpenDatabase { name, schema } => {
                let database = self.schemas.open(&self.storage, name, schema).await?;
                Ok(Reply::Database(database))
            }
            Ask::DeleteDatabase { name } => {
                self.storage.delete_database(name.as_str()).await?;
                Ok(Reply::Done)
            }
            Ask::Request { database, request } => {
                let database = self.database(&database)?;
                self.carry_out(&database, request, id).await.map(Reply::Response)
            }
            Ask::Subscribe { .. } | Ask::Snapshot { .. } | Ask::RequestAt { .. } => Err(Error::invalid(
                "subscriptions and snapshots belong to a connection by QUIC or WebSocket",
            )),
        }
    }

    /// Reads one document, unless its body is larger than `within` bytes: for who must have room before reading.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn look_up(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        collection: CollectionName,
        id: DocumentId,
        within: usize,
    ) -> Result<Found, Error> {
        let ids = vec![id];
        let request = Request::Get { collection, ids };
        let ask = Ask::Request { database, request };
        caller.check(&ask)?;
        match ask {
            Ask::Request {
                database,
                request: Request::Get { collection, mut ids },
            } => match ids.pop() {
                Some(id) => {
                    self.database(&database)?
                        .get_within(&collection, &id, within)
                        .await
                }
                None => Ok(Found::Nothing),
            },
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// The schema of that name that the server has the code of: the version that was added last.
    pub(crate) fn schema(&self, name: &SchemaName) -> Option<SchemaOffer> {
        self.schemas.of_name(name)
    }

    /// Subscribes to messages.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn subscribe(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        patterns: Vec<TopicPattern>,
    ) -> Result<AsyncSubscription, Error> {
        let ask = Ask::Subscribe { database, patterns };
        caller.check(&ask)?;
        match ask {
            Ask::Subscribe { database, patterns } => {
                self.database(&database)?.subscribe_to(Ok(patterns)).await
            }
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Takes a snapshot of a database.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn snapshot(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
    ) -> Result<AsyncDatabaseSnapshot, Error> {
        let found = self.database(&database)?;
        caller.check(&Ask::Snapshot { database })?;
        found.snapshot().await
    }

    /// Reads from a snapshot of a database.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask_at(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        snapshot: &AsyncDatabaseSnapshot,
        request: Request,
    ) -> Result<Response, Error> {
        let ask = Ask::Request { database, request };
        caller.check(&ask)?;
        match ask {
            Ask::Request { request, .. } => snapshot.execute(bounded(request)).await,
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// The database that is meant.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], also when the one of that name is another one.
    pub(crate) fn database(&self, handle: &DatabaseHandle) -> Result<AsyncDatabase, Error> {
        let database = self.storage.get(&handle.name)?;
        match handle.number {
            Some(number) if number != database.number() => Err(Error::UnknownDatabase(handle.name.clone())),
            _ => Ok(database),
        }
    }

    async fn carry_out(
        &self,
        database: &AsyncDatabase,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Response, Error> {
        if !request.is_write() {
            return database.execute(bounded(request)).await;
        }
        let _place = self.writes.acquire().await.map_err(|_| Error::Closed)?;
        match id {
            Some(id) => database.execute_once(id, request).await,
            None => database.execute(request).await,
        }
    }
}

/// A request whose answer is of a bounded size, as far as the request says it.
fn bounded(mut request: Request) -> Request {
    match &mut request {
        Request::List { listing, .. } => listing.max_bytes = listing.max_bytes.min(MAX_PAGE_BYTES),
        Request::ListKeys { listing, .. } => listing.max_bytes = listing.max_bytes.min(MAX_PAGE_BYTES),
        _ => {}
    }
    request
}

/// An error as clients are told it: what the storage below says, with its paths, is for the log.
pub(crate) fn told(error: Error) -> Error {
    match error {
        Error::Storage(reason) => {
            tracing::error!(reason, "the storage failed");
            Error::Storage("the storage failed; the server's log says why".to_owned())
        }
        Error::DiskFull(reason) => {
            tracing::debug!(reason, "a write was refused");
            Error::DiskFull(
                "the server's disk is nearly full, so the write was refused; reads and deletes go on, and writes do when \
                 there is room again"
                    .to_owned(),
            )
        }
        error => error,
    }
}
