//! The one dispatcher behind every door: who asks is checked, what is asked is carried out.

use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use pliantdb_core::access::{Action, Need, Resource};
use pliantdb_core::protocol::{Ask, BackupSummary, DatabaseHandle, Reply, SchemaOffer};
use pliantdb_core::{
    CollectionName, Connection, DatabaseName, Document, DocumentId, Error, FeedStart, Message, Request,
    RequestId, Response, SchemaName, StorageConnection, Subscriber, TakeSnapshot, TopicPattern,
};
use pliantdb_storage::backup::{self, BackupError};
use pliantdb_storage::{
    AsyncDatabase, AsyncDatabaseSnapshot, AsyncStorage, AsyncSubscription, Found, Storage,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::accounts;
use crate::audit::Change;
use crate::backup_place;
use crate::goes_on::GoesOn;
use crate::metrics::Metrics;
use crate::request_memory::Reserved;
use crate::schemas::Schemas;

/// The most bytes of documents in one answer; a client that asks for more is told where to go on.
pub(crate) const MAX_PAGE_BYTES: usize = 16 << 20;

/// Carries out what is asked.
pub(crate) struct Dispatcher {
    storage: AsyncStorage,
    schemas: Schemas,
    metrics: Arc<Metrics>,
    /// Keeps the storage's queue from overflowing: who cannot enter waits here, in order, and without a thread.
    writes: Arc<Semaphore>,
    /// Where backups may go to.
    backup_places: Vec<String>,
    /// Cancelled when the server stops: then nobody waits for changes any more.
    stopping: CancellationToken,
}

impl Dispatcher {
    pub(crate) fn new(
        storage: AsyncStorage,
        schemas: Schemas,
        metrics: Arc<Metrics>,
        backup_places: Vec<String>,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            storage,
            schemas,
            metrics,
            writes: Arc::new(Semaphore::new(pliantdb_storage::QUEUE_CAPACITY)),
            backup_places,
            stopping,
        }
    }

    /// Answers what needs no connection: everything but subscriptions and snapshots.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask(&self, caller: &Caller, ask: Ask, id: Option<RequestId>) -> Result<Reply, Error> {
        match &ask {
            // Whoever names the schema that it has already changes nothing.
            Ask::OpenDatabase {
                name,
                schema: Some(schema),
            } if self.has_schema(name, schema) => {
                caller.check_need(&Need::Any(name))?;
                return self.carry_out_all(caller, ask, id).await;
            }
            ask => caller.check(ask)?,
        }
        let change = Change::of(&ask);
        let result = self.carry_out_all(caller, ask, id).await;
        if let Some(change) = change {
            change.record(caller, result.as_ref().err());
        }
        result
    }

    /// As [`Dispatcher::ask`], with the memory that the question takes. A change goes on when nobody waits for it any longer,
    /// for it can be on its way to the disk; only when it is done is its memory given back.
    pub(crate) fn ask_holding(
        self: &Arc<Self>,
        caller: &Caller,
        ask: Ask,
        id: Option<RequestId>,
        memory: Option<Reserved>,
    ) -> impl Future<Output = Result<Reply, Error>> + Send + 'static {
        let is_change = match &ask {
            Ask::Request { request, .. } => {
                request.is_write() || matches!(request, Request::DeleteMatching(_) | Request::Call { .. })
            }
            _ => false,
        };
        let (dispatcher, caller) = (Arc::clone(self), caller.clone());
        let asking = async move {
            let reply = dispatcher.ask(&caller, ask, id).await;
            drop(memory);
            reply
        };
        match is_change {
            true => Either::Left(GoesOn::new(asking)),
            false => Either::Right(Box::pin(asking)),
        }
    }

    async fn carry_out_all(&self, caller: &Caller, ask: Ask, id: Option<RequestId>) -> Result<Reply, Error> {
        match ask {
            Ask::Accounts(ask) => accounts::carry_out(&self.storage, caller, ask).await,
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
            Ask::Request {
                database: handle,
                request,
            } => {
                let database = self.database(&handle)?;
                let waits = matches!(request, Request::Changes { .. });
                let response = self.carry_out(&database, request, id).await?;
                if waits {
                    // They may be allowed to hear of changes no longer.
                    let changes = Resource::Database(&handle.name);
                    caller.check_need(&Need::Action(Action::Read, changes))?;
                }
                Ok(Reply::Response(response))
            }
            Ask::Backup { to } => self.back_up(to).await.map(Reply::Backup),
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

    /// Reads documents from one moment; `None` when they have more than [`MAX_PAGE_BYTES`] together.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn read_many(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        collection: CollectionName,
        ids: Vec<DocumentId>,
    ) -> Result<Option<Vec<Document>>, Error> {
        let request = Request::Get { collection, ids };
        let ask = Ask::Request { database, request };
        caller.check(&ask)?;
        match ask {
            Ask::Request {
                database,
                request: Request::Get { collection, ids },
            } => {
                let database = self.database(&database)?;
                database
                    .get_multiple_within(collection, ids, MAX_PAGE_BYTES)
                    .await
            }
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
    ) -> Result<Subscription, Error> {
        let ask = Ask::Subscribe {
            database: database.clone(),
            patterns: patterns.clone(),
        };
        caller.check(&ask)?;
        Ok(Subscription {
            messages: self.database(&database)?.subscribe_to(Ok(patterns)).await?,
            caller: caller.clone(),
            ask,
        })
    }

    /// Whether a database has this schema, in whatever order the views are told.
    fn has_schema(&self, name: &DatabaseName, schema: &SchemaOffer) -> bool {
        let has = self.storage.blocking().schema(name);
        matches!(has, Ok(Some(has)) if has.name == schema.name
            && has.views.len() == schema.views.len()
            && has.views.iter().all(|view| schema.views.contains(view)))
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
        // First, so that nobody learns which databases there are.
        let ask = Ask::Snapshot {
            database: database.clone(),
        };
        caller.check(&ask)?;
        self.database(&database)?.snapshot().await
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
            Ask::Request {
                request: Request::Get { collection, ids },
                ..
            } if ids.len() > 1 => {
                let found = snapshot.get_multiple_within(collection, ids, MAX_PAGE_BYTES);
                found.await?.map(Response::Documents).ok_or_else(too_large)
            }
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

    /// Backs everything up. One that has begun goes on when nobody waits for it any more.
    async fn back_up(&self, to: String) -> Result<BackupSummary, Error> {
        backup_place::check(&self.backup_places, &to)?;
        let back_up = move |storage: &Storage| {
            let failed = |error: BackupError| Error::Storage(error.to_string());
            let place = backup_place::open(&to).map_err(failed)?;
            let report = backup::backup(storage, &place).map_err(failed)?;
            Ok(backup_place::summary(&report))
        };
        self.storage.run(back_up).await
    }

    async fn carry_out(
        &self,
        database: &AsyncDatabase,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Response, Error> {
        if let Request::Changes { from, limit, wait } = request {
            return self.changes(database, from, limit, wait).await;
        }
        let request = match request {
            // One document may be as large as it is.
            Request::Get { collection, ids } if ids.len() > 1 => {
                let found = database.get_multiple_within(collection, ids, MAX_PAGE_BYTES);
                return found.await?.map(Response::Documents).ok_or_else(too_large);
            }
            request if !request.is_write() => return database.execute(bounded(request)).await,
            request => request,
        };
        let _waiting = self.metrics.write_waits();
        let _place = self.writes.acquire().await.map_err(|_| Error::Closed)?;
        match id {
            Some(id) => database.execute_once(id, request).await,
            None => database.execute(request).await,
        }
    }

    /// Reads a feed. Who waits for changes is told that there are none when the server stops, and where to go on.
    async fn changes(
        &self,
        database: &AsyncDatabase,
        from: FeedStart,
        limit: usize,
        wait: Duration,
    ) -> Result<Response, Error> {
        let read = |from, wait| database.execute(Request::Changes { from, limit, wait });
        let now = read(from, Duration::ZERO).await?;
        let next = match &now {
            Response::Changes(page) if page.transactions.is_empty() && !wait.is_zero() => page.next,
            _ => return Ok(now),
        };
        tokio::select! {
            later = read(FeedStart::After(next), wait) => later,
            () = self.stopping.cancelled() => Ok(now),
        }
    }
}

/// Messages for a subscriber, as long as they may have them.
pub(crate) struct Subscription {
    messages: AsyncSubscription,
    caller: Caller,
    ask: Ask,
}

impl Subscription {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Lagged`] when some were dropped. After any other error there are none: [`Error::Closed`] when the database
    /// was closed, [`Error::Denied`] or [`Error::Unauthenticated`] when the subscriber may have them no longer.
    pub(crate) async fn receive(&self) -> Result<Message, Error> {
        let message = self.messages.receive().await;
        self.caller.check(&self.ask)?;
        message
    }

    /// Ends it: whoever waits for a message hears that there are none.
    pub(crate) fn end(&self) {
        self.messages.end();
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

fn too_large() -> Error {
    Error::Invalid(format!(
        "the documents have more than {MAX_PAGE_BYTES} bytes together, which is the most of an answer: ask for fewer at once"
    ))
}

/// An error as clients are told it: what the storage below says, with its paths, is for the log.
pub(crate) fn told(error: Error) -> Error {
    match error {
        Error::Storage(reason) => {
            tracing::error!(reason, "the storage failed");
            Error::Storage("the storage failed; the server's log says why".to_owned())
        }
        Error::Corrupt(reason) => {
            tracing::error!(reason, "stored data is corrupt");
            Error::Corrupt("stored data is damaged; the server's log says where".to_owned())
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
