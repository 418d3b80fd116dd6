//! What nodes say to each other. Every message has a version and a bounded size, and nothing in it is believed before
//! it is checked.

pub mod raft;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_core::GroupId;
use serde::{Deserialize, Serialize};

use crate::group::config::GroupConfig;
use crate::group::{Order, Role};
use crate::ids::{Incarnation, LogPoint, NodeId, ReplicaId};
use crate::timing::Instant;
use raft::RaftMessage;

/// The version of what nodes say.
pub const WIRE_VERSION: u8 = 1;

/// Which kinds of message this version understands: counted up with every new one.
pub const UNDERSTOOD: u16 = 2;

/// The attribute of a node by which the cluster knows what it understands ([`UNDERSTOOD`]): whoever starts a node sets it, and
/// tells the cluster when it has changed. A node without it understands 1.
pub const UNDERSTANDS: &str = "understands";

/// Who sends, or is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// A node of the cluster.
    Node(NodeId),
    /// One that wants to be, by the token that it drew.
    Joiner(u128),
}

/// Messages from one to another, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The cluster of the sender; 0 when it has none yet.
    pub cluster: u128,
    /// The sender.
    pub from: Peer,
    /// The receiver.
    pub to: Peer,
    /// What it says.
    pub messages: Vec<Message>,
}

/// One message. New kinds are added at the end: the position is the encoding. They are sent only to nodes that are known to
/// understand them ([`Message::needs`]): others would close the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Of a replica to another.
    Raft(RaftMessage),
    /// Asks for a chunk of a snapshot.
    Fetch(Fetch),
    /// A chunk of a snapshot.
    Chunk(FetchedChunk),
    /// What a node holds, to the leader of the meta group.
    Report(Report),
    /// The answer to a report: a majority of the meta group followed whoever answers after the report had come.
    Heard(Heard),
    /// What the leader of the meta group wants of a group, to its leader.
    Order {
        /// The group.
        group: GroupId,
        /// The life of the group that is meant.
        incarnation: Incarnation,
        /// What is wanted.
        order: Order,
    },
    /// Asks to join.
    Join(Join),
    /// The answer to a node that asked to join.
    Joined {
        /// The cluster.
        cluster: u128,
        /// Who it is from now on; or why it cannot join.
        node: Result<NodeId, String>,
    },
    /// A leader's group goes to sleep.
    Sleep(Sleep),
    /// The sender is there, for all groups that sleep under its leadership.
    Beat(Beat),
    /// A replica that is awake asks its leader to be it too.
    Wake {
        /// The group.
        group: GroupId,
        /// The life of the group in which the sender is.
        incarnation: Incarnation,
        /// The sender.
        from: ReplicaId,
        /// The receiver, which may be the leader.
        to: ReplicaId,
    },
    /// The sender is about to stop: it is not to be handed anything to lead.
    StepsAside,
    /// The sender, which leads all databases, is about to stop and waits for another to be promoted in its place.
    AwaitsPromotion {
        /// For how long it does when that begins now.
        left: Duration,
    },
}

impl Message {
    /// What its receiver has to understand ([`UNDERSTOOD`]).
    #[must_use]
    pub fn needs(&self) -> u16 {
        match self {
            Self::Raft(_)
            | Self::Fetch(_)
            | Self::Chunk(_)
            | Self::Report(_)
            | Self::Heard(_)
            | Self::Order { .. }
            | Self::Join(_)
            | Self::Joined { .. }
            | Self::Sleep(_)
            | Self::Beat(_)
            | Self::Wake { .. } => 1,
            Self::StepsAside | Self::AwaitsPromotion { .. } => 2,
        }
    }
}

/// A leader tells a replica that nothing is to be done, and that it says no more until something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// The group.
    pub group: GroupId,
    /// The life of the group.
    pub incarnation: Incarnation,
    /// The leader.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// The leader's term.
    pub term: u64,
    /// The end of its log, up to which all is committed.
    pub last: LogPoint,
    /// When it was sent, by the leader's clock.
    pub sent_at: Instant,
    /// What the leader's node says from now on in its place.
    pub beat: Beat,
}

/// That a node is there, and still leads all groups that sleep under it. Whoever has not heard that for an election
/// timeout, or hears another one, lets its replicas of them wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Which process of the node this is: drawn when it was started.
    pub process: u64,
    /// How often that process has lost the leadership of a group that it had put to sleep.
    pub lost: u64,
}

/// A node that wants to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its name.
    pub name: String,
    /// Drawn once.
    pub token: u128,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The newest version of commands that it can apply.
    pub apply_version: u16,
}

/// Which chunk of a snapshot is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The group.
    pub group: GroupId,
    /// The replica that is sent it.
    pub to: ReplicaId,
    /// The snapshot.
    pub snapshot: u128,
    /// The number of the chunk, from 0.
    pub number: u32,
    /// The cursor that came with the chunk before; empty for the first.
    #[serde(with = "serde_bytes")]
    pub after: Vec<u8>,
}

/// A chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedChunk {
    /// The group.
    pub group: GroupId,
    /// The snapshot.
    pub snapshot: u128,
    /// The number of the chunk.
    pub number: u32,
    /// The chunk; `None` when the sender no longer has the snapshot.
    pub chunk: Option<SentChunk>,
}

/// What is in a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentChunk {
    /// Its bytes, with a checksum of their own.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The cursor to ask for the next; `None` when this is the last.
    pub next: Option<Vec<u8>>,
}

/// What a node holds and can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was sent, by the sender's clock.
    pub sent_at: Instant,
    /// Drawn by the sender's process when it was started.
    pub process: u64,
    /// How far the sender has applied the meta group's log.
    pub meta_applied: u64,
    /// The newest version of commands that the sender can apply.
    pub apply_version: u16,
    /// The replicas of which something is new since the last report that was heard.
    pub replicas: Vec<ReplicaReport>,
}

/// A replica, as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// The life of the group that it is in.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: u64,
    /// What it is.
    pub role: Role,
    /// The end of its log.
    pub last: LogPoint,
    /// How far it has applied the log.
    pub applied: u64,
    /// The configuration as of then.
    pub config: GroupConfig,
    /// Whether a snapshot is being put in the place of its state.
    pub is_installing: bool,
    /// Where its log ended when it was forced, if it was.
    pub fork: Option<LogPoint>,
    /// Whether it takes no part any more, since its group goes on in another life: its log has ended for good.
    pub is_superseded: bool,
    /// Why it had to stop.
    pub halted: Option<String>,
}

/// The answer to a report: a majority of the meta group followed whoever answers after the report had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The report's [`Report::sent_at`].
    pub sent_at: Instant,
    /// The term of the meta group whose leader answers.
    pub term: u64,
    /// Up to where the meta group had committed: whoever has applied that knows all that was decided by then.
    pub meta_committed: u64,
    /// Whether whoever answers vouches for the receiver as a leader of one-leader mode: nobody will be put in the
    /// receiver's place before the agreed delay has passed.
    pub is_vouched: bool,
    /// Whether the receiver is to report all its replicas anew.
    pub wants_all: bool,
}

/// Bytes that are not an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Of another version.
    #[error("a message between nodes has version {found}, and this version speaks {WIRE_VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
    /// Not what it can be.
    #[error("a message between nodes cannot be read: {0}")]
    Form(String),
}

impl Envelope {
    /// Its bytes.
    ///
    /// # Errors
    /// [`Malformed::Form`], which nothing that is sent causes.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        postcard::to_extend(self, vec![WIRE_VERSION]).map_err(|error| Malformed::Form(error.to_string()))
    }

    /// What bytes say. The caller bounds their number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((&WIRE_VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| Malformed::Form(error.to_string()))
            }
            Some((&found, _)) => Err(Malformed::Version { found }),
            None => Err(Malformed::Form("it is empty".to_owned())),
        }
    }
}
