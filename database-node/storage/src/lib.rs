//! The state machine of PliantDB on RocksDB, and the embedded database.
//!
//! ```
//! use pliantdb_storage::{Collection, Connection, Database};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Collection)]
//! #[collection(name = "users")]
//! struct User {
//!     name: String,
//! }
//!
//! # fn main() -> Result<(), pliantdb_storage::Error> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path();
//! let database = Database::open::<User>(path)?;
//! let ada = database.collection::<User>().insert(User { name: "Ada".to_owned() })?;
//! assert_eq!(database.collection::<User>().get(&ada.id)?.unwrap().contents.name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! Everything of `pliantdb-core` can be named as if it were here.
//!
//! From the bottom up:
//! - module [`store`]: the narrow ordered-store trait, on RocksDB and in memory
//! - module [`encryption`]: keys that wrap keys that encrypt values
//! - `keys`, `records`: how keys and values are encoded, for ever
//! - module [`machine`]: the state machine, the only code that changes state
//! - module [`group`]: the shards of consensus groups, each with its own log, side by side in one store
//! - `extent`, `merge`, `reading`, `feed`, `values`, `views`: what is read, in one order over all slots
//! - `writer`: the one thread that commits, many commands per fsync; `progress`: how far it has come
//! - `engine`: every request, on any store; `proposer`: where its operations go; `schemas`: the code of views
//! - `housekeeping`: what a storage does by itself; `broker`: messages
//! - `directory`, `disk_space`, `memory`: the data directory, the room on its disk, the memory to use
//! - module [`node`]: the data directory of a node of a cluster, and how that of a storage becomes one
//! - module [`backup`]: online backup to a directory or an object store, and restore
//! - module [`dump`]: everything as JSON lines, and back
//! - module [`check`]: whether a data directory is sound
//! - `accounts`: users, roles and API keys
//! - `inspect`: what a key stands for
//! - modules [`storage`] and [`database`]: [`Storage`] and [`Database`], the embedded interface; `apis`: its custom APIs
//! - module [`asynchronous`]: [`AsyncStorage`] and [`AsyncDatabase`], the same without blocking

// Slicing and indexing that can panic, outside tests.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

// The derives name this crate for those who depend on no other.
extern crate self as pliantdb_storage;

mod accounts;
mod apis;
pub mod asynchronous;
pub mod backup;
mod broker;
mod catalog;
pub mod check;
pub mod database;
mod directory;
mod disk_space;
pub mod dump;
pub mod encryption;
mod engine;
mod error;
mod extent;
mod feed;
#[cfg(test)]
mod fuzz;
pub mod group;
mod housekeeping;
mod inspect;
mod keys;
mod log_clock;
pub mod machine;
pub mod memory;
mod merge;
mod moment;
pub mod node;
mod progress;
mod proposer;
mod reading;
mod records;
mod retry;
mod schemas;
pub mod snapshot;
mod standalone;
pub mod storage;
pub mod store;
mod values;
mod views;
mod writer;

pub use accounts::SharedAccounts;
pub use apis::Apis;
pub use asynchronous::{AsyncDatabase, AsyncStorage, AsyncSubscription};
pub use broker::Broker;
pub use catalog::{Catalog, DatabaseEntry, DatabaseId, DatabaseState, Makeup, ViewRecord, ViewState};
pub use database::{Database, Subscription};
pub use disk_space::DiskSpace;
pub use engine::{MAX_CHANGES, MAX_WRITE_BYTES};
pub use error::StorageError;
pub use pliantdb_core::{
    APPLY_VERSION, Answer, Api, ApiName, Body, Change, ChangeAction, ChangeKind, ChangeOutcome,
    ChangedDocument, ChangesPage, Clock, Collection, CollectionName, CollectionSchema, Collections, Command,
    CommittedTransaction, Connection, DatabaseName, Document, DocumentAction, DocumentChange, DocumentId,
    Documents, Emit, Emitted, Error, Expiry, FeedCursor, FeedStart, Freshness, Group, GroupId, GroupOf, Id,
    IndexedDocument, InvalidBody, InvalidDocumentId, InvalidFeedCursor, InvalidKey, InvalidKeyName,
    InvalidName, InvalidRequestId, InvalidRevision, InvalidSchema, InvalidSlotCount, InvalidTopic, Key,
    KeyAction, KeyCondition, KeyList, KeyListing, KeyName, KeyOutcome, KeyPage, KeySelection, KeyStatus,
    KeyValue, List, Listing, MAX_NESTING, Map, Message, Named, NamespaceName, Number, Operation, Order,
    Outcome, Page, Precondition, Query, REQUEST_MEMORY, RawRow, Reduce, ReduceFn, Rejection, Request,
    RequestId, Response, Revision, Row, RowCursor, RowOf, RowWithDocument, Rows, Schema, SchemaName,
    Schematic, Slot, SlotCount, Step, StorageConnection, Stored, Subscriber, TakeSnapshot, Timestamp, Topic,
    TopicPattern, Transaction, TypedDocument, View, ViewDefinition, ViewEntry, ViewId, ViewName, ViewPolicy,
    ViewQuery, ViewSchema, ViewStatus, Views, WriteAction,
};
pub use proposer::{Done, Proposer};
pub use reading::Found;
pub use snapshot::{AsyncDatabaseSnapshot, DatabaseSnapshot};
pub use storage::{CHANGE_RETENTION, Commit, Options, StateStore, Stats, Storage, generate_document_id};
pub use writer::QUEUE_CAPACITY;

/// The guide, whose code is tested here.
#[cfg(doctest)]
mod documentation {
    macro_rules! tested {
        ($($name:ident: $path:literal),*) => {$(
            #[doc = include_str!(concat!("../../../", $path))]
            mod $name {}
        )*};
    }
    tested!(
        first_document: "docs/guide/01-first-document.md",
        collections: "docs/guide/02-collections.md",
        views: "docs/guide/03-views.md",
        transactions: "docs/guide/04-transactions.md",
        key_value: "docs/guide/05-key-value.md",
        messages: "docs/guide/06-messages.md",
        changes: "docs/guide/07-changes.md",
        apis: "docs/guide/08-apis.md",
        storages: "docs/guide/09-storages.md",
        evolution: "docs/guide/10-evolution.md"
    );
}
