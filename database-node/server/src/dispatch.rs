//! The one dispatcher behind every door: who asks is checked, what is asked is carried out.

use std::sync::Arc;

use futures::future::Either;
use pliantdb_core::access::{Action, Need, Resource};
use pliantdb_core::protocol::{Ask, BackupSummary, DatabaseHandle, Reply, SchemaOffer};
use pliantdb_core::{
    CollectionName, Consistency, DatabaseName, Document, DocumentId, Error, Message, Position, Request,
    RequestId, Response, SchemaName, TopicPattern,
};
use pliantdb_storage::Found;

use crate::access::Caller;
use crate::accounts;
use crate::audit::Change;
use crate::backup_place;
use crate::databases::{Databases, HeldSnapshot, Messages};
use crate::goes_on::GoesOn;
use crate::request_memory::Reserved;
use crate::schemas::{self, Schemas};

/// Carries out what is asked.
pub(crate) struct Dispatcher {
    databases: Databases,
    schemas: Arc<Schemas>,
    /// Where backups may go to.
    backup_places: Vec<String>,
}

/// What holds for a question besides what is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// By what a write is known, which is made once then.
    pub(crate) id: Option<RequestId>,
    /// How fresh what is read has to be.
    pub(crate) consistency: Consistency,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// How far the database had come, where it has several replicas.
    pub(crate) position: Option<Position>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        let position = None;
        Self { reply, position }
    }
}

impl Dispatcher {
    pub(crate) fn new(databases: Databases, schemas: Arc<Schemas>, backup_places: Vec<String>) -> Self {
        Self {
            databases,
            schemas,
            backup_places,
        }
    }

    /// Answers what needs no connection: everything but subscriptions and snapshots.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask(&self, caller: &Caller, ask: Ask, terms: Terms) -> Result<Answered, Error> {
        match &ask {
            // Whoever names the schema that it has already changes nothing.
            Ask::OpenDatabase {
                name,
                schema: Some(schema),
            } if self.has_schema(name, schema).await => {
                caller.check_need(&Need::Any(name))?;
                return self.carry_out_all(caller, ask, terms).await;
            }
            ask => caller.check(ask)?,
        }
        let change = Change::of(&ask);
        let result = self.carry_out_all(caller, ask, terms).await;
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
        terms: Terms,
        memory: Option<Reserved>,
    ) -> impl Future<Output = Result<Answered, Error>> + Send + 'static {
        let is_change = match &ask {
            Ask::Request { request, .. } => {
                request.is_write() || matches!(request, Request::DeleteMatching(_) | Request::Call { .. })
            }
            _ => false,
        };
        let (dispatcher, caller) = (Arc::clone(self), caller.clone());
        let asking = async move {
            let answered = dispatcher.ask(&caller, ask, terms).await;
            drop(memory);
            answered
        };
        match is_change {
            true => Either::Left(GoesOn::new(asking)),
            false => Either::Right(Box::pin(asking)),
        }
    }

    async fn carry_out_all(&self, caller: &Caller, ask: Ask, terms: Terms) -> Result<Answered, Error> {
        match ask {
            Ask::Accounts(ask) => accounts::carry_out(&self.databases, caller, ask).await,
            Ask::Databases => self.databases.names().await.map(Reply::Databases),
            Ask::CreateDatabase { name, schema } => {
                // First, so that nothing is created that cannot be opened.
                self.databases.check(schema.as_ref())?;
                self.databases.create(&name).await?;
                self.databases.open(name, schema).await.map(Reply::Database)
            }
            Ask::OpenDatabase { name, schema } => {
                self.databases.check(schema.as_ref())?;
                self.databases.open(name, schema).await.map(Reply::Database)
            }
            Ask::DeleteDatabase { name } => self.databases.delete(name).await.map(|()| Reply::Done),
            Ask::Request { database, request } => {
                let waits = matches!(request, Request::Changes { .. });
                let (response, position) = self.databases.request(&database, request, terms).await?;
                if waits {
                    // They may be allowed to hear of changes no longer.
                    let changes = Resource::Database(&database.name);
                    caller.check_need(&Need::Action(Action::Read, changes))?;
                }
                let reply = Reply::Response(response);
                return Ok(Answered { reply, position });
            }
            Ask::Backup { to } => self.back_up(to).await.map(Reply::Backup),
            Ask::Nodes { database } => Ok(Reply::Nodes(self.databases.nodes(database.as_ref()))),
            Ask::Subscribe { .. } | Ask::Snapshot { .. } | Ask::RequestAt { .. } => Err(Error::invalid(
                "subscriptions and snapshots belong to a connection by QUIC or WebSocket",
            )),
        }
        .map(Answered::from)
    }

    /// Reads one document, unless its body is larger than `within` bytes: for who must have room before reading.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn look_up(
        &self,
        caller: &Caller,
        database: &DatabaseHandle,
        key: (CollectionName, DocumentId),
        within: usize,
        consistency: Consistency,
    ) -> Result<(Found, Option<Position>), Error> {
        let (collection, id) = key;
        let documents = Resource::Collection(&database.name, &collection);
        caller.check_need(&Need::Action(Action::Read, documents))?;
        self.databases
            .look_up(database, (collection, id), within, consistency)
            .await
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
        consistency: Consistency,
    ) -> Result<(Option<Vec<Document>>, Option<Position>), Error> {
        let documents = Resource::Collection(&database.name, &collection);
        caller.check_need(&Need::Action(Action::Read, documents))?;
        self.databases
            .read_many(&database, collection, ids, consistency)
            .await
    }

    /// The schema that a database has, if any.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn schema_of(&self, name: &DatabaseName) -> Result<Option<SchemaOffer>, Error> {
        self.databases.schema(name).await
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
            messages: self.databases.subscribe(&database, patterns).await?,
            caller: caller.clone(),
            ask,
        })
    }

    /// Whether a database has this schema, in whatever order the views are told.
    async fn has_schema(&self, name: &DatabaseName, schema: &SchemaOffer) -> bool {
        let has = self.databases.schema(name).await;
        matches!(has, Ok(Some(has)) if schemas::are_the_same(&has, schema))
    }

    /// Takes a snapshot of a database.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn snapshot(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        consistency: Consistency,
    ) -> Result<HeldSnapshot, Error> {
        // First, so that nobody learns which databases there are.
        let ask = Ask::Snapshot {
            database: database.clone(),
        };
        caller.check(&ask)?;
        self.databases.snapshot(&database, consistency).await
    }

    /// Reads from a snapshot of a database.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn ask_at(
        &self,
        caller: &Caller,
        database: DatabaseHandle,
        snapshot: &HeldSnapshot,
        request: Request,
    ) -> Result<Response, Error> {
        let ask = Ask::Request { database, request };
        caller.check(&ask)?;
        match ask {
            Ask::Request { request, .. } => snapshot.read(request).await,
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Backs everything up. One that has begun goes on when nobody waits for it any more.
    async fn back_up(&self, to: String) -> Result<BackupSummary, Error> {
        backup_place::check(&self.backup_places, &to)?;
        self.databases.back_up(to).await
    }
}

/// Messages for a subscriber, as long as they may have them.
pub(crate) struct Subscription {
    messages: Messages,
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
