//! Why a node does not run any more.

use pliantdb_storage::StorageError;
use pliantdb_storage::store::StoreError;

/// Why a node could not go on. Only a new start tells what its stores have.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// A batch of the log could not be written or synced. After that a later success would mean nothing.
    #[error("the log of the node cannot be written: {0}")]
    Log(StoreError),
    /// The core could not use its log.
    #[error("the log of the node cannot be used: {0}")]
    Core(String),
    /// The state of the shards could not be written.
    #[error("the state of the node's shards cannot be written: {0}")]
    State(StorageError),
    /// A mistake of this program.
    #[error("the thread of the node's {0} has panicked")]
    Panicked(&'static str),
}

/// Why an answer will not come. What was asked may have been done, or may yet be: by other nodes, or after the next start.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// Its owner has stopped it.
    #[error("the node was stopped")]
    ByOwner,
    /// It could not go on.
    #[error("the node has stopped: {0}")]
    Failed(#[from] Failure),
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log cannot be read.
    #[error("the log of the node cannot be read: {0}")]
    Log(#[from] StoreError),
    /// The state of its shards cannot be read.
    #[error("the state of the node's shards cannot be read: {0}")]
    State(#[from] StorageError),
    /// The system gave no thread.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}
