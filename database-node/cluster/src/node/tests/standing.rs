//! What is published for readers who do not ask.

use super::*;

impl Cluster {
    /// The machines by whose word one may read, without asking anybody.
    fn readable(&self) -> Vec<(usize, Mark)> {
        let of_group = self.standings.iter().filter(|((_, group), _)| *group == GROUP);
        of_group
            .filter_map(|((host, _), standing)| Some((*host, standing.readable(self.now)?)))
            .collect()
    }
}

#[test]
fn a_leader_can_be_read_from_while_its_lease_lasts_and_no_longer() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    let written = cluster.write(leader, GROUP);
    cluster.pass(10);
    let [(host, mark)] = cluster.readable()[..] else {
        panic!("{:?}", cluster.readable());
    };
    assert_eq!(host, leader);
    assert!(mark.index >= written.index);
    for follower in (0..3).filter(|host| *host != leader) {
        let standing = cluster.standings[&(follower, GROUP)];
        assert!(standing.has(written) && standing.told(cluster.now).is_none());
    }
    // It hears nobody any more, and need not notice.
    cluster.isolate(leader);
    let mut has_new = false;
    for _ in 0..40 {
        cluster.pass(1);
        let readable = cluster.readable();
        assert!(readable.len() <= 1, "{readable:?}");
        has_new |= readable.iter().any(|(host, _)| *host != leader);
        if has_new {
            break;
        }
        let others = (0..3).filter(|host| *host != leader);
        if let Some(host) = others.into_iter().find(|host| cluster.node(*host).leads(GROUP)) {
            cluster.ask(
                host,
                Ask::Await {
                    group: GROUP,
                    freshness: Freshness::Linearizable,
                },
            );
        }
    }
    assert!(has_new, "another leads, and can be read from");
    assert!(cluster.standings[&(leader, GROUP)].told(cluster.now).is_none());
}

#[test]
fn who_asks_another_to_take_over_has_withdrawn_its_word_before() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let before = cluster.leader(GROUP).unwrap();
    cluster.write(before, GROUP);
    cluster.pass(10);
    assert_eq!(cluster.readable().len(), 1);
    let next = (before + 1) % 3;
    cluster.change(MetaCommand::Switch {
        to: Mode::OneLeader { leader: node(next) },
    });
    for _ in 0..300 {
        cluster.pass(1);
        assert!(cluster.readable().len() <= 1, "{:?}", cluster.readable());
        if let [(host, _)] = cluster.readable()[..] {
            assert!(cluster.node(host).leads(GROUP));
        }
    }
    let written = cluster.write(next, GROUP);
    let [(host, mark)] = cluster.readable()[..] else {
        panic!("{:?}", cluster.readable());
    };
    assert!(host == next && mark.index >= written.index);
}

#[test]
fn what_is_committed_and_not_applied_cannot_be_read_yet() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    let written = cluster.write(leader, GROUP);
    let standing = cluster.standings[&(leader, GROUP)];
    let behind = Standing {
        committed: written.index + 1,
        ..standing
    };
    let mark = behind.told(cluster.now).unwrap();
    assert_eq!(mark.index, written.index + 1);
    assert!(behind.readable(cluster.now).is_none() && !behind.has(mark) && behind.has(written));
}

#[test]
fn all_groups_are_looked_at_when_something_is_decided_and_not_with_every_heartbeat() {
    let mut cluster = Cluster::asleep(3, 5, true);
    let host = cluster.leader(META).unwrap();
    let is_seen = |cluster: &Cluster, group| cluster.standings.contains_key(&(host, GroupId::new(group)));
    // The meta group is awake, and sends heartbeats.
    cluster.standings.clear();
    cluster.pass(20);
    assert!((1..=5).all(|group| !is_seen(&cluster, group)));
    cluster.change(MetaCommand::SetReplicationFactor(3));
    cluster.pass(3);
    assert!((1..=5).all(|group| is_seen(&cluster, group)));
}

#[test]
fn a_group_that_is_read_by_what_was_published_does_not_fall_asleep() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    cluster.pass(10);
    for _ in 0..100 {
        assert_eq!(cluster.readable().len(), 1);
        cluster.node_mut(leader).was_read(GROUP);
        cluster.pass(1);
    }
    cluster.until(60, |cluster| cluster.are_all_asleep());
    // The word of one that has just fallen asleep still counts: whoever goes by it wakes the group.
    cluster.node_mut(leader).was_read(GROUP);
    cluster.pass(3);
    assert_eq!(cluster.readable().len(), 1);
    // The only voter needs nobody, and sleeps.
    let mut alone = Cluster::asleep(3, 1, false);
    let leader = alone.leader(GROUP).unwrap();
    alone.node_mut(leader).was_read(GROUP);
    alone.pass(1);
    assert!(alone.are_all_asleep());
}
