//! What PliantDB means by documents, names, revisions, commands and errors.
//!
//! Nothing here does I/O, starts a thread, reads a clock or draws a random number: the crate builds for
//! `wasm32` and the same bytes in give the same bytes out on every node.
//!
//! - module [`name`] holds [`DatabaseName`] and [`CollectionName`]
//! - module [`document_id`] holds [`DocumentId`]
//! - module [`body`] holds [`Body`], a checked JSON value kept as the bytes that were sent
//! - module [`timestamp`] holds [`Timestamp`] and the hybrid logical [`Clock`]
//! - module [`revision`] holds [`Revision`], the commit timestamp of the write that made a document
//! - module [`document`] holds [`Document`]
//! - module [`slot`] holds [`Slot`], [`SlotCount`] and the hash that assigns one
//! - module [`command`] holds [`Command`], the only thing that changes state
//! - module [`outcome`] holds [`Outcome`] and [`Rejection`], what a command came to

pub mod body;
pub mod command;
pub mod document;
pub mod document_id;
pub mod name;
pub mod outcome;
pub mod revision;
mod shorten;
pub mod slot;
pub mod timestamp;

pub use body::{Body, InvalidBody, MAX_NESTING};
pub use command::{APPLY_VERSION, Command, DocumentAddress, Operation, Precondition};
pub use document::Document;
pub use document_id::{DocumentId, InvalidDocumentId};
pub use name::{CollectionName, DatabaseName, InvalidName};
pub use outcome::{Outcome, Rejection};
pub use revision::{InvalidRevision, Revision};
pub use shorten::shorten;
pub use slot::{InvalidSlotCount, Slot, SlotCount};
pub use timestamp::{Clock, Timestamp};
