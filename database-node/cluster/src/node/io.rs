//! What goes into a node, and what comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_core::{Error, GroupId, Operation, Rejection, Request, Response};
use pliantdb_core::{Outcome, Timestamp};
use pliantdb_storage::store::Batch;

use crate::applier::{Done, Task};
use crate::group::Halt;
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};
use crate::meta::{Consent, MetaCommand, MetaOutcome, MetaRejection};
use crate::timing::Timing;
use crate::wire::raft::WireEntry;
use crate::wire::{Envelope, Peer};

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, when it founds or joins a cluster.
    pub name: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The newest version of commands that it can apply.
    pub apply_version: u16,
    /// Drawn at random for each start: elections and the ids of snapshots come of it, and one start is told from another
    /// by it.
    pub seed: u64,
    /// How long things may take.
    pub timing: Timing,
    /// How much is kept and sent.
    pub limits: Limits,
}

/// How much is kept and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// When a group has applied so many entries more than survive a crash, everything is flushed.
    pub flush_entries: u64,
    /// The same when so many bytes were applied, of all groups together: after a crash they are applied again.
    pub flush_bytes: u64,
    /// About so many bytes of commands are given to the applier at most, of all groups together; what is committed beyond
    /// that waits in the log. A group of which nothing is under way may have a 256th of it more.
    pub apply_bytes: u64,
    /// About so many bytes of each group's committed entries wait in memory until they are given to the applier; more are
    /// read from the log again.
    pub held_bytes: u64,
    /// So many entries that are applied for good are kept for replicas that are behind; those that are further behind
    /// get a snapshot.
    pub tail_entries: u64,
    /// About how many bytes of a snapshot are sent at once.
    pub chunk_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flush_entries: 16_384,
            flush_bytes: 256 << 20,
            apply_bytes: 64 << 20,
            held_bytes: 4 << 20,
            tail_entries: 8_192,
            chunk_bytes: 256 << 10,
        }
    }
}

/// Something that happens to a node.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed: to be called at least once a tick.
    Tick,
    /// A message has come.
    Receive(Envelope),
    /// Everything up to a batch is in the log for good.
    Persisted(u64),
    /// A task is done.
    Done(Done),
    /// How much room there is on the disks of this node. What the node itself has to write to go on goes into what is kept
    /// free for that. As long as it is not enough, to be told again now and then: applied entries of logs are then let go of.
    Space(Room),
    /// Somebody asks for something.
    Ask {
        /// What it is known by, chosen by whoever drives the node; no two that wait for an answer have the same.
        token: u64,
        /// What.
        ask: Ask,
    },
}

/// How much room there is on the disks of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Clients write nothing.
    None,
    /// Clients write only what frees some.
    Little,
    /// Enough.
    #[default]
    Enough,
}

/// What can be asked of a node.
#[derive(Debug, Clone)]
pub enum Ask {
    /// To write.
    Write {
        /// The group that has it.
        group: GroupId,
        /// What to write.
        operation: Operation,
    },
    /// To read.
    Read {
        /// The group that has it.
        group: GroupId,
        /// What to read.
        request: Request,
        /// How fresh.
        freshness: Freshness,
    },
    /// To read the state of this node's replica without the node, once it is fresh enough: [`Answer::Ready`]. Whatever is
    /// read then is as fresh as was asked for at the moment of this question.
    Await {
        /// The group that has it.
        group: GroupId,
        /// How fresh.
        freshness: Freshness,
    },
    /// To change the cluster.
    Change(MetaCommand),
    /// To replace a leader that is gone, or groups that cannot elect one: what others have and the chosen replicas have
    /// not is lost.
    Force {
        /// The node that leads from now on; `None` in quorum mode.
        leader: Option<NodeId>,
        /// What makes it permissible.
        consent: Consent,
    },
    /// To hand over whatever this node leads, for its process is about to stop: [`Answer::SteppedAside`] when that is done,
    /// or did not come about within some seconds. From then on it hands over again whatever it comes to lead, until it is
    /// stopped. In one-leader mode another leads the databases only if a leader that is gone is replaced by itself: then
    /// by a promotion, which loses nothing, and for which there must be time.
    StepAside {
        /// How long whoever asks waits for the answer, and the process goes on meanwhile.
        within: Duration,
    },
    /// To go on with this node alone when the meta group cannot elect a leader any more.
    ForceMeta {
        /// What makes it permissible.
        consent: Consent,
    },
}

/// How fresh an answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As fresh as if there were one copy only: everything that anybody was told of before. By the leader.
    Linearizable,
    /// The same, resting on a majority that is asked, and on no clock.
    Quorum,
    /// At least as fresh as an answer that was given before, by any replica: whoever wrote reads what it wrote.
    AtLeast(Mark),
    /// Not older than this, by any replica.
    Within(Duration),
}

/// How far a group had come when it gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// In which life.
    pub incarnation: Incarnation,
    /// Of a write, the term of the entry that made it; of a read, the term in which it was answered. When a group is
    /// forced, what is behind the fork is lost, and whatever is of a later term than the fork's.
    pub term: u64,
    /// Up to which entry.
    pub index: u64,
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A write was made or rejected, by this entry.
    Written {
        /// Where in the log: for [`Freshness::AtLeast`].
        at: Mark,
        /// What it came to.
        result: Result<Outcome, Rejection>,
    },
    /// What was read.
    Read {
        /// Up to which entry the answer goes.
        at: Mark,
        /// The answer.
        result: Result<Response, Error>,
    },
    /// The replica here is fresh enough.
    Ready {
        /// Up to which entry it has applied, at least: what is read afterwards may be of later ones.
        at: Mark,
    },
    /// This node has handed over what it led, and whoever waited for a write that it had proposed is answered.
    SteppedAside {
        /// How many groups it leads still, since no other voter could take over.
        kept: usize,
    },
    /// What came of a change of the cluster.
    Changed(Result<MetaOutcome, MetaRejection>),
    /// It was not done here.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another node leads the group, if one does.
    #[error("this node does not lead the group; {}", leader.map_or_else(|| "no leader is known".to_owned(), |node| format!("node {node} does")))]
    NotLeader {
        /// Which, as far as is known.
        leader: Option<NodeId>,
    },
    /// It may have been done, or may yet be: ask again with the same request id.
    #[error("whether it was done is not known: the leader changed meanwhile")]
    Unknown,
    /// There is no such group here.
    #[error("this node has no replica of group {0}")]
    UnknownGroup(GroupId),
    /// Not now.
    #[error("{0}; try again soon")]
    Busy(&'static str),
    /// The leader's disk is nearly full. Reads go on.
    #[error(
        "the disk of the node that leads the group is nearly full; make room there, or let another node lead"
    )]
    DiskFull,
    /// The replica is behind.
    #[error("the replica is {behind:?} behind or more, and at most {allowed:?} was asked for")]
    Stale {
        /// By how much, at least.
        behind: Duration,
        /// How much was asked for.
        allowed: Duration,
    },
    /// What was to be read at least belongs to a life of the group that is over: it may be lost.
    #[error("the group was forced since that answer, in {now}: what it told of may be lost")]
    OtherLife {
        /// The life that the group is in here.
        now: Incarnation,
    },
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Halted(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Impossible(String),
}

/// What a node wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// To be written to the log, in order, and answered by [`Input::Persisted`]. Several may share a sync.
    Persist {
        /// Its number, one more than that of the last.
        number: u64,
        /// What is to be written.
        batch: Batch,
        /// Whether it must be synced; else it is only to be in order.
        must_sync: bool,
    },
    /// To be given to the applier, in order, whose word comes back as [`Input::Done`].
    Run(Task),
    /// To be sent. It may get lost.
    Send {
        /// To whom.
        to: Peer,
        /// What.
        envelope: Envelope,
    },
    /// The answer to what was asked.
    Reply {
        /// As asked.
        token: u64,
        /// The answer.
        answer: Answer,
    },
    /// Something that an owner or a test wants to know of.
    Event(Event),
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This node is part of the cluster now.
    Joined(NodeId),
    /// It could not join.
    CannotJoin(String),
    /// A replica leads.
    BecameLeader {
        /// Of which group.
        group: GroupId,
        /// In which life.
        incarnation: Incarnation,
        /// In which term.
        term: u64,
    },
    /// A replica had to stop.
    Halted {
        /// Of which group.
        group: GroupId,
        /// Why.
        halt: Halt,
    },
    /// A replica goes on alone.
    Forced {
        /// Of which group.
        group: GroupId,
        /// In which life from now on.
        incarnation: Incarnation,
        /// The end of its log.
        fork: LogPoint,
    },
    /// A replica was removed; what it had beyond the fork of a forced group is to be kept for inspection.
    Removed {
        /// Of which group.
        group: GroupId,
        /// Which.
        replica: ReplicaId,
        /// What is lost, from this index on.
        from: u64,
        /// The entries.
        tail: Vec<WireEntry>,
    },
    /// A group that was forced goes on in this life for good; one that was forced on it before and is not told of so was
    /// given up, and nobody was answered in that life.
    ForceConfirmed {
        /// The group.
        group: GroupId,
        /// Its life.
        incarnation: Incarnation,
    },
    /// A change of mode or leader was begun, given up or completed.
    Switch {
        /// Which.
        id: Epoch,
        /// What became of it.
        phase: SwitchPhase,
    },
    /// A snapshot was put in place.
    Installed {
        /// Of which group.
        group: GroupId,
        /// Where it stands.
        at: LogPoint,
        /// The time of its last command.
        timestamp: Timestamp,
    },
    /// The steady clock of another node runs out of bound against this node's, which of the two is wrong nobody knows: no
    /// lease rests on it.
    ClockDrift {
        /// Which node.
        node: NodeId,
        /// By how much it runs faster, or slower if negative, in parts per million: at least so much was measured.
        ppm: i64,
    },
    /// The log cannot be written any more: the node is of no use until it is started again.
    LogFailed(String),
}

/// How far a switch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchPhase {
    /// Begun.
    Begun,
    /// Given up.
    Aborting,
    /// Ended: where it led to, or back.
    Ended,
}
