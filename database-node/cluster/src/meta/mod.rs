//! What the meta group knows: the nodes, the mode, who is to hold which group. Every node has a copy.
//!
//! Commands say what happened or what is wanted; [`retarget`] derives from that who is to hold each group, and counts
//! the epoch when that changes. What then is done to bring the groups there is the supervisor's business, and whatever
//! it needs to know after a crash is here.

mod apply;
mod command;
mod retarget;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_core::access::Accounts;
use pliantdb_storage::group::Shard;
use serde::{Deserialize, Serialize};

pub use command::{Consent, Force, MetaCommand, MetaOutcome, MetaRejection};

use crate::group::config::Members;
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};

/// The group that knows about all others.
pub const META: GroupId = GroupId::new(0);

/// Everything that the meta group knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    cluster: u128,
    nodes: BTreeMap<NodeId, NodeRecord>,
    last_node: u32,
    groups: BTreeMap<GroupId, GroupRecord>,
    last_group: u64,
    mode: Mode,
    switch: Option<Switch>,
    epoch: Epoch,
    failover: Failover,
    /// The entry that the leader has to know of before automatic failover may replace it; `None` when it does.
    unarmed_since: Option<u64>,
    replication_factor: u8,
    /// Whether too few nodes are left, or were, for every group to have a majority when one more is gone.
    is_short: bool,
    apply_version: u16,
    accounts: Accounts,
}

/// Who acknowledges writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One node acknowledges after its own sync, and all others follow.
    OneLeader {
        /// The node.
        leader: NodeId,
    },
    /// A majority of each group's voters has it on disk.
    Quorum,
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// Everything but the loss of the leader's disk, or a failover that says what it loses.
    Leader,
    /// The loss of any minority of each group's voters.
    Majority,
}

/// A change of mode, or of the leader, that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Which attempt this is: the epoch that it began in.
    pub id: Epoch,
    /// Where it leads.
    pub to: Mode,
    /// Whether it was given up, and the groups are going back.
    pub is_aborting: bool,
}

/// What happens when the leader of one-leader mode is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failover {
    /// Somebody promotes another by hand.
    Manual,
    /// The leader acts only while a majority of the meta group vouches for it; another takes over when nobody has for
    /// a while. It needs three nodes.
    Automatic {
        /// For how long.
        delay: Duration,
    },
}

/// A node, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What it was called when it joined; no two nodes that are here have the same.
    pub name: String,
    /// What it asked to join with, so that asking twice makes one node.
    pub token: u128,
    /// Its attributes: zone, region, address and what else its owner chose.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is to hold data.
    pub state: NodeState,
    /// The newest version of commands that it can apply.
    pub apply_version: u16,
}

/// Whether a node is to hold data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It is.
    Active,
    /// It goes on serving until others hold what it holds.
    Draining,
}

/// A group, as the cluster wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// What it keeps; `None` for the meta group.
    pub shard: Option<Shard>,
    /// Its life.
    pub incarnation: Incarnation,
    /// The replicas that are to be, one a node.
    pub replicas: BTreeMap<NodeId, ReplicaId>,
    /// The nodes whose replicas are to vote.
    pub voters: BTreeSet<NodeId>,
    /// The node whose replica is to lead.
    pub leader: NodeId,
    /// The epoch in which this was wanted.
    pub epoch: Epoch,
    /// The latest epoch in which the group was seen to be as wanted.
    pub settled: Epoch,
    /// Who was in it when it was made: these begin with an empty log instead of waiting for a snapshot. Nobody of a group that
    /// began with what a storage had.
    pub founders: Members,
    /// The last time it was forced.
    pub forced: Option<Forced>,
    /// The other replicas of the life before, until the forced one is confirmed: they take no part any more, and one of
    /// them goes on when that one is gone.
    pub former: BTreeMap<NodeId, ReplicaId>,
    /// The lives that were begun since and given up for another before they were confirmed: nobody was answered in them.
    pub tried: BTreeSet<Incarnation>,
    /// Replicas that are not to be any more and may still hold what others need, until the group was seen to be as
    /// wanted. A node that is wanted again goes on with the one it has.
    retiring: BTreeMap<NodeId, ReplicaId>,
    /// The latest generation given to a node's replicas.
    generations: BTreeMap<NodeId, u32>,
}

/// How a group was forced to go on with one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// The replica.
    pub replica: ReplicaId,
    /// The epoch in which that was decided.
    pub epoch: Epoch,
    /// The end of its log as known when that was decided: what others had behind it is lost.
    pub fork: LogPoint,
    /// The life that its log is of.
    pub from: Incarnation,
    /// Whether the replica was seen to go on, with a log that none of the others that are there exceeds. Before that it
    /// answers nobody, and another can be taken instead.
    pub is_confirmed: bool,
}

impl Meta {
    /// A cluster of one node.
    #[must_use]
    pub fn found(cluster: u128, founder: NodeRecord) -> Self {
        let apply_version = founder.apply_version;
        let node = NodeId::FIRST;
        let mut meta = Self {
            cluster,
            nodes: BTreeMap::from([(node, founder)]),
            last_node: node.get(),
            groups: BTreeMap::new(),
            last_group: 0,
            mode: Mode::OneLeader { leader: node },
            switch: None,
            epoch: Epoch::default(),
            failover: Failover::Manual,
            unarmed_since: Some(0),
            replication_factor: 3,
            is_short: false,
            apply_version,
            accounts: Accounts::default(),
        };
        meta.add_group(META, None);
        meta
    }

    /// The highest number that a group or a database ever had.
    #[must_use]
    pub fn last_group(&self) -> u64 {
        self.last_group
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeRecord> {
        &self.nodes
    }

    /// The groups, the meta group included.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<GroupId, GroupRecord> {
        &self.groups
    }

    /// A group.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&GroupRecord> {
        self.groups.get(&group)
    }

    /// The mode that was last reached.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The change that is under way.
    #[must_use]
    pub fn switch(&self) -> Option<Switch> {
        self.switch
    }

    /// The latest decision about who holds what.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What happens when the leader is gone.
    #[must_use]
    pub fn failover(&self) -> Failover {
        self.failover
    }

    /// The entry that the leader has to know of before it may be replaced without being asked; `None` when it does.
    #[must_use]
    pub fn unarmed_since(&self) -> Option<u64> {
        self.unarmed_since
    }

    /// On how many nodes the data of a group is in quorum mode.
    #[must_use]
    pub fn replication_factor(&self) -> u8 {
        self.replication_factor
    }

    /// The version of commands that leaders may write: every node can apply it.
    #[must_use]
    pub fn apply_version(&self) -> u16 {
        self.apply_version
    }

    /// The users, roles and API keys.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Whether there was such a group, and it was deleted.
    pub(crate) fn is_deleted(&self, group: GroupId) -> bool {
        group.get() <= self.last_group && !self.groups.contains_key(&group)
    }

    /// What an acknowledged write survives: the stronger only while every group gives it and is to go on giving it.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        // A forced group is one replica until others have what it has.
        let is_whole =
            |record: &GroupRecord| record.forced.is_none_or(|forced| record.settled >= forced.epoch);
        match (self.mode, self.switch) {
            (Mode::Quorum, None) if !self.is_short && self.groups.values().all(is_whole) => {
                Guarantee::Majority
            }
            _ => Guarantee::Leader,
        }
    }

    /// The node that alone acknowledges, when it may be replaced by itself: it needs a lease.
    #[must_use]
    pub fn leased(&self) -> Option<(NodeId, Duration)> {
        match (self.mode, self.failover) {
            (Mode::OneLeader { leader }, Failover::Automatic { delay }) => Some((leader, delay)),
            _ => None,
        }
    }

    /// Where the groups are to be brought: what is under way, else what is.
    #[must_use]
    pub fn goal(&self) -> Mode {
        match self.switch {
            Some(switch) if !switch.is_aborting => switch.to,
            _ => self.mode,
        }
    }

    /// The nodes that are to hold data.
    fn active(&self) -> impl Iterator<Item = NodeId> {
        let active = self
            .nodes
            .iter()
            .filter(|(_, node)| node.state == NodeState::Active);
        active.map(|(id, _)| *id)
    }
}

impl GroupRecord {
    /// The replicas that are to vote.
    #[must_use]
    pub fn voting(&self) -> BTreeSet<ReplicaId> {
        let voters = self.voters.iter().filter_map(|node| self.replicas.get(node));
        voters.copied().collect()
    }

    /// The replicas that are to follow.
    #[must_use]
    pub fn learning(&self) -> BTreeSet<ReplicaId> {
        let learners = self
            .replicas
            .iter()
            .filter(|(node, _)| !self.voters.contains(node));
        learners.map(|(_, replica)| *replica).collect()
    }

    /// The replica that a node has, wanted or on its way out.
    #[must_use]
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas
            .get(&node)
            .or_else(|| self.retiring.get(&node))
            .copied()
    }

    /// Whether the group can go on with a replica: it is to be, is on its way out, or may be taken instead of a forced one
    /// that is gone.
    #[must_use]
    pub fn can_go_on_with(&self, replica: ReplicaId) -> bool {
        let node = replica.node();
        self.replica_on(node) == Some(replica) || self.former.get(&node) == Some(&replica)
    }

    /// Whether a life is the one before the group was forced, or was begun since and given up.
    #[must_use]
    pub fn is_left(&self, life: Incarnation) -> bool {
        self.forced.is_some_and(|forced| forced.from == life) || self.tried.contains(&life)
    }

    /// How the group was forced, as long as that is not confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<Forced> {
        self.forced.filter(|forced| !forced.is_confirmed)
    }

    /// Whether it was seen to be as wanted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled == self.epoch
    }

    /// Whether members are those that are to be.
    #[must_use]
    pub fn is_met_by(&self, members: &Members) -> bool {
        !members.is_joint() && members.voters == self.voting() && members.learners == self.learning()
    }
}
