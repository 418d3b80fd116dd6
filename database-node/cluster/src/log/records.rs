//! What lies in a node's log besides entries. Every record begins with its version.

use pliantdb_storage::store::StoreError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::group::config::GroupConfig;
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};

/// Who this node is. It is written once, when it has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: u128,
    /// The node.
    pub node: NodeId,
}

/// What a replica has promised, and where its log begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// The replica that this log is of.
    pub(crate) replica: ReplicaId,
    /// The life of the group that it is in.
    pub(crate) incarnation: Incarnation,
    /// The latest term it has heard of.
    pub(crate) term: u64,
    /// Whom it voted for in that term; 0 for nobody.
    pub(crate) vote: u64,
    /// Up to where it knows the log to be committed.
    pub(crate) commit: u64,
    /// The entry before the first of the log.
    pub(crate) truncated: LogPoint,
    /// The epoch of what the meta group wanted when this replica was made: what it wanted before does not concern it.
    pub(crate) created: Epoch,
    /// When this replica was forced to go on alone: the configuration since. It counts until the state has one of this
    /// incarnation.
    pub(crate) forced: Option<GroupConfig>,
    /// Where its log ended then.
    pub(crate) fork: Option<LogPoint>,
}

/// The last replica of a group that was removed from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removed {
    /// The life of the group in which it was.
    pub(crate) incarnation: Incarnation,
    /// The replica.
    pub(crate) replica: ReplicaId,
}

/// The version of every record.
const VERSION: u8 = 1;

/// A record's bytes.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(record, vec![VERSION]).map_err(|error| StoreError::Engine(error.to_string()))
}

/// What a record's bytes say.
pub(crate) fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|error| StoreError::Corrupt(format!("{kind} cannot be read: {error}"))),
        Some((&found, _)) if found > VERSION => Err(StoreError::NewerRecord {
            kind,
            found,
            supported: VERSION,
        }),
        _ => Err(StoreError::Corrupt(format!("{kind} has no version"))),
    }
}
