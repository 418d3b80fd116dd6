//! How the cluster is.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_cluster::meta::{Failover, Guarantee, NodeState, Switch};
use pliantdb_cluster::{META, Meta, Mode, NodeId};
use pliantdb_core::{DatabaseName, GroupId};
use serde::Serialize;

use crate::options::ADDRESS;
use crate::questions::Seen;

/// How the cluster is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The cluster, as 32 hexadecimal digits.
    pub cluster: String,
    /// The node that was asked; `None` while it joins.
    pub node: Option<NodeId>,
    /// Who acknowledges writes.
    pub mode: Mode,
    /// The change of mode or leader that is under way.
    pub switch: Option<Switch>,
    /// Whether an acknowledged write survives the loss of any minority of its voters.
    pub survives_minorities: bool,
    /// Whether the node that leads the meta group has answered: without it what it knows of others is not in here.
    pub is_supervised: bool,
    /// How many groups there are, the meta group with them.
    pub groups: usize,
    /// How many of them were seen to be as they are to be.
    pub settled: usize,
    /// What happens when the leader of one-leader mode is gone.
    pub failover: Failover,
    /// On how many nodes the data of a group is in quorum mode.
    pub replication_factor: u8,
    /// The version of commands that leaders may write.
    pub apply_version: u16,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// The databases.
    pub databases: Vec<DatabaseStatus>,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Option<String>,
    /// All its attributes, with the address.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is to vote in some group besides the meta group.
    pub votes: bool,
    /// Of how many groups it is to have a replica, besides the meta group.
    pub holds: usize,
    /// Whether it is to hold data.
    pub state: NodeState,
    /// For how long it was not heard, if it was heard at all.
    pub silent: Option<Duration>,
    /// How many groups it leads, the meta group with them.
    pub leads: usize,
    /// By how many entries the furthest of its replicas is behind the leader's.
    pub lag: Option<u64>,
    /// Why replicas of it have stopped, with their groups.
    pub halted: Vec<(GroupId, String)>,
}

/// How a database is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseStatus {
    /// Its name.
    pub name: DatabaseName,
    /// Its group.
    pub group: GroupId,
    /// The node that is to lead it.
    pub leader: NodeId,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// The nodes that follow.
    pub learners: Vec<NodeId>,
    /// Whether it was seen to be as it is to be.
    pub is_settled: bool,
}

/// From what the asked node knows, and what the one that leads the meta group has seen.
pub(crate) fn status(meta: &Meta, own: Option<NodeId>, seen: Option<&[Seen]>) -> Status {
    let shards = || meta.groups().iter().filter(|(group, _)| **group != META);
    let nodes = meta.nodes().iter().map(|(node, record)| {
        let of_node = seen.and_then(|seen| seen.iter().find(|seen| seen.node == *node));
        let reported = of_node.map(|seen| seen.replicas.as_slice()).unwrap_or_default();
        let replicas: Vec<_> = reported
            .iter()
            .filter(|replica| is_current(meta, replica))
            .collect();
        NodeStatus {
            node: *node,
            name: record.name.clone(),
            address: record.attributes.get(ADDRESS).cloned(),
            attributes: record.attributes.clone(),
            votes: shards().any(|(_, group)| group.voters.contains(node)),
            holds: shards()
                .filter(|(_, group)| group.replicas.contains_key(node))
                .count(),
            state: record.state,
            silent: of_node.map(|seen| seen.silent),
            leads: replicas.iter().filter(|replica| is_leader(meta, replica)).count(),
            lag: of_node.map(|_| {
                replicas
                    .iter()
                    .map(|replica| lag(meta, seen, replica))
                    .max()
                    .unwrap_or(0)
            }),
            halted: replicas
                .iter()
                .filter_map(|replica| Some((replica.group, replica.halted.clone()?)))
                .collect(),
        }
    });
    let databases = shards().filter_map(|(group, record)| {
        let voters = record.voters.iter().copied();
        let learners = record.replicas.keys().copied();
        Some(DatabaseStatus {
            name: record.shard.as_ref()?.database.clone(),
            group: *group,
            leader: record.leader,
            voters: voters.collect(),
            learners: learners.filter(|node| !record.voters.contains(node)).collect(),
            is_settled: record.is_settled(),
        })
    });
    Status {
        cluster: format!("{:032x}", meta.cluster()),
        node: own,
        mode: meta.mode(),
        switch: meta.switch(),
        survives_minorities: meta.guarantee() == Guarantee::Majority,
        is_supervised: seen.is_some(),
        groups: meta.groups().len(),
        settled: meta.groups().values().filter(|group| group.is_settled()).count(),
        failover: meta.failover(),
        replication_factor: meta.replication_factor(),
        apply_version: meta.apply_version(),
        nodes: nodes.collect(),
        databases: databases.collect(),
    }
}

type Replica = pliantdb_cluster::wire::ReplicaReport;

fn is_leader(meta: &Meta, replica: &Replica) -> bool {
    let record = meta.group(replica.group);
    replica.role == pliantdb_cluster::group::Role::Leader
        && replica.halted.is_none()
        && record.is_some_and(|record| record.incarnation == replica.incarnation)
}

/// Whether a node still is to have the replica: of one that it has no more, the last report stays.
fn is_current(meta: &Meta, replica: &Replica) -> bool {
    let record = meta.group(replica.group);
    let wanted = record.and_then(|record| record.replicas.get(&replica.replica.node()));
    wanted == Some(&replica.replica)
}

/// By how many entries a replica is behind the one that leads.
fn lag(meta: &Meta, seen: Option<&[Seen]>, replica: &Replica) -> u64 {
    let all = seen.into_iter().flatten().flat_map(|seen| &seen.replicas);
    let leader = all
        .filter(|other| other.group == replica.group && is_leader(meta, other))
        .max_by_key(|leader| leader.term);
    leader.map_or(0, |leader| leader.last.index.saturating_sub(replica.applied))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pliantdb_cluster::group::Role;
    use pliantdb_cluster::group::config::{GroupConfig, Members};
    use pliantdb_cluster::meta::NodeRecord;
    use pliantdb_cluster::{Epoch, Incarnation, LogPoint, ReplicaId};

    use super::*;

    fn report(generation: u32, role: Role, last: u64, applied: u64) -> Replica {
        Replica {
            group: META,
            replica: ReplicaId::new(NodeId::FIRST, generation),
            incarnation: Incarnation::FIRST,
            term: 1,
            role,
            last: LogPoint { term: 1, index: last },
            applied,
            config: GroupConfig {
                incarnation: Incarnation::FIRST,
                members: Members::default(),
                epoch: Epoch::default(),
                changed_at: 0,
            },
            is_installing: false,
            fork: None,
            is_superseded: false,
            halted: Some("stopped".to_owned()).filter(|_| generation > 1),
        }
    }

    #[test]
    fn what_a_node_has_no_more_does_not_count() {
        let founder = NodeRecord {
            name: "first".to_owned(),
            token: 1,
            attributes: BTreeMap::new(),
            state: NodeState::Active,
            apply_version: 1,
        };
        let meta = Meta::found(1, founder);
        let seen = |generation| {
            let (leader, old) = (
                report(1, Role::Leader, 9, 9),
                report(generation, Role::Follower, 4, 4),
            );
            let silent = Duration::ZERO;
            let replicas = vec![leader, old];
            [Seen {
                node: NodeId::FIRST,
                silent,
                replicas,
            }]
        };
        let of = |generation| status(&meta, None, Some(&seen(generation))).nodes.remove(0);
        assert_eq!((of(1).lag, of(1).leads, of(1).halted.len()), (Some(5), 1, 0));
        assert_eq!((of(2).lag, of(2).leads, of(2).halted.len()), (Some(0), 1, 0));
    }
}
