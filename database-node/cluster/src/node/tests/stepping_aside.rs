//! A node that is about to stop hands over what it leads.

use super::*;
use crate::meta::Failover;

/// How long whoever stops a process waits.
const WITHIN: Duration = Duration::from_secs(10);

/// What came of it, within so many ticks.
fn step_aside(cluster: &mut Cluster, host: usize, ticks: u32) -> usize {
    step_aside_within(cluster, host, ticks, WITHIN)
}

fn step_aside_within(cluster: &mut Cluster, host: usize, ticks: u32, within: Duration) -> usize {
    let token = cluster.ask(host, Ask::StepAside { within });
    cluster.until(ticks + 1, |cluster| cluster.answers.contains_key(&token));
    match cluster.answers.remove(&token) {
        Some(Answer::SteppedAside { kept }) => kept,
        answer => panic!("{answer:?}"),
    }
}

fn led(cluster: &Cluster, host: usize) -> Vec<GroupId> {
    let groups = (0..=6).map(GroupId::new);
    groups
        .filter(|group| cluster.leader(*group) == Some(host))
        .collect()
}

#[test]
fn who_stops_hands_over_without_waiting_for_time_and_is_handed_nothing_meanwhile() {
    let mut cluster = Cluster::asleep(3, 6, true);
    let host = cluster.leader(META).unwrap();
    let before = led(&cluster, host);
    assert!(before.len() >= 3, "{before:?}");
    for group in &before[1..] {
        cluster.write(host, *group);
    }
    assert_eq!(step_aside(&mut cluster, host, 0), 0);
    // It takes round trips, and no tick.
    for group in (0..=6).map(GroupId::new) {
        let leader = cluster.leader(group).unwrap();
        assert_ne!(leader, host, "{group}");
    }
    let took_over: BTreeSet<usize> = before
        .iter()
        .map(|group| cluster.leader(*group).unwrap())
        .collect();
    assert_eq!(took_over.len(), 2, "not all by the same");
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    // The supervisor would have it back, as soon as it may.
    for _ in 0..50 {
        cluster.pass(1);
        assert_eq!(led(&cluster, host), []);
    }
    // The second time there is nothing to do.
    assert_eq!(step_aside(&mut cluster, host, 0), 0);
    cluster.stop(host);
    for _ in 0..15 {
        cluster.pass(1);
        let missing = (0..=6).find(|group| cluster.leader(GroupId::new(*group)).is_none());
        assert_eq!(missing, None, "nobody has to be elected");
    }
    cluster.start(host);
    cluster.until(100, |cluster| led(cluster, host) == before);
    assert!(cluster.finds(cluster.leader(GROUP).unwrap(), Freshness::Linearizable));
}

#[test]
fn a_write_that_was_proposed_before_is_answered_by_who_has_proposed_it() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let host = cluster.leader(GROUP).unwrap();
    cluster.write(host, GROUP);
    let others = [(host + 1) % 3, (host + 2) % 3];
    // It is not committed yet.
    cluster.cut.extend(others.map(|other| (other, host)));
    let operation = cluster.operation(GROUP);
    let written = cluster.ask(
        host,
        Ask::Write {
            group: GROUP,
            operation,
        },
    );
    let aside = cluster.ask(host, Ask::StepAside { within: WITHIN });
    assert!(!cluster.answers.contains_key(&aside));
    cluster.cut.clear();
    cluster.until(20, |cluster| cluster.answers.contains_key(&aside));
    assert!(matches!(
        cluster.answers[&written],
        Answer::Written { result: Ok(_), .. }
    ));
    let leader = cluster.leader(GROUP).unwrap();
    assert_ne!(leader, host);
    assert!(cluster.finds(leader, Freshness::Linearizable));
}

#[test]
fn another_is_asked_when_the_first_does_not_take_over() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let host = cluster.leader(GROUP).unwrap();
    cluster.write(host, GROUP);
    let others = [(host + 1) % 3, (host + 2) % 3];
    let chosen = others[usize::try_from(GROUP.get()).unwrap() % 2];
    // It is heard, and hears nothing any more.
    cluster.cut.extend(
        (0..3)
            .filter(|other| *other != chosen)
            .map(|other| (other, chosen)),
    );
    assert_eq!(step_aside(&mut cluster, host, 40), 0);
    let leader = cluster.leader(GROUP).unwrap();
    assert!(leader != host && leader != chosen);
    cluster.write(leader, GROUP);
}

#[test]
fn who_cannot_hand_over_stops_all_the_same() {
    let mut cluster = Cluster::asleep(3, 2, true);
    let host = cluster.leader(GROUP).unwrap();
    cluster.isolate(host);
    step_aside(&mut cluster, host, 60);
    for nodes in [1, 2] {
        let mut alone = Cluster::asleep(nodes, 2, false);
        assert_eq!(step_aside(&mut alone, 0, 0), 3, "nobody else can lead any of it");
        alone.write(0, GROUP);
    }
}

#[test]
fn with_failover_by_hand_the_leader_of_all_databases_stays_it() {
    let mut cluster = Cluster::asleep(3, 2, false);
    let leader = cluster.leader(GROUP).unwrap();
    assert_eq!(step_aside(&mut cluster, leader, 0), 2);
    let supervisor = cluster.leader(META).unwrap();
    assert_ne!(supervisor, leader);
    cluster.pass(30);
    let mode = Mode::OneLeader { leader: node(leader) };
    assert_eq!(cluster.node(supervisor).meta().unwrap().mode(), mode);
    // Until it is gone it answers.
    cluster.write(leader, GROUP);
    cluster.stop(leader);
    cluster.pass(30);
    cluster.start(leader);
    cluster.until(100, |cluster| led(cluster, leader).len() == 3);
    assert!(cluster.finds(leader, Freshness::Linearizable));
}

/// Failover by itself, once it counts.
fn set_automatic(cluster: &mut Cluster) {
    let delay = Duration::from_secs(4);
    cluster.change(MetaCommand::SetFailover(Failover::Automatic { delay }));
    cluster.until(100, |cluster| {
        let supervisor = cluster.leader(META).map(|host| cluster.node(host));
        supervisor.is_some_and(|node| node.meta().unwrap().unarmed_since().is_none())
    });
}

#[test]
fn with_automatic_failover_another_is_promoted_before_the_leader_stops() {
    for leads_meta in [true, false] {
        let mut cluster = Cluster::asleep(3, 2, false);
        let leader = cluster.leader(GROUP).unwrap();
        cluster.write(leader, GROUP);
        set_automatic(&mut cluster);
        if !leads_meta {
            cluster.isolate(leader);
            let others =
                |cluster: &Cluster| (0..3).find(|host| *host != leader && cluster.node(*host).leads(META));
            cluster.until(30, |cluster| others(cluster).is_some());
            cluster.cut.clear();
        }
        assert_eq!(
            step_aside(&mut cluster, leader, 60),
            0,
            "leads the meta group: {leads_meta}"
        );
        cluster.stop(leader);
        let next = cluster.leader(GROUP).unwrap();
        assert_ne!(next, leader);
        assert!(cluster.finds(next, Freshness::Linearizable), "nothing is lost");
        cluster.write(next, GROUP);
        let mode = Mode::OneLeader { leader: node(next) };
        cluster.until(60, |cluster| cluster.node(next).meta().unwrap().mode() == mode);
        // It comes back as one that follows.
        cluster.start(leader);
        cluster.pass(60);
        assert_eq!(led(&cluster, leader), []);
    }
}

/// The leader stays away, and another takes its place by itself.
fn is_replaced_when_it_is_gone(cluster: &mut Cluster, leader: usize) {
    let nodes = cluster.up().map(|host| cluster.node(host).meta().unwrap());
    let switches: Vec<_> = nodes.filter_map(Meta::switch).collect();
    assert_eq!(switches, [], "nothing is begun that needs who is not there");
    cluster.stop(leader);
    cluster.until(300, |cluster| {
        let next = cluster.leader(GROUP);
        next.is_some_and(|next| {
            cluster.node(next).meta().unwrap().mode() == Mode::OneLeader { leader: node(next) }
        })
    });
    cluster.pass(60);
    let next = cluster.leader(GROUP).unwrap();
    cluster.write(next, GROUP);
}

#[test]
fn nobody_is_promoted_in_the_place_of_a_leader_that_does_not_wait_for_it() {
    let mut cluster = Cluster::asleep(3, 2, false);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    assert_eq!(step_aside(&mut cluster, leader, 0), 2);
    // It was told that it can be stopped, and is not yet.
    set_automatic(&mut cluster);
    cluster.pass(10);
    assert_eq!(led(&cluster, leader).len(), 2);
    is_replaced_when_it_is_gone(&mut cluster, leader);
}

#[test]
fn nobody_is_promoted_when_there_is_no_time_for_it() {
    let mut cluster = Cluster::asleep(3, 2, false);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    set_automatic(&mut cluster);
    let within = Duration::from_secs(3);
    assert_eq!(step_aside_within(&mut cluster, leader, 31, within), 2);
    is_replaced_when_it_is_gone(&mut cluster, leader);
}
