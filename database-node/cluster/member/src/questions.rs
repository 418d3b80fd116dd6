//! What nodes ask each other beside consensus.

use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::meta::{Consent, MetaCommand, MetaOutcome, MetaRejection};
use pliantdb_cluster::node::{Answer, Ask, Refusal};
use pliantdb_cluster::wire::ReplicaReport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The version of what is asked and answered.
const VERSION: u8 = 1;

/// A question to another node: to the one that leads the meta group, where it says no other. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// To change the cluster.
    Change(MetaCommand),
    /// To replace a leader that is gone, or groups that cannot elect one.
    Force {
        /// The node that leads from now on.
        leader: Option<NodeId>,
        /// What makes it permissible.
        consent: Consent,
    },
    /// How all nodes are.
    Overview,
    /// Of one that has the authority: a certificate for whoever asks.
    Certify {
        /// The signing request.
        request: Vec<u8>,
    },
    /// Of one that has the authority: a token for a node that is to join.
    MakeToken {
        /// For how long it is good.
        lifetime: Duration,
    },
    /// Of one that has it: the authority itself, for a node that is to have it.
    Authority,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// How one of the nodes is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) node: NodeId,
    /// For how long it was not heard.
    pub(crate) silent: Duration,
    pub(crate) replicas: Vec<ReplicaReport>,
}

/// What comes of a question. New kinds are added at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done(MetaOutcome),
    Overview(Vec<Seen>),
    /// Another leads.
    NotLeader(Option<NodeId>),
    /// Not now.
    Busy(String),
    /// It may have been done.
    Unknown,
    /// It cannot be done.
    Rejected(String),
    /// Both in PEM.
    Certificate {
        certificate: String,
        authority: String,
    },
    /// The token's text.
    Token(Hidden),
    /// Both in PEM.
    Authority {
        certificate: String,
        key: Hidden,
    },
    /// The node has not what is asked for; another may.
    NotHere(String),
    /// The meta group has refused it.
    Refused(MetaRejection),
    /// A change was made, and is in that entry of the meta group's log or one before it. It goes as [`Reply::Done`] with the
    /// number behind it, of which nodes of the version before read the first part.
    Changed(MetaOutcome, u64),
}

impl Reply {
    /// Why it is not what was asked for.
    pub(crate) fn refusal(&self) -> String {
        match self {
            Self::Rejected(reason) | Self::Busy(reason) | Self::NotHere(reason) => reason.clone(),
            _ => "the node answered something else".to_owned(),
        }
    }
}

impl Question {
    /// What the node is asked for it; `None` for what is looked up.
    pub(crate) fn ask(self) -> Option<Ask> {
        match self {
            Self::Change(command) => Some(Ask::Change(command)),
            Self::Force { leader, consent } => Some(Ask::Force { leader, consent }),
            Self::Overview | Self::Certify { .. } | Self::MakeToken { .. } | Self::Authority => None,
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Changed(Ok(outcome)) => Self::Done(outcome),
            Answer::Changed(Err(rejection)) => Self::Refused(rejection),
            Answer::Refused(Refusal::NotLeader { leader }) => Self::NotLeader(leader),
            Answer::Refused(Refusal::Unknown) => Self::Unknown,
            Answer::Refused(refusal @ (Refusal::Busy(_) | Refusal::DiskFull)) => {
                Self::Busy(refusal.to_string())
            }
            Answer::Refused(refusal) => Self::Rejected(refusal.to_string()),
            Answer::Written { .. }
            | Answer::Read { .. }
            | Answer::Ready { .. }
            | Answer::SteppedAside { .. } => Self::Rejected("the node answered something else".to_owned()),
        }
    }
}

/// As bytes, with the version before.
pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    // Writing plain types to memory does not fail; whoever reads nothing refuses it.
    postcard::to_extend(value, vec![VERSION])
        .unwrap_or_default()
        .into()
}

/// A reply as bytes.
pub(crate) fn encode_reply(reply: Reply) -> Bytes {
    match reply {
        Reply::Changed(outcome, at) => {
            let done = encode(&Reply::Done(outcome)).to_vec();
            postcard::to_extend(&at, done).unwrap_or_default().into()
        }
        reply => encode(&reply),
    }
}

/// A reply from bytes that another node has sent.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn decode_reply(bytes: &[u8]) -> Result<Reply, String> {
    let (reply, rest) = take(bytes)?;
    Ok(match (reply, postcard::from_bytes(rest)) {
        (Reply::Done(outcome), Ok(at)) => Reply::Changed(outcome, at),
        (reply, _) => reply,
    })
}

/// From bytes that another node has sent.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    take(bytes).map(|(value, _)| value)
}

/// The same, with what comes behind it.
fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("it has version {version}, and this node knows {VERSION}")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_behind_a_reply_is_no_matter_to_the_version_before() {
        let done = || Reply::Done(MetaOutcome::Done);
        let bytes = encode_reply(Reply::Changed(MetaOutcome::Done, 300));
        assert_eq!(decode::<Reply>(&bytes), Ok(done()), "the version before");
        assert_eq!(decode_reply(&bytes), Ok(Reply::Changed(MetaOutcome::Done, 300)));
        assert_eq!(
            decode_reply(&encode(&done())),
            Ok(done()),
            "of the version before"
        );
        for other in [
            Reply::Unknown,
            Reply::NotLeader(None),
            Reply::Busy("b".to_owned()),
        ] {
            assert_eq!(decode_reply(&encode_reply(other.clone())), Ok(other));
        }
    }
}
