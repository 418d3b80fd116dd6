//! What PliantDB means by documents, collections, views, transactions, keys, messages, commands and errors.
//! Nothing here does I/O, starts a thread, reads a clock or draws a random number: the crate builds for
//! `wasm32` and the same bytes in give the same bytes out on every node.
//!
//! What is stored:
//! - module [`name`] holds the names of databases, collections, schemas, views, namespaces and APIs
//! - module [`document_id`] holds [`DocumentId`], and [`id`] the types that can stand for one
//! - module [`body`] holds [`Body`], a checked JSON value kept as the bytes that were sent
//! - module [`timestamp`] holds [`Timestamp`] and the hybrid logical [`Clock`]
//! - module [`revision`] holds [`Revision`], the commit timestamp of the write that made a document
//! - module [`document`] holds [`Document`]
//! - module [`slot`] holds [`Slot`], [`SlotCount`] and the hash that assigns one
//! - module [`key`] holds [`Key`], the types that views are ordered by, and [`key_json`] what they look like as JSON
//!
//! What a program says of its data:
//! - module [`collection`] holds [`Collection`] and [`Stored`]
//! - module [`view`] holds [`View`], [`Map`] and [`Reduce`]
//! - module [`schema`] holds [`Schema`], and [`Schematic`], the same without types
//! - module [`api`] holds [`Api`]
//!
//! How it talks to a database:
//! - module [`connection`] holds [`Connection`], from which all the following come
//! - module [`documents`] holds [`Documents`], the typed documents of a collection
//! - module [`transaction`] holds [`Transaction`]
//! - module [`view_query`] holds [`ViewQuery`]
//! - module [`keys`] holds [`KeyValue`], and [`key_value`] what it is made of
//! - module [`topic`] holds [`Topic`] and [`TopicPattern`]
//! - module [`inbox`] holds [`Inbox`], the messages that wait for a subscriber
//! - module [`feed`] holds [`FeedCursor`]
//! - module [`request`] holds [`Request`] and [`Response`]: the same without types
//! - module [`consistency`] holds [`Consistency`] and [`Position`]: how fresh what is read has to be
//! - module [`error`] holds [`Error`]
//! - module [`protocol`] holds what clients and servers say to each other
//! - module [`admin`] holds what is asked of a node about its cluster
//! - module [`access`] holds [`access::Permission`], users, roles and API keys, and what each request needs
//!
//! How the database changes:
//! - module [`command`] holds [`Command`], the only thing that changes state
//! - module [`request_id`] holds [`RequestId`], by which a write that is sent again is made once
//! - module [`group_id`] holds [`GroupId`], the number of a consensus group, whose log has commands
//! - module [`outcome`] holds [`Outcome`] and [`Rejection`], what a command came to

// Slicing and indexing that can panic, outside tests.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

// The derives name this crate, also when it is tested itself.
extern crate self as pliantdb_core;

pub mod access;
pub mod admin;
pub mod api;
pub mod body;
pub mod collection;
pub mod command;
pub mod connection;
pub mod consistency;
pub mod document;
pub mod document_id;
pub mod documents;
pub mod error;
pub mod feed;
#[cfg(test)]
mod fuzz;
pub mod group_id;
pub mod id;
pub mod inbox;
pub mod key;
pub mod key_json;
pub mod key_value;
pub mod keys;
pub mod name;
pub mod outcome;
pub mod protocol;
pub mod request;
pub mod request_id;
pub mod revision;
pub mod schema;
mod shorten;
pub mod slot;
pub mod timestamp;
pub mod topic;
pub mod transaction;
pub mod view;
pub mod view_query;

pub use api::Api;
pub use body::{Body, InvalidBody, MAX_NESTING};
pub use collection::{Collection, Named, Stored};
pub use command::{
    APPLY_VERSION, Command, DocumentAction, DocumentChange, Emitted, IndexedDocument, Operation,
    Precondition, ViewEntry, WriteAction,
};
pub use connection::{
    Answer, Connection, Step, StorageConnection, Subscriber, TakeSnapshot, converse, converse_async,
};
pub use consistency::{Consistency, InvalidPosition, Position};
pub use document::Document;
pub use document_id::{DocumentId, InvalidDocumentId};
pub use documents::{Documents, List};
pub use error::Error;
pub use feed::{FeedCursor, InvalidFeedCursor};
pub use group_id::GroupId;
pub use id::Id;
pub use inbox::Inbox;
pub use key::{InvalidKey, Key};
pub use key_json::InvalidKeyJson;
pub use key_value::{
    Expiry, InvalidKeyName, KeyAction, KeyCondition, KeyName, KeyOutcome, KeyStatus, Number,
};
pub use keys::{KeyList, KeyValue};
pub use name::{
    ApiKeyName, ApiName, CollectionName, DatabaseName, InvalidName, NamespaceName, RoleName, SchemaName,
    UserName, ViewName,
};
pub use outcome::{ChangeOutcome, Outcome, Rejection};
pub use pliantdb_macros::{Api, Collection, Schema, View};
pub use request::{
    Change, ChangeAction, ChangeKind, ChangedDocument, ChangesPage, CommittedTransaction, FeedStart,
    Freshness, Group, KeyListing, KeyPage, KeySelection, Listing, Message, Order, Page, Query, RawRow,
    Request, Response, RowCursor, Rows, ViewStatus,
};
pub use request_id::{InvalidRequestId, REQUEST_MEMORY, RequestId};
pub use revision::{InvalidRevision, Revision};
pub use schema::{
    CollectionSchema, Collections, InvalidSchema, Schema, Schematic, TypedDocument, ViewSchema, Views,
};
pub use shorten::shorten;
pub use slot::{InvalidSlotCount, Slot, SlotCount};
pub use timestamp::{Clock, Timestamp};
pub use topic::{InvalidTopic, Topic, TopicPattern};
pub use transaction::Transaction;
pub use view::{Emit, Map, Reduce, ReduceFn, View, ViewDefinition, ViewId, ViewPolicy};
pub use view_query::{GroupOf, Row, RowOf, RowWithDocument, ViewQuery};
