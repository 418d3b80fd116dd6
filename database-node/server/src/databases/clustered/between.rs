//! What the servers of a cluster say to each other.

use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::node::Mark;
use pliantdb_cluster_transport::MAX_REQUEST;
use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{
    Consistency, Error, GroupId, Message, Operation, Outcome, Position, Rejection, Request, RequestId,
    Response,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::SharedSession;

/// The version of what is asked and answered.
const VERSION: u8 = 1;

/// What one asks another. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Question {
    /// To do something that this one cannot. Whoever asks has been allowed to. [`Told::Done`].
    Do(Errand),
    /// How far a group has come, by its leader: whoever has applied that has everything that anybody was told of before.
    /// [`Told::Mark`].
    Mark {
        /// The group.
        group: GroupId,
    },
    /// To hand a message to those who subscribe to it there. [`Told::Count`].
    Publish {
        /// The group of the database in which it was published.
        group: GroupId,
        /// The message.
        message: Message,
    },
    /// How much of the meta group's log is applied there. [`Told::Applied`].
    Applied,
    /// To wait until so much of it is. [`Told::Applied`].
    Apply {
        /// How much.
        index: u64,
    },
    /// To have an operation carried out that was made on another node. [`Told::Proposed`].
    Propose {
        /// The group.
        group: GroupId,
        /// The operation.
        operation: Operation,
    },
    /// For the session that is known by that, if it goes on there. [`Told::Session`].
    Session {
        /// By what it is known.
        hash: [u8; 32],
    },
    /// To keep a session that has begun elsewhere. [`Told::Count`].
    KeepSession {
        /// By what it is known.
        hash: [u8; 32],
        /// The session.
        session: SharedSession,
    },
    /// To end a session. [`Told::Count`].
    EndSession {
        /// By what it is known.
        hash: [u8; 32],
    },
    /// To read from a snapshot that is held there. [`Told::Done`].
    ReadSnapshot {
        /// Which.
        number: u64,
        /// What.
        request: Request,
    },
    /// To let go of it. [`Told::Count`].
    EndSnapshot {
        /// Which.
        number: u64,
    },
    /// To hold it for as long as it may live, for whoever asked for it has heard of it. [`Told::Count`].
    HoldSnapshot {
        /// Which.
        number: u64,
    },
}

impl Question {
    /// Whether it may be large, or take long: others do not wait for such ones.
    pub(super) fn is_errand(&self) -> bool {
        matches!(
            self,
            Self::Do(_)
                | Self::Propose { .. }
                | Self::Publish { .. }
                | Self::ReadSnapshot { .. }
                | Self::Apply { .. }
        )
    }
}

/// Something to do by another node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    /// The group of the database.
    pub(super) group: GroupId,
    /// What.
    pub(super) work: Work,
    /// By what a write is known.
    pub(super) id: Option<RequestId>,
    /// How fresh what is read has to be.
    pub(super) consistency: Consistency,
}

/// What is done by one node of the group.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "nearly all are requests")]
pub(super) enum Work {
    /// A request.
    Request(Request),
    /// To give the database a schema.
    Define(SchemaOffer),
    /// To say which schema it has.
    Schema,
    /// To take a snapshot, and hold it for whoever asks.
    Snapshot,
}

impl Work {
    /// Whether only the node that leads can do it.
    pub(super) fn is_led(&self) -> bool {
        match self {
            Self::Request(request) => {
                request.is_write() || matches!(request, Request::DeleteMatching(_) | Request::Call { .. })
            }
            Self::Define(_) => true,
            Self::Schema | Self::Snapshot => false,
        }
    }

    /// Whether the proposal itself tells that this node leads.
    pub(super) fn is_one_write(&self) -> bool {
        matches!(self, Self::Request(request) if request.is_write())
    }

    /// The same, of which a feed waits for changes no longer than that.
    pub(super) fn waiting_at_most(mut self, most: Duration) -> Self {
        if let Self::Request(Request::Changes { wait, .. }) = &mut self {
            *wait = most.min(*wait);
        }
        self
    }

    /// Whether it may be done again when nobody knows whether it was done.
    pub(super) fn can_be_repeated(&self, id: Option<RequestId>) -> bool {
        match self {
            Self::Request(request) if request.is_write() => id.is_some(),
            Self::Request(request) => request.can_be_repeated(),
            Self::Define(_) | Self::Schema | Self::Snapshot => true,
        }
    }
}

/// What came of some work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "nearly all are responses")]
pub(super) enum Product {
    Response(Response),
    Defined,
    Schema(Option<SchemaOffer>),
    /// Which node holds it, and under which number.
    Snapshot(NodeId, u64),
}

/// What is answered. New kinds are added at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "nearly all are products")]
pub(super) enum Told {
    Done(Result<Product, Error>, Option<Position>),
    Mark(Mark),
    Count(u64),
    Applied(u64),
    /// Another leads, as far as is known. It was not done.
    Elsewhere(Option<NodeId>),
    /// Not now, and why. It was not done.
    Later(String),
    /// Nobody knows whether it was done.
    Unknown(String),
    Proposed(Result<Outcome, Rejection>),
    Session(Option<SharedSession>),
    /// The session was ended: whoever still has it has not heard of that.
    SessionEnded,
}

/// That an answer is too large for the way between nodes.
pub(super) fn answer_too_large(length: usize) -> Error {
    Error::AnswerTooLarge {
        length: length as u64,
        limit: MAX_REQUEST as u64,
    }
}

/// As bytes, with the version before.
pub(super) fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    postcard::to_extend(value, vec![VERSION])
        .map(Bytes::from)
        .map_err(Error::invalid)
}

/// From bytes that another node has sent.
///
/// # Errors
/// What is wrong with them.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("it has version {version}, and this node knows {VERSION}")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use pliantdb_core::access::examples;
    use pliantdb_core::protocol::Ask;

    use super::*;

    #[test]
    fn every_request_comes_as_it_was_sent() {
        let mut requests = 0;
        for (ask, _) in examples::table() {
            let Ask::Request { request, .. } = ask else {
                continue;
            };
            let errand = Errand {
                group: GroupId::new(7),
                work: Work::Request(request.clone()),
                id: None,
                consistency: Consistency::default(),
            };
            let read: Question = decode(&encode(&Question::Do(errand)).unwrap()).unwrap();
            assert!(
                matches!(read, Question::Do(Errand { work: Work::Request(read), .. }) if read == request)
            );
            requests += 1;
        }
        assert!(requests > 15);
        assert!(
            decode::<Question>(&[]).is_err()
                && decode::<Question>(&[9, 1]).unwrap_err().contains("version 9")
        );
    }
}
