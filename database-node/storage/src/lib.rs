//! The state machine of PliantDB on RocksDB, and the embedded database.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path();
//! use pliantdb_core::{Body, DatabaseName, Precondition};
//! use pliantdb_storage::Storage;
//!
//! let storage = Storage::open(path)?;
//! let database = storage.database(&DatabaseName::default_database())?;
//! let (users, id) = ("users".parse()?, "ada".parse()?);
//! database.put(&users, &id, Body::parse(br#"{"born": 1815}"#.to_vec())?, Precondition::None)?;
//! assert_eq!(database.get(&users, &id)?.map(|found| found.body.into_bytes()), Some(br#"{"born": 1815}"#.to_vec()));
//! # Ok(())
//! # }
//! ```
//!
//! From the bottom up:
//! - module [`store`]: the narrow ordered-store trait, on RocksDB and in memory
//! - module [`encryption`]: keys that wrap keys that encrypt values
//! - `keys`, `records`: how keys and values are encoded, for ever
//! - module [`machine`]: the state machine, the only code that changes state
//! - `reading`: point reads and the ordered listing that merges slots
//! - `writer`: the one thread that commits, many commands per fsync
//! - `directory`, `disk_space`, `memory`: the data directory, the room on its disk, the memory to use
//! - module [`backup`]: online backup to a directory or an object store, and restore
//! - module [`dump`]: everything as JSON lines, and back
//! - `inspect`: what a key stands for
//! - module [`storage`]: [`Storage`] and [`Database`], the embedded interface

pub mod backup;
mod catalog;
mod directory;
mod disk_space;
pub mod dump;
pub mod encryption;
mod error;
mod inspect;
mod keys;
pub mod machine;
pub mod memory;
mod reading;
mod records;
pub mod storage;
pub mod store;
mod writer;

pub use catalog::{Catalog, DatabaseEntry, DatabaseId};
pub use error::StorageError;
pub use reading::{Found, Listing, Page};
pub use storage::{Commit, Database, Options, Stats, Storage, generate_document_id};
pub use writer::QUEUE_CAPACITY;
