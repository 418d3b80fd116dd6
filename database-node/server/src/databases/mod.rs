//! The databases that are served, wherever they are: what is asked of one comes to the node that can answer it.
//!
//! - `alone`: those of the storage in the node's directory
//! - `clustered`: those of a cluster, of which this node has replicas

mod alone;
mod clustered;

use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::access::AccountsChange;
use pliantdb_core::protocol::{BackupSummary, DatabaseHandle, Nodes, SchemaOffer};
use pliantdb_core::{
    CollectionName, Connection, Consistency, DatabaseName, Document, DocumentId, Error, Inbox, Message,
    Position, Request, Response, Subscriber, TakeSnapshot, TopicPattern,
};
use pliantdb_storage::{AsyncDatabaseSnapshot, AsyncSubscription, Found, SharedAccounts, StorageError};

pub(crate) use alone::Alone;
use clustered::Borrowed;
pub(crate) use clustered::{Clustered, Foundation};

use crate::access::SharedSession;
use crate::cluster::Cluster;
use crate::dispatch::Terms;
use crate::executor::{MAX_PAGE_BYTES, bounded, too_large};

/// The databases that are served. Clones are the same.
#[derive(Clone)]
pub(crate) enum Databases {
    /// Those of this node.
    Alone(Arc<Alone>),
    /// Those of a cluster.
    Clustered(Arc<Clustered>),
}

impl Databases {
    /// Their names, in order.
    pub(crate) async fn names(&self) -> Result<Vec<DatabaseName>, Error> {
        match self {
            Self::Alone(alone) => alone.names().await,
            Self::Clustered(cluster) => cluster.names(),
        }
    }

    /// Whether this node has what a schema needs.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the schema has views whose code is not here.
    pub(crate) fn check(&self, schema: Option<&SchemaOffer>) -> Result<(), Error> {
        match self {
            Self::Alone(alone) => alone.schemas.check(schema),
            Self::Clustered(cluster) => cluster.check(schema),
        }
    }

    /// Creates one, without a schema.
    ///
    /// # Errors
    /// [`pliantdb_core::Rejection::DatabaseExists`], and whatever a write comes to.
    pub(crate) async fn create(&self, name: &DatabaseName) -> Result<(), Error> {
        match self {
            Self::Alone(alone) => alone.create(name).await,
            Self::Clustered(cluster) => cluster.create(name).await,
        }
    }

    /// Opens one, which is given the schema, if there is one.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`]; [`pliantdb_core::Rejection::OtherSchema`] when it has a schema of another name;
    /// [`Error::Invalid`] when the schema has views whose code is not here.
    pub(crate) async fn open(
        &self,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
    ) -> Result<DatabaseHandle, Error> {
        match self {
            Self::Alone(alone) => alone.open(name, schema).await,
            Self::Clustered(cluster) => cluster.open(name, schema).await,
        }
    }

    /// Deletes one with everything in it.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], and whatever a write comes to.
    pub(crate) async fn delete(&self, name: DatabaseName) -> Result<(), Error> {
        match self {
            Self::Alone(alone) => alone.delete(name).await,
            Self::Clustered(cluster) => cluster.delete(name).await,
        }
    }

    /// The schema that one has, if any.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`].
    pub(crate) async fn schema(&self, name: &DatabaseName) -> Result<Option<SchemaOffer>, Error> {
        match self {
            Self::Alone(alone) => alone.schema(name),
            Self::Clustered(cluster) => cluster.schema(name).await,
        }
    }

    /// Carries a request out.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::UnknownDatabase`] also when the one of that name is another one.
    pub(crate) async fn request(
        &self,
        database: &DatabaseHandle,
        request: Request,
        terms: Terms,
    ) -> Result<(Response, Option<Position>), Error> {
        match self {
            Self::Alone(alone) => {
                let database = alone.find(database)?;
                let response = alone.executor.carry_out(&database, request, terms.id).await?;
                Ok((response, None))
            }
            Self::Clustered(cluster) => cluster.request(database, request, terms).await,
        }
    }

    /// Reads one document, unless its body is larger than `within` bytes.
    ///
    /// # Errors
    /// As [`Databases::request`].
    pub(crate) async fn look_up(
        &self,
        database: &DatabaseHandle,
        (collection, id): (CollectionName, DocumentId),
        within: usize,
        consistency: Consistency,
    ) -> Result<(Found, Option<Position>), Error> {
        match self {
            Self::Alone(alone) => {
                let database = alone.find(database)?;
                Ok((database.get_within(&collection, &id, within).await?, None))
            }
            Self::Clustered(cluster) => {
                cluster
                    .look_up(database, (collection, id), within, consistency)
                    .await
            }
        }
    }

    /// Reads documents from one moment; `None` when they have more than [`MAX_PAGE_BYTES`] together.
    ///
    /// # Errors
    /// As [`Databases::request`].
    pub(crate) async fn read_many(
        &self,
        database: &DatabaseHandle,
        collection: CollectionName,
        ids: Vec<DocumentId>,
        consistency: Consistency,
    ) -> Result<(Option<Vec<Document>>, Option<Position>), Error> {
        match self {
            Self::Alone(alone) => {
                let database = alone.find(database)?;
                let found = database
                    .get_multiple_within(collection, ids, MAX_PAGE_BYTES)
                    .await?;
                Ok((found, None))
            }
            Self::Clustered(cluster) => cluster.read_many(database, collection, ids, consistency).await,
        }
    }

    /// Subscribes to messages.
    ///
    /// # Errors
    /// As [`Databases::request`].
    pub(crate) async fn subscribe(
        &self,
        database: &DatabaseHandle,
        patterns: Vec<TopicPattern>,
    ) -> Result<Messages, Error> {
        match self {
            Self::Alone(alone) => {
                let subscription = alone.find(database)?.subscribe_to(Ok(patterns)).await?;
                Ok(Messages::Here(subscription))
            }
            Self::Clustered(cluster) => cluster
                .subscribe(database, patterns)
                .await
                .map(Messages::OfCluster),
        }
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// As [`Databases::request`].
    pub(crate) async fn snapshot(
        &self,
        database: &DatabaseHandle,
        consistency: Consistency,
    ) -> Result<HeldSnapshot, Error> {
        match self {
            Self::Alone(alone) => Ok(HeldSnapshot::Here(alone.find(database)?.snapshot().await?)),
            Self::Clustered(cluster) => cluster.snapshot(database, consistency).await,
        }
    }

    /// Changes users, roles and API keys.
    ///
    /// # Errors
    /// [`pliantdb_core::Rejection`]s of such changes, and whatever a write comes to.
    pub(crate) async fn change_accounts(&self, change: AccountsChange) -> Result<(), Error> {
        match self {
            Self::Alone(alone) => alone.change_accounts(change).await,
            Self::Clustered(cluster) => cluster.change_accounts(change).await,
        }
    }

    /// Backs everything up to a place that may be used.
    ///
    /// # Errors
    /// [`Error::Storage`], which says what failed; of a cluster [`Error::Unavailable`].
    pub(crate) async fn back_up(&self, to: String) -> Result<BackupSummary, Error> {
        match self {
            Self::Alone(alone) => alone.back_up(to).await,
            Self::Clustered(cluster) => cluster.back_up(to).await,
        }
    }

    /// The users, roles and API keys.
    pub(crate) fn accounts(&self) -> Arc<SharedAccounts> {
        match self {
            Self::Alone(alone) => alone.storage().accounts(),
            Self::Clustered(cluster) => Arc::clone(cluster.accounts()),
        }
    }

    /// A session that has begun on another node, by what it is known.
    pub(crate) async fn session(&self, hash: [u8; 32]) -> Option<SharedSession> {
        match self {
            Self::Alone(_) => None,
            Self::Clustered(cluster) => cluster.session(hash).await,
        }
    }

    /// Tells other nodes of a session, without waiting for them.
    pub(crate) fn share_session(&self, hash: [u8; 32], session: SharedSession) {
        match self {
            Self::Alone(_) => {}
            Self::Clustered(cluster) => cluster.share_session(hash, session),
        }
    }

    /// Ends a session on the other nodes that are there.
    pub(crate) async fn end_session(&self, hash: [u8; 32]) {
        match self {
            Self::Alone(_) => {}
            Self::Clustered(cluster) => cluster.end_session(hash).await,
        }
    }

    /// The cluster that the node is of; `None` for one that is alone.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match self {
            Self::Alone(_) => None,
            Self::Clustered(cluster) => Some(cluster.cluster()),
        }
    }

    /// The nodes that can be asked alike, and which of them leads a database.
    pub(crate) fn nodes(&self, database: Option<&DatabaseName>) -> Nodes {
        match self {
            Self::Alone(_) => Nodes::default(),
            Self::Clustered(cluster) => cluster.nodes(database),
        }
    }

    /// The time that request ids are compared with, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        match self {
            Self::Alone(alone) => alone.storage().now_ms(),
            Self::Clustered(_) => Clustered::now_ms(),
        }
    }

    /// Whether writes are taken at the moment. It may wait for the disk.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn writable(&self) -> Result<(), StorageError> {
        match self {
            Self::Alone(alone) => alone.storage().writable(),
            Self::Clustered(cluster) => cluster.writable(),
        }
    }

    /// Lets other nodes lead what this one leads, for so long at most: it is about to stop.
    pub(crate) async fn hand_over(&self, within: Duration) {
        match self {
            Self::Alone(_) => {}
            Self::Clustered(cluster) => cluster.hand_over(within).await,
        }
    }

    /// Takes no more writes, and sees to it that the next start is quick.
    pub(crate) async fn close(&self) {
        match self {
            Self::Alone(alone) => {
                let storage = alone.storage().clone();
                match tokio::task::spawn_blocking(move || storage.close()).await {
                    // Logged when it happened.
                    Ok(Err(StorageError::Failed(_)) | Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::error!(%error, "the storage was closed without a flush; nothing is lost");
                    }
                    Err(error) => tracing::error!(%error, "closing the storage failed"),
                }
            }
            Self::Clustered(cluster) => cluster.close().await,
        }
    }
}

/// Messages for a subscriber.
pub(crate) enum Messages {
    /// Of a database of this node.
    Here(AsyncSubscription),
    /// Of one of the cluster.
    OfCluster(Arc<Inbox>),
}

impl Messages {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Lagged`] when some were dropped. After any other error there are none.
    pub(crate) async fn receive(&self) -> Result<Message, Error> {
        match self {
            Self::Here(subscription) => subscription.receive().await,
            Self::OfCluster(inbox) => inbox.receive_async().await,
        }
    }

    /// The next message, if one has come already.
    ///
    /// # Errors
    /// As [`Messages::receive`].
    pub(crate) fn try_receive(&self) -> Result<Option<Message>, Error> {
        match self {
            Self::Here(subscription) => subscription.try_receive(),
            Self::OfCluster(inbox) => inbox.try_receive(),
        }
    }

    /// Ends it: whoever waits for a message hears that there are none.
    pub(crate) fn end(&self) {
        match self {
            Self::Here(subscription) => subscription.end(),
            Self::OfCluster(inbox) => inbox.close(),
        }
    }
}

/// A moment of a database. Clones are the same; the last one to be dropped lets go of it.
#[derive(Clone)]
pub(crate) enum HeldSnapshot {
    /// Of a database that is here.
    Here(AsyncDatabaseSnapshot),
    /// Another node holds it.
    Elsewhere(Arc<Borrowed>),
}

impl HeldSnapshot {
    /// Reads from it.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn read(&self, request: Request) -> Result<Response, Error> {
        match self {
            Self::Here(snapshot) => read_snapshot(snapshot, request).await,
            Self::Elsewhere(borrowed) => borrowed.read(request).await,
        }
    }
}

async fn read_snapshot(snapshot: &AsyncDatabaseSnapshot, request: Request) -> Result<Response, Error> {
    match request {
        Request::Get { collection, ids } if ids.len() > 1 => {
            let found = snapshot.get_multiple_within(collection, ids, MAX_PAGE_BYTES);
            found.await?.map(Response::Documents).ok_or_else(too_large)
        }
        request => snapshot.execute(bounded(request)).await,
    }
}
