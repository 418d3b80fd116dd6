//! Online backup to a directory or an object store, and restore into a new data directory.
//!
//! ```text
//! files/SHA-256            the content of a file, once, however many backups hold it
//! backups/ID.json          what a backup consists of; written last, so it names only what is there
//! ```
//! The files are those of a data directory, as they were at one moment: an encrypted directory's are encrypted in its
//! backups too.

mod manifest;
mod restoring;
mod saving;
mod target;

use std::path::PathBuf;

pub use manifest::{BackupFile, BackupInfo};
pub use restoring::{restore, verify};
pub use saving::{BackupReport, backup, backup_node};
pub use target::BackupTarget;

use pliantdb_core::DatabaseName;

use crate::error::StorageError;

/// Why a backup or a restore failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The target cannot be understood or opened.
    #[error(
        "{location:?} cannot be used for backups: {reason}; give a directory, or a URL such as s3://bucket/path"
    )]
    InvalidTarget {
        /// The target.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The target did not do what it was asked.
    #[error("cannot {action} {object} in {location}: {reason}")]
    Target {
        /// The target.
        location: String,
        /// What was tried, as a verb.
        action: &'static str,
        /// On which of its objects.
        object: String,
        /// What it said.
        reason: String,
    },
    /// The data directory could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another backup of the same data directory is being made.
    #[error("a backup of the data directory {} is being made; try again when it is done", .path.display())]
    Running {
        /// The data directory.
        path: PathBuf,
    },
    /// A node has no whole replica of a database.
    #[error(
        "this node has no whole replica of the database {database:?} at the moment; try again, or have another node \
         make the backup"
    )]
    NotHere {
        /// The database.
        database: DatabaseName,
    },
    /// There is no such backup, or it was never finished.
    #[error("there is no backup {id:?} in {location}; it holds {}", list(.available))]
    Unknown {
        /// The target.
        location: String,
        /// The backup asked for.
        id: String,
        /// Those that are there.
        available: Vec<String>,
    },
    /// There is no backup at all.
    #[error("there is no backup in {location}")]
    None {
        /// The target.
        location: String,
    },
    /// A backup by a later version of PliantDB.
    #[error(
        "the backup {id} has format {found}, and this version knows formats up to {supported}; run the version that \
         made it, or a later one"
    )]
    Newer {
        /// The backup.
        id: String,
        /// Its format.
        found: u32,
        /// The newest known.
        supported: u32,
    },
    /// What says of which files the backup consists is damaged.
    #[error("the backup {id} is damaged: backups/{id}.json {reason}")]
    Manifest {
        /// The backup.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the backup is gone.
    #[error("the backup {id} is incomplete: {object}, which holds {file}, is missing")]
    Missing {
        /// The backup.
        id: String,
        /// The file, in the data directory.
        file: String,
        /// The object in the target.
        object: String,
    },
    /// A file of the backup is not what it was.
    #[error("the backup {id} is damaged: {object}, which holds {file}, {reason}")]
    Damaged {
        /// The backup.
        id: String,
        /// The file, in the data directory.
        file: String,
        /// The object in the target.
        object: String,
        /// How it differs.
        reason: String,
    },
    /// A restore goes into a new or empty directory only.
    #[error("{} is not empty (it holds {found:?}); restore into a new or empty directory", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
}

fn list(ids: &[String]) -> String {
    match ids {
        [] => "none".to_owned(),
        ids => ids.join(", "),
    }
}
