//! Every rule about who holds what, one at a time; then any commands in any order.

mod any_order;

use pliantdb_core::SlotCount;

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
fn quorum_needs_three_nodes_and_nothing_else_under_way() {
    let mut cluster = Cluster::of(2);
    assert_eq!(
        cluster.refused(MetaCommand::Switch { to: Mode::Quorum }),
        MetaRejection::TooFewNodes {
            what: "quorum mode",
            needed: 3,
            found: 2
        }
    );
    assert_eq!(
        cluster.refused(MetaCommand::Switch { to: leads(1) }),
        MetaRejection::NothingToDo
    );
    cluster.apply(join(3));
    cluster.settle();
    let id = cluster.switch(Mode::Quorum);
    for to in [Mode::Quorum, leads(2)] {
        assert_eq!(
            cluster.refused(MetaCommand::Switch { to }),
            MetaRejection::SwitchUnderWay(id)
        );
    }
    assert_eq!(
        cluster.refused(MetaCommand::AbortSwitch {
            switch: Epoch::default()
        }),
        MetaRejection::NoSuchSwitch(Epoch::default())
    );
}

#[test]
fn the_stronger_guarantee_is_published_with_the_last_group() {
    let mut cluster = Cluster::of(3);
    cluster.switch(Mode::Quorum);
    assert_eq!(
        (cluster.meta.mode(), cluster.meta.goal()),
        (leads(1), Mode::Quorum)
    );
    assert_eq!(cluster.shard().voters, nodes(&[1, 2, 3]));
    for group in [SHARD, META] {
        assert!(cluster.meta.switch().is_some() && cluster.meta.guarantee() == Guarantee::Leader);
        cluster.settle_group(group);
    }
    assert_eq!((cluster.meta.mode(), cluster.meta.switch()), (Mode::Quorum, None));
    assert_eq!(cluster.meta.guarantee(), Guarantee::Majority);
}

#[test]
fn the_weaker_guarantee_is_published_with_the_entry_that_begins_to_shrink() {
    let mut cluster = Cluster::in_quorum(3);
    assert_eq!(cluster.meta.guarantee(), Guarantee::Majority);
    let id = cluster.switch(leads(2));
    assert_eq!(
        (cluster.meta.mode(), cluster.meta.guarantee()),
        (Mode::Quorum, Guarantee::Leader)
    );
    assert_eq!(
        (cluster.shard().voters.clone(), cluster.shard().leader),
        (nodes(&[2]), node(2))
    );
    cluster.apply(MetaCommand::AbortSwitch { switch: id });
    assert_eq!(cluster.meta.guarantee(), Guarantee::Leader, "some may have begun");
    cluster.settle_group(META);
    assert_eq!(cluster.meta.guarantee(), Guarantee::Leader);
    cluster.settle_group(SHARD);
    assert_eq!(
        (cluster.meta.mode(), cluster.meta.guarantee()),
        (Mode::Quorum, Guarantee::Majority)
    );
}

#[test]
fn every_group_has_to_be_seen_after_a_switch_begins_and_after_it_is_given_up() {
    let mut cluster = Cluster::of(3);
    // Nothing changes for the meta group: the same three vote before and after.
    let before = cluster.meta.clone();
    let id = cluster.switch(Mode::Quorum);
    assert!(id > before.epoch());
    for (group, record) in cluster.meta.groups() {
        assert!(record.epoch >= id && !record.is_settled(), "{group}");
    }
    let begun = cluster.shard().epoch;
    cluster.apply(MetaCommand::AbortSwitch { switch: id });
    for (group, record) in cluster.meta.groups() {
        assert!(record.epoch > begun && !record.is_settled(), "{group}");
    }
    assert_eq!(
        cluster.refused(MetaCommand::Settled {
            group: SHARD,
            epoch: begun
        }),
        MetaRejection::Outdated {
            as_of: begun,
            now: cluster.shard().epoch
        }
    );
    assert_eq!(
        cluster.refused(MetaCommand::AbortSwitch { switch: id }),
        MetaRejection::NothingToDo
    );
    cluster.settle();
    assert_eq!((cluster.meta.mode(), cluster.meta.switch()), (leads(1), None));
}

#[test]
fn giving_up_leaves_no_trace() {
    for (mut cluster, to) in [
        (Cluster::of(3), Mode::Quorum),
        (Cluster::of(5), Mode::Quorum),
        (Cluster::of(3), leads(2)),
        (Cluster::in_quorum(3), leads(3)),
        (Cluster::in_quorum(5), leads(2)),
    ] {
        let before = cluster.meta.clone();
        let id = cluster.switch(to);
        cluster.apply(MetaCommand::AbortSwitch { switch: id });
        cluster.settle();
        assert_eq!(cluster.meta.mode(), before.mode());
        for (group, record) in cluster.meta.groups() {
            let was = before.group(*group).unwrap();
            assert_eq!(record.replicas, was.replicas, "{group} {to:?}");
            assert_eq!(
                (&record.voters, record.leader, record.incarnation),
                (&was.voters, was.leader, was.incarnation),
                "{group} {to:?}"
            );
        }
    }
}

#[test]
fn another_node_is_promoted_in_order() {
    let mut cluster = Cluster::of(3);
    cluster.switch(leads(2));
    let shard = cluster.shard();
    assert_eq!((shard.voters.clone(), shard.leader), (nodes(&[2]), node(2)));
    assert_eq!(shard.replicas.len(), 3, "the former leader follows");
    assert_eq!(
        cluster.refused(drain(1, true)),
        MetaRejection::IsLeader(node(1)),
        "it leads until then"
    );
    assert_eq!(cluster.refused(drain(2, true)), MetaRejection::IsLeader(node(2)));
    cluster.settle();
    assert_eq!(cluster.meta.mode(), leads(2));
    assert_eq!(cluster.meta.group(META).unwrap().leader, node(2));
    assert_eq!(
        cluster.refused(MetaCommand::Switch { to: leads(9) }),
        MetaRejection::UnknownNode(node(9))
    );
    cluster.apply(drain(3, true));
    assert!(matches!(
        cluster.refused(MetaCommand::Switch { to: leads(3) }),
        MetaRejection::Invalid(_)
    ));
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
fn who_drains_is_needed_when_a_group_is_forced_there() {
    let mut cluster = Cluster::of(3);
    cluster.apply(drain(3, true));
    assert!(!cluster.shard().replicas.contains_key(&node(3)));
    let force = cluster.force(Some(3), &[(SHARD, replica(3, 1))]);
    cluster.apply(MetaCommand::Force(force));
    assert_eq!(cluster.meta.nodes()[&node(3)].state, NodeState::Active);
    assert_eq!(
        cluster.shard().voting(),
        BTreeSet::from([replica(3, 1)]),
        "it goes on with what it had"
    );
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
fn a_majority_is_not_promised_while_no_group_could_lose_a_member() {
    let mut cluster = Cluster::in_quorum(3);
    assert_eq!(cluster.meta.guarantee(), Guarantee::Majority);
    cluster.apply(remove(3, true));
    assert_eq!(cluster.meta.guarantee(), Guarantee::Leader, "two are left");
    cluster.settle();
    assert_eq!(cluster.meta.guarantee(), Guarantee::Leader);
    cluster.apply(join(4));
    assert_eq!(
        cluster.meta.guarantee(),
        Guarantee::Leader,
        "the third has nothing yet"
    );
    cluster.settle();
    assert_eq!(cluster.meta.guarantee(), Guarantee::Majority);
}

#[test]
fn the_replication_factor_counts_in_quorum_mode() {
    let mut cluster = Cluster::in_quorum(5);
    assert_eq!(cluster.shard().replicas.len(), 3);
    for factor in [0, 1, 2, 4, 6, 8, 9] {
        let set = MetaCommand::SetReplicationFactor(factor);
        assert!(
            matches!(cluster.refused(set), MetaRejection::Invalid(_)),
            "{factor}"
        );
    }
    let seven = MetaCommand::SetReplicationFactor(7);
    assert!(matches!(
        cluster.refused(seven),
        MetaRejection::TooFewNodes { .. }
    ));
    let three = cluster.shard().voters.clone();
    cluster.apply(MetaCommand::SetReplicationFactor(5));
    assert_eq!(cluster.shard().voters.len(), 5);
    cluster.settle();
    cluster.apply(MetaCommand::SetReplicationFactor(3));
    assert_eq!(cluster.shard().voters.len(), 3);
    assert_eq!(
        cluster.shard().voters,
        three,
        "the same, for nothing else is there to choose by"
    );
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
fn forced_groups_go_on_with_one_replica_in_another_life() {
    let mut cluster = Cluster::of(3);
    let first = cluster.shard().incarnation;
    let force = cluster.force(Some(2), &[(SHARD, replica(3, 1))]);
    cluster.apply(MetaCommand::Force(force.clone()));
    assert_eq!((cluster.meta.mode(), cluster.meta.switch()), (leads(2), None));
    let shard = cluster.shard();
    assert_eq!(shard.incarnation, first.next(node(3)));
    let forced = shard.forced.unwrap();
    assert_eq!(
        (forced.replica, forced.fork),
        (replica(3, 1), LogPoint { index: 9, term: 2 })
    );
    let ids = BTreeMap::from(
        [1, 2, 3].map(|number| (node(number), replica(number, if number == 3 { 1 } else { 2 }))),
    );
    assert_eq!(shard.replicas, ids, "nobody else comes back as who it was");
    assert_eq!((shard.voters.clone(), shard.leader), (nodes(&[2]), node(2)));
    assert_eq!(
        cluster.meta.group(META).unwrap().incarnation,
        Incarnation::FIRST,
        "it was not forced"
    );
    // Decided on what is over.
    assert!(matches!(
        cluster.refused(MetaCommand::Force(force)),
        MetaRejection::Outdated { .. }
    ));
    // A promotion may be followed by another before it has ended.
    let again = cluster.force(Some(3), &[(SHARD, replica(3, 1))]);
    cluster.apply(MetaCommand::Force(again));
    assert_eq!(cluster.shard().incarnation, first.next(node(3)).next(node(3)));
    assert_eq!(cluster.shard().replicas.get(&node(2)), Some(&replica(2, 3)));
}

#[test]
fn force_is_void_when_anything_was_decided_since_or_a_holder_is_none() {
    let mut cluster = Cluster::of(3);
    let force = cluster.force(Some(2), &[(SHARD, replica(2, 1))]);
    cluster.switch(Mode::Quorum);
    let force = MetaCommand::Force(force);
    assert!(matches!(cluster.refused(force), MetaRejection::Outdated { .. }));
    let stranger = cluster.force(Some(2), &[(SHARD, replica(2, 7))]);
    let stranger = MetaCommand::Force(stranger);
    assert!(matches!(
        cluster.refused(stranger),
        MetaRejection::UnknownReplica { .. }
    ));
    let nobody = cluster.force(Some(9), &[(SHARD, replica(2, 1))]);
    assert_eq!(
        cluster.refused(MetaCommand::Force(nobody)),
        MetaRejection::UnknownNode(node(9))
    );
    let nowhere = cluster.force(None, &[(GroupId::new(9), replica(2, 1))]);
    assert_eq!(
        cluster.refused(MetaCommand::Force(nowhere)),
        MetaRejection::UnknownGroup(GroupId::new(9))
    );
    let nothing = cluster.force(Some(2), &[]);
    assert_eq!(
        cluster.refused(MetaCommand::Force(nothing)),
        MetaRejection::NothingToDo
    );
    // A fresh one ends the switch.
    let force = cluster.force(Some(2), &[(SHARD, replica(2, 1))]);
    cluster.apply(MetaCommand::Force(force));
    assert_eq!((cluster.meta.mode(), cluster.meta.switch()), (leads(2), None));
    assert!(
        cluster.meta.groups().values().all(|record| !record.is_settled()),
        "all are visited"
    );
}

#[test]
fn a_forced_group_gives_less_until_others_have_what_it_has() {
    let mut cluster = Cluster::in_quorum(3);
    let force = cluster.force(None, &[(SHARD, replica(2, 1))]);
    cluster.apply(MetaCommand::Force(force));
    assert_eq!(
        (cluster.meta.mode(), cluster.meta.guarantee()),
        (Mode::Quorum, Guarantee::Leader)
    );
    cluster.settle();
    assert_eq!(cluster.meta.guarantee(), Guarantee::Majority);
}

#[test]
fn force_in_quorum_mode_gives_a_switch_up() {
    let mut cluster = Cluster::in_quorum(3);
    cluster.switch(leads(1));
    let force = cluster.force(None, &[(SHARD, replica(1, 1))]);
    cluster.apply(MetaCommand::Force(force));
    assert_eq!(
        (cluster.meta.goal(), cluster.meta.guarantee()),
        (Mode::Quorum, Guarantee::Leader),
        "some may have shrunk to one"
    );
    cluster.settle();
    assert_eq!(
        (cluster.meta.switch(), cluster.meta.guarantee()),
        (None, Guarantee::Majority)
    );
}

#[test]
fn the_holder_of_a_forced_group_stays_until_others_have_what_it_has() {
    let mut cluster = Cluster::in_quorum(4);
    let holder = *cluster.shard().voters.last().unwrap();
    let held = *cluster.shard().replicas.get(&holder).unwrap();
    let force = cluster.force(None, &[(SHARD, held)]);
    cluster.apply(MetaCommand::Force(force));
    cluster.apply(drain(holder.get(), true));
    assert_eq!(cluster.shard().replicas.get(&holder), Some(&held));
    assert!(!cluster.shard().voters.contains(&holder), "others are to vote");
    cluster.settle();
    assert!(!cluster.shard().replicas.contains_key(&holder));
}

#[test]
fn a_leader_is_replaced_by_itself_only_when_it_knows_that_it_may_be() {
    let mut cluster = Cluster::of(3);
    assert_eq!(
        (cluster.meta.unarmed_since(), cluster.meta.leased()),
        (Some(0), None)
    );
    cluster.apply(MetaCommand::SetFailover(automatic()));
    let since = cluster.index;
    assert_eq!(cluster.meta.unarmed_since(), Some(since));
    assert_eq!(cluster.meta.leased().map(|(leader, _)| leader), Some(node(1)));
    cluster.apply(MetaCommand::ArmFailover { as_of: since - 1 });
    assert_eq!(
        cluster.meta.unarmed_since(),
        Some(since),
        "it knows something older"
    );
    cluster.apply(MetaCommand::ArmFailover { as_of: since });
    assert_eq!(cluster.meta.unarmed_since(), None);
    // A switch, of which the leader may not know, disarms; also what happens in it.
    cluster.switch(leads(2));
    assert_eq!(cluster.meta.unarmed_since(), Some(cluster.index));
    let as_of = cluster.index;
    cluster.apply(MetaCommand::ArmFailover { as_of });
    assert!(
        cluster.meta.unarmed_since().is_some(),
        "not while it is under way"
    );
    cluster.settle();
    let ended = cluster.index;
    assert_eq!(
        cluster.meta.unarmed_since(),
        Some(ended),
        "the new leader has to know"
    );
    cluster.apply(MetaCommand::ArmFailover { as_of: ended });
    assert_eq!(cluster.meta.unarmed_since(), None);
    cluster.apply(MetaCommand::SetFailover(automatic()));
    assert_eq!(cluster.meta.unarmed_since(), None, "nothing changed");
    let force = cluster.force(Some(3), &[(SHARD, replica(3, 1))]);
    cluster.apply(MetaCommand::Force(force));
    assert_eq!(cluster.meta.unarmed_since(), Some(cluster.index));
}

#[test]
fn a_lease_has_run_out_only_by_the_terms_that_the_leader_goes_by() {
    let mut cluster = Cluster::of(3);
    let longer = Failover::Automatic {
        delay: Duration::from_secs(600),
    };
    for changed in [Failover::Manual, longer] {
        cluster.apply(MetaCommand::SetFailover(automatic()));
        let as_of = cluster.index;
        cluster.apply(MetaCommand::ArmFailover { as_of });
        let mut force = cluster.force(Some(2), &[(SHARD, replica(2, 1))]);
        force.consent = Consent::LeaseExpired;
        assert!(
            cluster
                .clone()
                .try_apply(&MetaCommand::Force(force.clone()))
                .is_ok()
        );
        // The leader may hear of this and not of what follows.
        cluster.apply(MetaCommand::SetFailover(changed));
        assert!(matches!(
            cluster.refused(MetaCommand::Force(force.clone())),
            MetaRejection::Invalid(_)
        ));
        force.consent = Consent::ProcessGone;
        assert!(cluster.clone().try_apply(&MetaCommand::Force(force)).is_ok());
    }
}
