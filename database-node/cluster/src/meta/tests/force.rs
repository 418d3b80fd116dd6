//! Groups that go on by force.

use super::*;

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
