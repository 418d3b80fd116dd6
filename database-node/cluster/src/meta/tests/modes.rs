//! One leader and quorum, and the way from one to the other.

use super::*;

#[test]
fn quorum_needs_three_nodes_and_nothing_else_under_way() {
    let mut cluster = Cluster::of(2);
    assert_eq!(
        cluster.refused(MetaCommand::Switch { to: Mode::Quorum }),
        MetaRejection::TooFewNodes {
            what: "quorum mode".to_owned(),
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
