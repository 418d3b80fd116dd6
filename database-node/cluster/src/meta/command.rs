//! What changes the meta group, and what comes of it.

use std::collections::BTreeMap;

use pliantdb_core::access::AccountsChange;
use pliantdb_core::{DatabaseName, GroupId, Rejection, SlotCount};
use serde::{Deserialize, Serialize};

use super::{Failover, Mode};
use crate::ids::{Epoch, LogPoint, NodeId, ReplicaId};

/// A change of what the meta group knows. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaCommand {
    /// A node joins.
    AddNode {
        /// Its name.
        name: String,
        /// Drawn by it once; the same again is the same node.
        token: u128,
        /// Its attributes.
        attributes: BTreeMap<String, String>,
        /// The newest version of commands that it can apply.
        apply_version: u16,
    },
    /// What a node can apply has changed.
    SetApplyVersion {
        /// The node.
        node: NodeId,
        /// The newest version of commands that it can apply.
        apply_version: u16,
    },
    /// A node is to hold data no longer, or again.
    SetDraining {
        /// The node.
        node: NodeId,
        /// Whether it drains.
        is_draining: bool,
    },
    /// A node leaves: one that holds nothing any more, or one that is gone for ever.
    RemoveNode {
        /// The node.
        node: NodeId,
        /// Whether it is gone with what it holds. It must never come back.
        is_lost: bool,
    },
    /// Makes a database of one shard.
    CreateDatabase {
        /// Its name.
        name: DatabaseName,
        /// Its slots.
        slots: SlotCount,
    },
    /// Begins to change the mode, or the leader.
    Switch {
        /// Where it leads.
        to: Mode,
    },
    /// Gives up the change that is under way.
    AbortSwitch {
        /// Which.
        switch: Epoch,
    },
    /// A group is as wanted.
    Settled {
        /// The group.
        group: GroupId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// Sets what happens when the leader is gone.
    SetFailover(Failover),
    /// Sets on how many nodes the data of a group is in quorum mode.
    SetReplicationFactor(u8),
    /// A replica has lost its log or its data: another takes its place.
    ReplaceReplica {
        /// Its group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Groups go on with one replica each, whatever others had.
    Force(Force),
    /// Another replica of the life before goes on, for the one that was forced is gone or lacks something. Nothing was
    /// acknowledged in its life.
    ForceAnother {
        /// The group.
        group: GroupId,
        /// The epoch in which it was forced; void when that has been confirmed, or something was decided since.
        epoch: Epoch,
        /// The replica.
        replica: ReplicaId,
        /// The end of its log.
        fork: LogPoint,
        /// The node that was to lead in one-leader mode, when it is gone: the replica's leads in its place.
        gone: Option<NodeId>,
    },
    /// A forced replica was seen to go on.
    ConfirmForce {
        /// The group.
        group: GroupId,
        /// The epoch in which it was forced.
        epoch: Epoch,
    },
    /// The leader is known to go by the lease that automatic failover rests on.
    ArmFailover {
        /// The entry that it had to know of.
        as_of: u64,
    },
    /// Deletes a database with all that it has.
    DeleteDatabase {
        /// Its name.
        name: DatabaseName,
    },
    /// Changes who may use the cluster.
    ChangeAccounts(AccountsChange),
    /// A node has other attributes than when it joined.
    SetAttributes {
        /// The node.
        node: NodeId,
        /// All of them.
        attributes: BTreeMap<String, String>,
    },
}

/// How groups are forced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Force {
    /// The epoch as of which this was decided. If anything was decided since, a switch begun or ended above all, this
    /// is void.
    pub as_of: Epoch,
    /// Epochs up to this one have been heard of by groups, of a life of the meta group that may be over.
    pub heard: Epoch,
    /// The node that leads from now on; `None` in quorum mode.
    pub leader: Option<NodeId>,
    /// The replica with which each group goes on, and the end of its log.
    pub holders: BTreeMap<GroupId, (ReplicaId, LogPoint)>,
    /// What makes it permissible.
    pub consent: Consent,
}

/// What makes it permissible to force groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consent {
    /// The former leader's process is known to be gone.
    ProcessGone,
    /// Its lease has run out.
    LeaseExpired,
    /// The owner accepts that it may go on acknowledging what will be lost.
    AcceptSplitBrain,
}

impl MetaCommand {
    /// The group that alone can be another after this command, when it is only one; a change under way aside, which may
    /// have come to its end by it.
    pub(crate) fn only_group(&self, outcome: &MetaOutcome) -> Option<GroupId> {
        match (self, outcome) {
            (
                Self::Settled { group, .. }
                | Self::ReplaceReplica { group, .. }
                | Self::ConfirmForce { group, .. },
                _,
            ) => Some(*group),
            (Self::CreateDatabase { .. }, MetaOutcome::Group(group)) => Some(*group),
            _ => None,
        }
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaOutcome {
    /// It was done.
    Done,
    /// The node that joined.
    Node(NodeId),
    /// The group that was made.
    Group(GroupId),
    /// The change that was begun.
    Switch(Epoch),
}

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MetaRejection {
    /// There is no such node.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// There is no such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// Another node has the name.
    #[error("the name {name:?} belongs to node {node}; remove that node first, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// The node that has it.
        node: NodeId,
    },
    /// Another database has the name.
    #[error("there is a database {0} already")]
    DatabaseExists(DatabaseName),
    /// There is no such database.
    #[error("there is no database {0}")]
    UnknownDatabase(DatabaseName),
    /// The users, roles and keys do not allow the change.
    #[error(transparent)]
    Accounts(#[from] Rejection),
    /// A change is under way.
    #[error("the change {0} is under way; wait for its end, or abort it")]
    SwitchUnderWay(Epoch),
    /// No such change is under way.
    #[error("no change {0} is under way")]
    NoSuchSwitch(Epoch),
    /// Nothing would change.
    #[error("the cluster is as wanted already")]
    NothingToDo,
    /// Too few nodes.
    #[error("{what} needs {needed} active nodes, and there are {found}")]
    TooFewNodes {
        /// For what.
        what: String,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// The node leads.
    #[error("node {0} is the leader; promote another first")]
    IsLeader(NodeId),
    /// The node holds something.
    #[error("node {node} still holds {groups} groups; drain it first, or say that it is lost")]
    HoldsGroups {
        /// The node.
        node: NodeId,
        /// How many.
        groups: usize,
    },
    /// Not a replica of the group, or not any more.
    #[error("{replica} is not a replica of group {group}")]
    UnknownReplica {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Something was decided since.
    #[error("this was decided as of {as_of}, and now it is {now}: look again")]
    Outdated {
        /// When it was decided.
        as_of: Epoch,
        /// What it is.
        now: Epoch,
    },
    /// Not a possible value.
    #[error("{0}")]
    Invalid(String),
}
