//! How the cluster is, in the terms of the admin interface.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use pliantdb_cluster::wire::UNDERSTANDS;
use pliantdb_cluster::{Mode, NodeId, meta};
use pliantdb_cluster_member::{ADDRESS, Status};
use pliantdb_core::admin;

use super::{FINGERPRINT, HTTP, QUIC, VERSION};

/// Names of nodes instead of their numbers.
struct Names(BTreeMap<NodeId, String>);

impl Names {
    fn of(&self, node: NodeId) -> String {
        self.0.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }

    fn all<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<String> {
        nodes.into_iter().map(|node| self.of(*node)).collect()
    }
}

/// What a member knows, as it is shown.
pub(super) fn shown(status: Status) -> admin::ClusterStatus {
    let nodes = status.nodes.iter();
    let names = Names(nodes.map(|node| (node.node, node.name.clone())).collect());
    let (mode, leader) = mode(status.mode, &names);
    let databases: BTreeMap<_, _> = status
        .databases
        .iter()
        .map(|database| (database.group, database.name.clone()))
        .collect();
    let switch = status.switch.map(|switch| {
        let (to, leader) = self::mode(switch.to, &names);
        admin::Switch {
            id: switch.id.get(),
            to,
            leader,
            phase: match switch.is_aborting {
                true => admin::SwitchPhase::Aborting,
                false => admin::SwitchPhase::Running,
            },
        }
    });
    let leading = match status.mode {
        Mode::OneLeader { leader } => Some(leader),
        Mode::Quorum => None,
    };
    let nodes = status.nodes.into_iter().map(|mut node| {
        node.attributes.remove(ADDRESS);
        node.attributes.remove(UNDERSTANDS);
        let [http, quic, fingerprint, version] =
            [HTTP, QUIC, FINGERPRINT, VERSION].map(|name| node.attributes.remove(name));
        admin::NodeStatus {
            id: node.node.to_string(),
            role: match node.votes {
                _ if Some(node.node) == leading => admin::Role::Leader,
                true => admin::Role::Voter,
                false => admin::Role::Replica,
            },
            state: match node.state {
                meta::NodeState::Active => admin::NodeState::Active,
                meta::NodeState::Draining => admin::NodeState::Draining,
            },
            name: node.name,
            address: node.address,
            http,
            quic,
            fingerprint,
            version,
            attributes: node.attributes,
            silent_seconds: node.silent.map(|silent| silent.as_secs_f64()),
            leads: node.leads,
            holds: node.holds,
            lag: node.lag,
            halted: node
                .halted
                .into_iter()
                .map(|(group, reason)| admin::Halted {
                    database: databases.get(&group).cloned(),
                    reason,
                })
                .collect(),
        }
    });
    admin::ClusterStatus {
        cluster: status.cluster,
        node: status.node.map(|node| names.of(node)),
        mode,
        leader,
        survives_minorities: status.survives_minorities,
        supervised: status.is_supervised,
        switch,
        groups: status.groups,
        settled: status.settled,
        failover: failover(status.failover),
        replication_factor: status.replication_factor,
        apply_version: status.apply_version,
        nodes: nodes.collect(),
        databases: status
            .databases
            .into_iter()
            .map(|database| admin::DatabaseStatus {
                leader: names.of(database.leader),
                voters: names.all(&database.voters),
                replicas: names.all(&database.learners),
                settled: database.is_settled,
                name: database.name,
            })
            .collect(),
    }
}

fn mode(mode: Mode, names: &Names) -> (admin::Mode, Option<String>) {
    match mode {
        Mode::OneLeader { leader } => (admin::Mode::OneLeader, Some(names.of(leader))),
        Mode::Quorum => (admin::Mode::Quorum, None),
    }
}

fn failover(failover: meta::Failover) -> admin::Failover {
    match failover {
        meta::Failover::Manual => admin::Failover {
            policy: admin::FailoverPolicy::Manual,
            delay: None,
        },
        meta::Failover::Automatic { delay } => admin::Failover {
            policy: admin::FailoverPolicy::Automatic,
            delay: Some(format!(
                "{:#}",
                SignedDuration::try_from(delay).unwrap_or_default()
            )),
        },
    }
}
