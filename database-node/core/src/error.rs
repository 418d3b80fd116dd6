//! What can go wrong between a program and its database, by whichever way they talk.

use serde::{Deserialize, Serialize};

use crate::{ApiName, CollectionName, DatabaseName, DocumentId, Rejection, ViewName};

/// Why a database could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// The request was carried out and changed nothing, for this reason.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No database of that name.
    #[error("there is no database {0:?}")]
    UnknownDatabase(DatabaseName),
    /// The database's schema has no such view.
    #[error(
        "the collection {collection:?} has no view {view}; open the database with the schema that has it"
    )]
    UnknownView {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
    },
    /// Nothing answers to that API.
    #[error("there is no API {0}; register its handler when the database is opened")]
    UnknownApi(ApiName),
    /// What was given cannot be used, and why.
    #[error("{0}")]
    Invalid(String),
    /// A document is not of the type that its collection is to hold.
    #[error("the document {id:?} of the collection {collection:?} is not of the collection's type: {reason}")]
    OtherType {
        /// The collection.
        collection: CollectionName,
        /// The document.
        id: DocumentId,
        /// What does not fit.
        reason: String,
    },
    /// A document was to be written under another id than the one that it has by its contents.
    #[error(
        "the document {id:?} of the collection {collection:?} cannot be written with contents whose id is {natural:?}: \
         leave its natural id as it is, or insert the contents as {natural:?} and delete {id:?}"
    )]
    OtherNaturalId {
        /// The collection.
        collection: CollectionName,
        /// The id that it was to be written under.
        id: DocumentId,
        /// The id that its contents have.
        natural: DocumentId,
    },
    /// A view cannot take what a document emits to it, or cannot be read.
    #[error("the view {view} of the collection {collection:?} failed: {reason}")]
    View {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
        /// Why.
        reason: String,
    },
    /// The changes that a feed was to go on with are no longer kept.
    #[error(
        "the changes after this cursor are no longer kept; read the documents anew and follow the feed from now, or keep \
         changes for longer"
    )]
    CursorExpired,
    /// A subscriber was too slow, and so many messages were dropped.
    #[error("{0} messages were dropped, for they were not received in time")]
    Lagged(u64),
    /// The handler of an API failed; this is what it said.
    #[error("the API {api} failed: {reason}")]
    Api {
        /// The API.
        api: ApiName,
        /// What its handler said.
        reason: String,
    },
    /// What a snapshot of a database cannot do, for it shows one moment. Nothing was done.
    #[error("a snapshot is read-only, so {0} is not possible; use the database that it was taken of")]
    ReadOnlySnapshot(String),
    /// A snapshot of a database is older than the server keeps one. Nothing was done.
    #[error(
        "the snapshot was taken more than {seconds} s ago, and the server keeps none for longer (snapshotLifetime): take \
         another"
    )]
    SnapshotExpired {
        /// How long it keeps one.
        seconds: u64,
    },
    /// Too much is waiting; try again in a moment. Nothing was done.
    #[error("too many requests are waiting; try again in a moment")]
    Busy,
    /// Nobody knows who asks: no proof was given, or one that is not valid. Nothing was done.
    #[error("{0}")]
    Unauthenticated(String),
    /// Who asks may not do that. Nothing was done.
    #[error("{0}")]
    Denied(String),
    /// The disk failed under a write, which may or may not have been made, and why.
    #[error("{0}")]
    UnknownOutcome(String),
    /// Stored data is damaged, and where.
    #[error("{0}")]
    Corrupt(String),
    /// There was no answer in the time that was given. A write may or may not have been made.
    #[error(
        "there was no answer in time; a write may or may not have been made: read before you write again"
    )]
    TimedOut,
    /// The server cannot be reached, and why. Nothing was done.
    #[error("{0}")]
    Unreachable(String),
    /// The connection was lost before the answer came. What was asked may or may not have been done.
    #[error(
        "the connection was lost before the answer came, so {0} may or may not have been done: find out before you try \
         again"
    )]
    Disconnected(String),
    /// No node can answer that at the moment, or none as fresh as was asked for, and why. Nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// The database was closed. Nothing was done.
    #[error("the database is closed")]
    Closed,
    /// There is too little room on the disk for the write. Nothing was done; reads and deletes go on.
    #[error("{0}")]
    DiskFull(String),
    /// The storage below failed.
    #[error("{0}")]
    Storage(String),
    /// The answer is larger than what goes from one node of a cluster to another. What was asked for was done.
    #[error(
        "the answer has {length} bytes, and {limit} is the most that goes between the nodes of a cluster: it was done, but \
         ask for less at once"
    )]
    AnswerTooLarge {
        /// How many bytes it has.
        length: u64,
        /// How many it may have.
        limit: u64,
    },
}

impl Error {
    /// What was given cannot be used, and why.
    pub fn invalid(reason: impl std::fmt::Display) -> Self {
        Self::Invalid(reason.to_string())
    }

    /// The answer is of another kind than the request asks for: a fault of the program at the other end.
    #[must_use]
    pub fn unexpected_answer() -> Self {
        Self::Storage("the answer is of another kind than was asked for".to_owned())
    }
}
