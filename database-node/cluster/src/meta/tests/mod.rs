//! Every rule about who holds what, one at a time; then any commands in any order.

mod any_order;
mod force;
mod modes;

use pliantdb_core::access::{AccountsChange, UserChange};
use pliantdb_core::{Rejection, RoleName, SlotCount};

use super::*;

const SHARD: GroupId = GroupId::new(1);

fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

fn replica(number: u32, generation: u32) -> ReplicaId {
    ReplicaId::new(node(number), generation)
}

fn nodes(numbers: &[u32]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(node).collect()
}

fn leads(number: u32) -> Mode {
    Mode::OneLeader { leader: node(number) }
}

fn automatic() -> Failover {
    Failover::Automatic {
        delay: Duration::from_secs(30),
    }
}

fn join(number: u32) -> MetaCommand {
    MetaCommand::AddNode {
        name: format!("node-{number}"),
        token: u128::from(number),
        attributes: BTreeMap::new(),
        apply_version: 1,
    }
}

fn database(name: &str) -> MetaCommand {
    MetaCommand::CreateDatabase {
        name: name.parse().unwrap(),
        slots: SlotCount::try_from(4).unwrap(),
    }
}

fn drain(number: u32, is_draining: bool) -> MetaCommand {
    MetaCommand::SetDraining {
        node: node(number),
        is_draining,
    }
}

fn remove(number: u32, is_lost: bool) -> MetaCommand {
    MetaCommand::RemoveNode {
        node: node(number),
        is_lost,
    }
}

/// A cluster, and the index of the last entry that it has applied.
#[derive(Debug, Clone)]
struct Cluster {
    meta: Meta,
    index: u64,
}

impl Cluster {
    /// One node.
    fn found() -> Self {
        let founder = NodeRecord {
            name: "node-1".to_owned(),
            token: 1,
            attributes: BTreeMap::new(),
            state: NodeState::Active,
            apply_version: 1,
        };
        let meta = Meta::found(7, founder);
        Self { meta, index: 1 }
    }

    /// Settled nodes and a database.
    fn of(count: u32) -> Self {
        let mut cluster = Self::found();
        for number in 2..=count {
            cluster.apply(join(number));
        }
        cluster.apply(database("shop"));
        cluster.settle();
        cluster
    }

    fn in_quorum(count: u32) -> Self {
        let mut cluster = Self::of(count);
        cluster.switch(Mode::Quorum);
        cluster.settle();
        assert_eq!(cluster.meta.mode(), Mode::Quorum);
        cluster
    }

    fn try_apply(&mut self, command: &MetaCommand) -> Result<MetaOutcome, MetaRejection> {
        self.index += 1;
        let before = self.meta.clone();
        let outcome = self.meta.apply(command, self.index);
        if outcome.is_err() {
            assert_eq!(
                self.meta, before,
                "a refused command changes nothing: {command:?}"
            );
        }
        outcome
    }

    fn apply(&mut self, command: MetaCommand) -> MetaOutcome {
        self.try_apply(&command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn refused(&mut self, command: MetaCommand) -> MetaRejection {
        self.try_apply(&command).expect_err(&format!("{command:?}"))
    }

    fn switch(&mut self, to: Mode) -> Epoch {
        match self.apply(MetaCommand::Switch { to }) {
            MetaOutcome::Switch(id) => id,
            outcome => panic!("{outcome:?}"),
        }
    }

    fn settle_group(&mut self, group: GroupId) {
        let epoch = self.meta.group(group).unwrap().epoch;
        self.apply(MetaCommand::Settled { group, epoch });
    }

    /// Every group is seen to be as wanted, until nothing more is wanted.
    fn settle(&mut self) {
        for _ in 0..10 {
            let groups = self
                .meta
                .groups()
                .iter()
                .filter(|(_, record)| !record.is_settled());
            let groups: Vec<GroupId> = groups.map(|(group, _)| *group).collect();
            if groups.is_empty() {
                return;
            }
            for group in groups {
                if !self.meta.group(group).unwrap().is_settled() {
                    self.settle_group(group);
                }
            }
        }
        panic!("it never settles: {:?}", self.meta);
    }

    fn shard(&self) -> &GroupRecord {
        self.meta.group(SHARD).unwrap()
    }

    fn meta_voters(&self) -> BTreeSet<NodeId> {
        self.meta.group(META).unwrap().voters.clone()
    }

    fn force(&self, leader: Option<u32>, holders: &[(GroupId, ReplicaId)]) -> Force {
        let holders = holders
            .iter()
            .map(|(group, replica)| (*group, (*replica, LogPoint { index: 9, term: 2 })));
        Force {
            heard: Epoch::default(),
            as_of: self.meta.epoch(),
            leader: leader.map(node),
            holders: holders.collect(),
            consent: Consent::ProcessGone,
        }
    }
}

#[test]
fn a_cluster_begins_with_a_node_that_leads() {
    let cluster = Cluster::found();
    let meta = &cluster.meta;
    assert_eq!(
        (meta.mode(), meta.switch(), meta.failover()),
        (leads(1), None, Failover::Manual)
    );
    assert_eq!(meta.guarantee(), Guarantee::Leader);
    let group = meta.group(META).unwrap();
    assert_eq!(group.voting(), BTreeSet::from([replica(1, 1)]));
    assert_eq!(group.founders.voters, group.voting());
    assert!(group.is_met_by(&group.founders));
}

#[test]
fn nodes_join_once_and_under_names_of_their_own() {
    let mut cluster = Cluster::found();
    assert_eq!(cluster.apply(join(2)), MetaOutcome::Node(node(2)));
    let known = cluster.meta.clone();
    assert_eq!(cluster.apply(join(2)), MetaOutcome::Node(node(2)), "asked twice");
    assert_eq!(cluster.meta, known);
    let mut other = join(3);
    let MetaCommand::AddNode { name, .. } = &mut other else {
        unreachable!()
    };
    *name = "node-2".to_owned();
    assert_eq!(
        cluster.refused(other),
        MetaRejection::NameTaken {
            name: "node-2".to_owned(),
            node: node(2)
        }
    );
    assert_eq!(cluster.apply(join(3)), MetaOutcome::Node(node(3)));
    cluster.settle();
    cluster.apply(remove(3, true));
    assert_eq!(
        cluster.apply(join(3)),
        MetaOutcome::Node(node(4)),
        "no number comes back"
    );
}

#[test]
fn what_is_written_everybody_can_apply() {
    let mut cluster = Cluster::of(2);
    let can = |number, apply_version| MetaCommand::SetApplyVersion {
        node: node(number),
        apply_version,
    };
    cluster.apply(can(1, 3));
    assert_eq!(cluster.meta.apply_version(), 1);
    cluster.apply(can(2, 2));
    assert_eq!(cluster.meta.apply_version(), 2);
    cluster.apply(can(2, 1));
    assert_eq!(cluster.meta.apply_version(), 2, "the gate never closes");
    assert!(
        matches!(cluster.refused(join(3)), MetaRejection::Invalid(_)),
        "too old"
    );
    assert_eq!(cluster.refused(can(9, 1)), MetaRejection::UnknownNode(node(9)));
}

#[test]
fn the_meta_group_has_one_three_or_five_voters() {
    let mut cluster = Cluster::found();
    let mut counts = vec![cluster.meta_voters().len()];
    for number in 2..=6 {
        cluster.apply(join(number));
        cluster.settle();
        counts.push(cluster.meta_voters().len());
        let group = cluster.meta.group(META).unwrap();
        assert_eq!(group.replicas.len(), number as usize, "everybody has a copy");
        assert_eq!(group.leader, node(1), "the leader leads it too");
    }
    assert_eq!(counts, [1, 1, 3, 3, 5, 5]);
}

#[test]
fn a_database_is_with_the_leader_and_everybody_follows() {
    let mut cluster = Cluster::of(3);
    let shard = cluster.shard();
    assert_eq!((shard.voters.clone(), shard.leader), (nodes(&[1]), node(1)));
    assert_eq!(shard.learning(), BTreeSet::from([replica(2, 1), replica(3, 1)]));
    assert!(shard.is_met_by(&shard.founders), "they begin with it");
    assert!(matches!(
        cluster.refused(database("shop")),
        MetaRejection::DatabaseExists(_)
    ));
    assert_eq!(
        cluster.apply(database("blog")),
        MetaOutcome::Group(GroupId::new(2))
    );
    cluster.apply(join(4));
    assert!(cluster.shard().replicas.contains_key(&node(4)));
    assert!(!cluster.shard().is_settled(), "it does not have it yet");
    assert!(
        !cluster.shard().founders.contains(replica(4, 1)),
        "it needs a snapshot"
    );
}

#[test]
fn a_node_that_drains_holds_nothing_in_the_end_and_may_go() {
    let mut cluster = Cluster::in_quorum(4);
    let leaving = *cluster.shard().voters.first().unwrap();
    let number = leaving.get();
    assert!(matches!(
        cluster.refused(remove(number, false)),
        MetaRejection::HoldsGroups { .. }
    ));
    cluster.apply(drain(number, true));
    assert!(!cluster.shard().voters.contains(&leaving) && !cluster.shard().replicas.contains_key(&leaving));
    assert_eq!(cluster.shard().voters.len(), 3);
    assert!(
        matches!(
            cluster.refused(remove(number, false)),
            MetaRejection::HoldsGroups { .. }
        ),
        "others may still need what it has"
    );
    cluster.settle();
    let follows_meta = |cluster: &Cluster| cluster.meta.group(META).unwrap().replicas.contains_key(&leaving);
    assert!(
        follows_meta(&cluster),
        "it hears what is decided until it has gone"
    );
    assert!(!cluster.meta.group(META).unwrap().voters.contains(&leaving));
    cluster.apply(remove(number, false));
    assert!(!cluster.meta.nodes().contains_key(&leaving) && !follows_meta(&cluster));
}

#[test]
fn a_node_that_is_kept_goes_on_with_what_it_had() {
    let mut cluster = Cluster::of(3);
    cluster.apply(drain(3, true));
    assert!(!cluster.shard().replicas.contains_key(&node(3)));
    cluster.apply(drain(3, false));
    assert_eq!(
        cluster.shard().replicas.get(&node(3)),
        Some(&replica(3, 1)),
        "it had not left"
    );
    cluster.settle();
    cluster.apply(drain(3, true));
    cluster.settle();
    cluster.apply(drain(3, false));
    assert_eq!(
        cluster.shard().replicas.get(&node(3)),
        Some(&replica(3, 2)),
        "it had left"
    );
}

#[test]
fn quorum_and_automatic_failover_keep_the_nodes_that_they_need() {
    let mut cluster = Cluster::in_quorum(3);
    assert!(matches!(
        cluster.refused(drain(3, true)),
        MetaRejection::TooFewNodes { .. }
    ));
    let mut cluster = Cluster::of(2);
    let set = MetaCommand::SetFailover(automatic());
    assert!(matches!(
        cluster.refused(set.clone()),
        MetaRejection::TooFewNodes { .. }
    ));
    let mut cluster = Cluster::of(3);
    cluster.apply(set);
    assert!(matches!(
        cluster.refused(drain(3, true)),
        MetaRejection::TooFewNodes { .. }
    ));
    for delay in [Duration::from_secs(2), Duration::from_secs(24 * 3600 + 1)] {
        let set = MetaCommand::SetFailover(Failover::Automatic { delay });
        assert!(matches!(cluster.refused(set), MetaRejection::Invalid(_)));
    }
}

#[test]
fn a_lost_node_is_replaced() {
    let mut cluster = Cluster::in_quorum(4);
    let lost = *cluster.shard().voters.last().unwrap();
    cluster.apply(remove(lost.get(), true));
    let shard = cluster.shard();
    assert!(!shard.replicas.contains_key(&lost) && shard.voters.len() == 3);
    assert!(shard.voters.contains(&shard.leader));
    assert_eq!(
        cluster.refused(remove(9, true)),
        MetaRejection::UnknownNode(node(9))
    );
    let mut cluster = Cluster::of(3);
    assert_eq!(cluster.refused(remove(1, true)), MetaRejection::IsLeader(node(1)));
}

#[test]
fn a_replica_that_lost_its_log_gets_another_id() {
    let mut cluster = Cluster::in_quorum(3);
    let replace = |generation| MetaCommand::ReplaceReplica {
        group: SHARD,
        replica: replica(2, generation),
    };
    assert!(matches!(
        cluster.refused(replace(2)),
        MetaRejection::UnknownReplica { .. }
    ));
    let before = cluster.meta.epoch();
    cluster.apply(replace(1));
    assert_eq!(cluster.shard().replicas.get(&node(2)), Some(&replica(2, 2)));
    assert!(cluster.meta.epoch() > before && !cluster.shard().is_settled());
    assert!(
        matches!(cluster.refused(replace(1)), MetaRejection::UnknownReplica { .. }),
        "only once"
    );
    let unknown = MetaCommand::ReplaceReplica {
        group: GroupId::new(9),
        replica: replica(2, 2),
    };
    assert_eq!(
        cluster.refused(unknown),
        MetaRejection::UnknownGroup(GroupId::new(9))
    );
}

#[test]
fn who_may_use_the_cluster_is_known_everywhere() {
    let mut cluster = Cluster::of(1);
    let role: RoleName = "clerks".parse().unwrap();
    let permissions = vec!["read on collection shop/orders".parse().unwrap()];
    let (name, change) = ("ada".parse().unwrap(), UserChange::default());
    cluster.apply(MetaCommand::ChangeAccounts(AccountsChange::SetRole {
        name: role.clone(),
        permissions,
    }));
    let change = UserChange {
        roles: Some([role.clone()].into()),
        ..change
    };
    cluster.apply(MetaCommand::ChangeAccounts(AccountsChange::SetUser {
        name,
        change,
        must_exist: false,
    }));
    let refused = cluster.refused(MetaCommand::ChangeAccounts(AccountsChange::DeleteRole {
        name: role,
    }));
    assert!(
        matches!(refused, MetaRejection::Accounts(Rejection::RoleInUse { .. })),
        "{refused:?}"
    );
    let bytes = postcard::to_stdvec(&cluster.meta).unwrap();
    let read: Meta = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read, cluster.meta);
    assert_eq!(read.accounts().users().count(), 1);
}
