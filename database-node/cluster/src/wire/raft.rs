//! What replicas of a group say to each other. The types of the consensus library are made of these after checks, and
//! never of bytes.

use pliantdb_core::GroupId;
use raft::eraftpb::{self, EntryType, MessageType};
use serde::{Deserialize, Serialize};

use crate::group::config::Members;
use crate::ids::{Incarnation, LogPoint, ReplicaId};
use crate::timing::Instant;

/// A message between two replicas of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftMessage {
    /// The group.
    pub group: GroupId,
    /// The life of the group in which the sender is.
    pub incarnation: Incarnation,
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// The sender's term; of a pre-vote the one it would have.
    pub term: u64,
    /// From a leader: when it sent this. To a leader: the latest of those that the sender has heard of in this term.
    pub stamp: Option<Stamp>,
    /// What it says.
    pub body: Body,
}

/// A moment in the life of a leader. A replica gives it back, and so confirms that it followed the leader then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// When the leader sent it, by the leader's own clock.
    pub sent_at: Instant,
    /// Up to where the leader had committed.
    pub committed: u64,
    /// To a leader: when the replica sent this, by its own clock. From a leader that nobody can have replaced: the latest
    /// such moment that it has heard of, so the replica knows as of when what it is told is true.
    pub asked_at: Option<Instant>,
}

/// What a replica says to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A leader's entries behind a point of its log.
    Append {
        /// The entry before them.
        previous: LogPoint,
        /// The entries, without a gap.
        entries: Vec<WireEntry>,
        /// Up to where the leader has committed.
        commit: u64,
    },
    /// The answer to [`Body::Append`].
    Appended {
        /// The last index that both have, or where they differ.
        index: u64,
        /// Up to where the sender has committed.
        commit: u64,
        /// Set when it did not fit: where the leader should try next.
        rejected: Option<Rejected>,
    },
    /// A request for a vote.
    Vote {
        /// Whether it only asks what the answer would be.
        is_pre_vote: bool,
        /// The end of the candidate's log.
        last: LogPoint,
        /// The last committed entry that the candidate knows of.
        committed: LogPoint,
        /// Whether the leader itself asked for this election.
        is_transfer: bool,
    },
    /// The answer to [`Body::Vote`].
    Voted {
        /// As asked.
        is_pre_vote: bool,
        /// Whether the vote is given.
        is_granted: bool,
        /// The last committed entry that the sender knows of; given when the vote is not.
        committed: LogPoint,
    },
    /// A leader is alive.
    Heartbeat {
        /// Up to where the receiver may commit.
        commit: u64,
    },
    /// The answer to [`Body::Heartbeat`].
    HeartbeatAnswer {
        /// Up to where the sender has committed.
        commit: u64,
    },
    /// The receiver lacks entries that the leader no longer has: it is to fetch a snapshot from the sender.
    Snapshot {
        /// Which one: what to ask for.
        snapshot: u128,
        /// The last entry that is in it.
        at: LogPoint,
        /// Who is in the group as of then.
        members: Members,
    },
    /// The leader hands over: the receiver is to stand for election at once.
    TimeoutNow,
}

/// Where the logs of a leader and another replica may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The last index that may fit.
    pub hint: u64,
    /// The term of the receiver's entry there.
    pub hint_term: u64,
    /// Not 0: a snapshot is wanted that has at least this index.
    pub request_snapshot: u64,
}

/// An entry of a group's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireEntry {
    /// Its term. Its index follows from its place.
    pub term: u64,
    /// Whether it changes the members of the group.
    pub is_membership: bool,
    /// An encoded [`crate::group::payload::Payload`]; empty for the first entry of a leader.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

impl WireEntry {
    pub(crate) fn of(entry: eraftpb::Entry) -> Self {
        let is_membership = entry.get_entry_type() != EntryType::EntryNormal;
        Self {
            term: entry.term,
            is_membership,
            payload: match is_membership {
                // What the library keeps in `data` is for its own check at the leader; ours is here.
                true => entry.context.to_vec(),
                false => entry.data.to_vec(),
            },
        }
    }

    pub(crate) fn into_raft(self, index: u64) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry {
            term: self.term,
            index,
            ..eraftpb::Entry::default()
        };
        match self.is_membership {
            true => {
                entry.set_entry_type(EntryType::EntryConfChangeV2);
                entry.context = self.payload.into();
            }
            false => entry.data = self.payload.into(),
        }
        entry
    }
}

/// What the library says when a leader asks for an election.
const TRANSFER: &[u8] = b"CampaignTransfer";

impl RaftMessage {
    /// A message of the library as one of ours; none of those that stay within a replica.
    pub(crate) fn of(
        group: GroupId,
        incarnation: Incarnation,
        stamp: Option<Stamp>,
        mut message: eraftpb::Message,
    ) -> Option<Self> {
        let point = |index, term| LogPoint { index, term };
        let kind = message.get_msg_type();
        let body = match kind {
            MessageType::MsgAppend => Body::Append {
                previous: point(message.index, message.log_term),
                entries: message.take_entries().into_iter().map(WireEntry::of).collect(),
                commit: message.commit,
            },
            MessageType::MsgAppendResponse => Body::Appended {
                index: message.index,
                commit: message.commit,
                rejected: (message.reject || message.request_snapshot != 0).then_some(Rejected {
                    hint: message.reject_hint,
                    hint_term: message.log_term,
                    request_snapshot: message.request_snapshot,
                }),
            },
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => Body::Vote {
                is_pre_vote: kind == MessageType::MsgRequestPreVote,
                last: point(message.index, message.log_term),
                committed: point(message.commit, message.commit_term),
                is_transfer: message.context.as_ref() == TRANSFER,
            },
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => Body::Voted {
                is_pre_vote: kind == MessageType::MsgRequestPreVoteResponse,
                is_granted: !message.reject,
                committed: point(message.commit, message.commit_term),
            },
            MessageType::MsgHeartbeat => Body::Heartbeat {
                commit: message.commit,
            },
            MessageType::MsgHeartbeatResponse => Body::HeartbeatAnswer {
                commit: message.commit,
            },
            MessageType::MsgSnapshot => {
                let snapshot = message.get_snapshot();
                let metadata = snapshot.get_metadata();
                Body::Snapshot {
                    snapshot: u128::from_be_bytes(snapshot.get_data().try_into().ok()?),
                    at: point(metadata.index, metadata.term),
                    members: Members::of(metadata.get_conf_state()),
                }
            }
            MessageType::MsgTimeoutNow => Body::TimeoutNow,
            _ => return None,
        };
        Some(Self {
            group,
            incarnation,
            from: ReplicaId::from_raft(message.from),
            to: ReplicaId::from_raft(message.to),
            term: message.term,
            stamp,
            body,
        })
    }

    /// Takes in what follows it on its way to the same replica, where one message says what both do: entries that continue
    /// its own, up to so many bytes, or an answer to later ones. Else gives it back.
    ///
    /// Whoever appends both after each other has what it has by the one, and answers once; and an answer to a later message of
    /// the same term says what the one before did, with the later stamp.
    pub fn take_in(&mut self, next: Self, most_bytes: u64) -> Option<Self> {
        let of = |message: &Self| {
            (
                message.group,
                message.incarnation,
                message.from,
                message.to,
                message.term,
            )
        };
        if of(self) != of(&next) {
            return Some(next);
        }
        match (&mut self.body, &next.body) {
            (
                Body::Append {
                    previous,
                    entries,
                    commit,
                },
                Body::Append {
                    previous: next_previous,
                    entries: next_entries,
                    commit: next_commit,
                },
            ) => {
                let last = LogPoint {
                    index: previous.index + entries.len() as u64,
                    term: entries.last().map_or(previous.term, |entry| entry.term),
                };
                let bytes = |entries: &[WireEntry]| -> usize {
                    entries.iter().map(|entry| entry.payload.len()).sum()
                };
                let fits = || (bytes(entries) + bytes(next_entries)) as u64 <= most_bytes;
                if last != *next_previous || next_commit < commit || !fits() {
                    return Some(next);
                }
                let Body::Append {
                    entries: next_entries,
                    commit: next_commit,
                    ..
                } = next.body
                else {
                    return Some(next);
                };
                entries.extend(next_entries);
                *commit = next_commit;
            }
            (
                Body::Appended {
                    index,
                    commit,
                    rejected: None,
                },
                Body::Appended {
                    index: next_index,
                    commit: next_commit,
                    rejected: None,
                },
            ) if next_index >= index && next_commit >= commit => {
                (*index, *commit) = (*next_index, *next_commit);
            }
            _ => return Some(next),
        }
        self.stamp = next.stamp.or(self.stamp);
        None
    }

    /// As the library takes it.
    pub(crate) fn into_raft(self) -> eraftpb::Message {
        let mut message = eraftpb::Message {
            from: self.from.to_raft(),
            to: self.to.to_raft(),
            term: self.term,
            ..eraftpb::Message::default()
        };
        let kind = match self.body {
            Body::Append {
                previous,
                entries,
                commit,
            } => {
                (message.index, message.log_term, message.commit) = (previous.index, previous.term, commit);
                let indexes = previous.index + 1..;
                let entries = indexes.zip(entries).map(|(index, entry)| entry.into_raft(index));
                message.entries = entries.collect::<Vec<_>>().into();
                MessageType::MsgAppend
            }
            Body::Appended {
                index,
                commit,
                rejected,
            } => {
                (message.index, message.commit) = (index, commit);
                if let Some(rejected) = rejected {
                    message.reject = true;
                    (message.reject_hint, message.log_term) = (rejected.hint, rejected.hint_term);
                    message.request_snapshot = rejected.request_snapshot;
                }
                MessageType::MsgAppendResponse
            }
            Body::Vote {
                is_pre_vote,
                last,
                committed,
                is_transfer,
            } => {
                (message.index, message.log_term) = (last.index, last.term);
                (message.commit, message.commit_term) = (committed.index, committed.term);
                if is_transfer {
                    message.context = TRANSFER.into();
                }
                match is_pre_vote {
                    true => MessageType::MsgRequestPreVote,
                    false => MessageType::MsgRequestVote,
                }
            }
            Body::Voted {
                is_pre_vote,
                is_granted,
                committed,
            } => {
                message.reject = !is_granted;
                (message.commit, message.commit_term) = (committed.index, committed.term);
                match is_pre_vote {
                    true => MessageType::MsgRequestPreVoteResponse,
                    false => MessageType::MsgRequestVoteResponse,
                }
            }
            Body::Heartbeat { commit } => {
                message.commit = commit;
                MessageType::MsgHeartbeat
            }
            Body::HeartbeatAnswer { commit } => {
                message.commit = commit;
                MessageType::MsgHeartbeatResponse
            }
            Body::Snapshot {
                snapshot,
                at,
                members,
            } => {
                message.set_snapshot(raft_snapshot(snapshot, at, &members));
                MessageType::MsgSnapshot
            }
            Body::TimeoutNow => MessageType::MsgTimeoutNow,
        };
        message.set_msg_type(kind);
        message
    }
}

/// A snapshot as the library knows it: where it stands, and which it is.
pub(crate) fn raft_snapshot(snapshot: u128, at: LogPoint, members: &Members) -> eraftpb::Snapshot {
    let mut made = eraftpb::Snapshot {
        data: snapshot.to_be_bytes().to_vec().into(),
        ..eraftpb::Snapshot::default()
    };
    let metadata = made.mut_metadata();
    (metadata.index, metadata.term) = (at.index, at.term);
    metadata.set_conf_state(members.to_raft());
    made
}
