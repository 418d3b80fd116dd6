//! Everything that can go wrong with stored data.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use pliantdb_core::{DatabaseName, Error, GroupId, Rejection, Timestamp};

use crate::encryption::EncryptionError;
use crate::store::StoreError;

/// Why the storage could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The command was carried out and changed nothing, for this reason.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No database of that name.
    #[error("there is no database {0:?}")]
    UnknownDatabase(DatabaseName),
    /// Another process, or another `Storage` of this one, has the directory open.
    #[error("the data directory {} is in use by another process; stop that one or choose another directory", .path.display())]
    DirectoryInUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds something, but not a PliantDB database.
    #[error(
        "{} is not empty and not a PliantDB data directory (it holds {found:?}); choose an empty or new directory",
        .path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// A later version of PliantDB wrote the directory.
    #[error(
        "the data directory {} has format {found}, and this version knows formats up to {supported}; run the version \
         that wrote it, or a later one",
        .path.display()
    )]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this build reads.
        supported: u32,
    },
    /// The directory belongs to a node of a cluster, or is becoming one of it. Nothing was touched.
    #[error(
        "the data directory {} belongs to a node of a cluster: its data is the cluster's, and only that node opens it; \
         start the node with its cluster's settings, or choose another directory",
        .path.display()
    )]
    OfNode {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory has databases of a storage, and cannot become a node of a cluster that is there already. Nothing was
    /// touched.
    #[error(
        "the data directory {} has databases of its own: it can found a cluster, which other nodes join, and cannot join \
         one; choose an empty directory for a node that joins",
        .path.display()
    )]
    HasDatabases {
        /// The data directory.
        path: PathBuf,
    },
    /// A part of a directory that was once whole is gone. Nothing was touched.
    #[error(
        "the data directory {} is incomplete: {} is missing or empty; nothing in it was touched: put the file back, \
         or restore the whole directory from a backup",
        .path.display(), .missing.display()
    )]
    Incomplete {
        /// The data directory.
        path: PathBuf,
        /// What is missing.
        missing: PathBuf,
    },
    /// There is too little room for the write, so it was refused. Reads go on, and writes do again when there is room.
    #[error(
        "the disk under {} is nearly full: {free} bytes are free, and {needed} must be (the reserve, what is yet to \
         be written to tables, and the write twice); make room or enlarge the volume",
        .path.display()
    )]
    DiskFull {
        /// The data directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that must be free for it.
        needed: u64,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The directory's encryption and the master key do not fit. Nothing was touched.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The store failed, or holds what cannot be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A commit failed while it was written: it is not visible, but after a restart it may turn out to have been
    /// made. Read before trying again.
    #[error("the commit failed, and may or may not have been made: {0}")]
    Commit(StoreError),
    /// An earlier commit failed such that only recovery can tell what is stored: the storage takes no more writes
    /// until it is opened again. Nothing was written.
    #[error("the storage failed and takes no more writes until it is opened again: {0}")]
    Failed(StoreError),
    /// A command by rules that this build does not know. Nothing of its batch was applied.
    #[error(
        "the command has apply version {found}, and this build knows versions up to {supported}; upgrade this node"
    )]
    UnknownApplyVersion {
        /// The command's version.
        found: u16,
        /// The newest known.
        supported: u16,
    },
    /// A command that is not later than the last one applied. Nothing of its batch was applied.
    #[error("the command's timestamp {found:?} is not after {last:?}, the last one applied")]
    TimestampOrder {
        /// The command's timestamp.
        found: Timestamp,
        /// The last one applied.
        last: Timestamp,
    },
    /// A log entry that does not follow on the last one applied. Nothing of its batch was applied.
    #[error("the log entry has index {found}, and {expected} is the next to be applied")]
    EntryOrder {
        /// The entry's index.
        found: u64,
        /// The index that follows on the position.
        expected: u64,
    },
    /// A shard that cannot be, and why.
    #[error("{0}")]
    InvalidShard(String),
    /// The group has a replica in the store already.
    #[error("the store has a replica of the group {0} already; destroy it first")]
    GroupExists(GroupId),
    /// Another group of the store has some of the slots that a group was to have. Nothing was changed.
    #[error(
        "the group {group} cannot have slots that the group {by} of the same store has; destroy that replica first"
    )]
    SlotsTaken {
        /// The group that was to have them.
        group: GroupId,
        /// The group that has them.
        by: GroupId,
    },
    /// A chunk of a snapshot that is not the one that was to come. Nothing was changed.
    #[error("a chunk of a snapshot of the group {group} cannot be used: {reason}")]
    InvalidChunk {
        /// The group that it was for.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// No complete snapshot is staged for the group. Nothing was changed.
    #[error("no complete snapshot of the group {0} is staged")]
    NothingStaged(GroupId),
    /// A snapshot of the group is being installed: what is staged is needed for that. Nothing was changed.
    #[error("a snapshot of the group {0} is being installed; finish that, or destroy the replica")]
    Installing(GroupId),
    /// A view was replaced, or its database deleted, while it was brought up to date.
    #[error("the view was replaced or its database deleted meanwhile")]
    ViewGone,
    /// A custom API that cannot be registered, and why.
    #[error("a custom API cannot be registered: {0}")]
    InvalidApi(String),
    /// More writes are waiting than the queue holds. Nothing was written; try again.
    #[error("too many writes are waiting; try again in a moment")]
    Busy,
    /// The storage was closed. Nothing was written.
    #[error("the storage is closed")]
    Closed,
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Rejected(Rejection::UnknownDatabase { database }) => {
                Self::UnknownDatabase(database)
            }
            StorageError::Rejected(rejection) => Self::Rejected(rejection),
            StorageError::UnknownDatabase(database) => Self::UnknownDatabase(database),
            StorageError::Busy => Self::Busy,
            StorageError::Closed => Self::Closed,
            StorageError::DiskFull { .. } | StorageError::Store(StoreError::NoSpace(_)) => {
                Self::DiskFull(error.to_string())
            }
            StorageError::Commit(_) => Self::UnknownOutcome(error.to_string()),
            StorageError::Store(StoreError::Corrupt(_)) => Self::Corrupt(error.to_string()),
            StorageError::InvalidApi(_) => Self::Invalid(error.to_string()),
            error => Self::Storage(error.to_string()),
        }
    }
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path, reason: impl Display) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
