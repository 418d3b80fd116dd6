//! Groups fall asleep, and are there when they are needed.

use super::*;
use crate::meta::NodeState;
use crate::wire::Beat;

/// The messages that are of a shard.
fn of_shards(heard: &[Message]) -> usize {
    let is_of_shard = |message: &&Message| match message {
        Message::Raft(message) => message.group != META,
        Message::Sleep(_) | Message::Wake { .. } | Message::Order { .. } => true,
        _ => false,
    };
    heard.iter().filter(is_of_shard).count()
}

fn beats(heard: &[Message]) -> usize {
    let is_beat = |message: &&Message| matches!(message, Message::Beat(_));
    heard.iter().filter(is_beat).count()
}

#[test]
fn groups_that_sleep_say_nothing_and_their_nodes_one_beat_for_all() {
    let mut cluster = Cluster::asleep(3, 12, true);
    cluster.pass(600);
    assert!(cluster.are_all_asleep());
    assert_eq!(of_shards(&cluster.heard), 0);
    // Six pairs of nodes, a beat every three ticks.
    assert_eq!(beats(&cluster.heard), 6 * 200);
    let reported = cluster.heard.iter().filter_map(|message| match message {
        Message::Report(report) => Some(report.replicas.len()),
        _ => None,
    });
    assert_eq!(reported.sum::<usize>(), 0, "nothing of them is new");
}

#[test]
fn a_group_alone_sleeps_too() {
    let mut cluster = Cluster::asleep(1, 3, false);
    cluster.pass(600);
    assert_eq!((cluster.node(0).asleep(), beats(&cluster.heard)), (3, 0));
    cluster.write(0, GROUP);
    assert!(!cluster.is_asleep(0, GROUP));
    assert!(cluster.finds(0, Freshness::Linearizable));
    cluster.pass(QUIET);
    assert!(cluster.are_all_asleep());
    assert!(
        cluster.finds(0, Freshness::Linearizable),
        "nobody has to be asked"
    );
    assert!(cluster.is_asleep(0, GROUP));
}

#[test]
fn a_write_wakes_its_group_and_no_other() {
    let mut cluster = Cluster::asleep(3, 2, true);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    for host in 0..3 {
        assert!(!cluster.is_asleep(host, GROUP));
        assert!(cluster.is_asleep(host, GroupId::new(2)));
    }
    cluster.pass(QUIET);
    assert!(cluster.are_all_asleep());
    assert!((0..3).map(|host| cluster.node(host).naps()).sum::<u64>() >= 3);
}

#[test]
fn a_read_that_a_majority_has_to_confirm_wakes_the_group() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    for freshness in [Freshness::Linearizable, Freshness::Quorum] {
        cluster.until(QUIET, |cluster| cluster.are_all_asleep());
        assert!(!cluster.finds((leader + 1) % 3, freshness));
        assert!(
            cluster.are_all_asleep(),
            "who does not lead refuses it and sleeps on"
        );
        cluster.pass(10);
        assert!(cluster.finds(leader, freshness));
        assert!((0..3).all(|host| !cluster.is_asleep(host, GROUP)));
    }
}

#[test]
fn reads_of_replicas_find_what_was_written_and_wake_the_leader_when_age_counts() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    let follower = (leader + 1) % 3;
    let mark = cluster.write(leader, GROUP);
    cluster.until(QUIET, |cluster| cluster.are_all_asleep());
    cluster.pass(20);
    assert!(cluster.finds(follower, Freshness::AtLeast(mark)));
    assert!(cluster.are_all_asleep(), "it has it");
    let recent = Freshness::Within(Duration::from_secs(1));
    let answer = cluster.read(follower, recent);
    assert!(
        matches!(answer, Some(Answer::Refused(Refusal::Stale { .. }))),
        "{answer:?}"
    );
    cluster.pass(6);
    assert!(cluster.finds(follower, recent));
    // As long as it is asked that.
    for _ in 0..20 {
        cluster.pass(5);
        assert!(cluster.finds(follower, recent));
    }
    cluster.until(QUIET, |cluster| cluster.are_all_asleep());
}

#[test]
fn who_leads_asleep_and_is_gone_is_replaced_as_soon_as_one_awake() {
    let mut cluster = Cluster::asleep(3, 6, true);
    let lost = cluster.leader(GROUP).unwrap();
    let led: Vec<GroupId> = (1..=6)
        .map(GroupId::new)
        .filter(|group| cluster.leader(*group) == Some(lost))
        .collect();
    cluster.stop(lost);
    // The last beat may be three ticks old; from it on it is 20 ticks at most, and one for the votes.
    let took = cluster.until(22, |cluster| {
        led.iter().all(|group| cluster.leader(*group).is_some())
    });
    assert!(
        took > 7,
        "nobody is given up before an election timeout has passed: {took}"
    );
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
}

/// What a leader that slept while another was elected answers to a linearizable read.
fn answer_of_a_replaced_sleeper() -> Option<Answer> {
    let mut cluster = Cluster::asleep(3, 1, true);
    let old = cluster.leader(GROUP).unwrap();
    cluster.isolate(old);
    let others = [(old + 1) % 3, (old + 2) % 3];
    cluster.until(25, |cluster| {
        others.iter().any(|host| cluster.node(*host).leads(GROUP))
    });
    let new = others
        .into_iter()
        .find(|host| cluster.node(*host).leads(GROUP))
        .unwrap();
    cluster.write(new, GROUP);
    assert!(
        cluster.node(old).leads(GROUP) && cluster.is_asleep(old, GROUP),
        "it does not know"
    );
    let answer = cluster.read(old, Freshness::Linearizable);
    cluster.cut.clear();
    cluster.until(200, |cluster| cluster.are_all_asleep());
    answer
}

#[test]
fn who_leads_asleep_and_is_replaced_unheard_answers_nothing() {
    let answer = answer_of_a_replaced_sleeper();
    assert!(!matches!(answer, Some(Answer::Read { .. })), "{answer:?}");
}

#[cfg(feature = "mistakes")]
#[test]
fn who_trusted_its_lease_asleep_would_answer() {
    crate::mistakes::plant(Some(crate::mistakes::Mistake::LeaseWhileAsleep));
    let answer = answer_of_a_replaced_sleeper();
    crate::mistakes::plant(None);
    assert!(matches!(answer, Some(Answer::Read { .. })), "{answer:?}");
}

#[test]
fn a_replica_that_was_started_while_all_sleep_hears_of_its_leader() {
    for is_quorum in [true, false] {
        let mut cluster = Cluster::asleep(3, 1, is_quorum);
        let leader = cluster.leader(GROUP).unwrap();
        let mark = cluster.write(leader, GROUP);
        cluster.until(QUIET, |cluster| cluster.are_all_asleep());
        let other = (leader + 1) % 3;
        cluster.stop(other);
        cluster.pass(1);
        cluster.start(other);
        let term = cluster.node(leader).groups[&GROUP].term();
        cluster.until(20, |cluster| {
            cluster.node(other).leader(GROUP) == Some(node(leader))
        });
        assert!(cluster.finds(other, Freshness::AtLeast(mark)));
        cluster.until(10, |cluster| {
            cluster.finds(other, Freshness::Within(Duration::from_secs(1)))
        });
        assert_eq!(
            cluster.node(leader).groups[&GROUP].term(),
            term,
            "nobody was elected for it"
        );
        cluster.until(QUIET, |cluster| cluster.are_all_asleep());
    }
}

#[test]
fn a_replica_that_did_not_hear_that_it_may_sleep_wakes_its_leader() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    let other = (leader + 1) % 3;
    cluster.write(leader, GROUP);
    cluster.until(QUIET, |cluster| {
        // The message is lost that would put it to sleep.
        if cluster.is_asleep(leader, GROUP) {
            return true;
        }
        let quiet = cluster.node(leader).groups[&GROUP].quiet_ticks();
        match quiet >= 19 {
            true => cluster.cut.insert((leader, other)),
            false => true,
        };
        false
    });
    cluster.cut.clear();
    assert!(!cluster.is_asleep(other, GROUP));
    let term = cluster.node(leader).groups[&GROUP].term();
    cluster.until(10, |cluster| !cluster.is_asleep(leader, GROUP));
    cluster.until(QUIET, |cluster| cluster.are_all_asleep());
    assert_eq!(cluster.node(leader).groups[&GROUP].term(), term);
}

#[test]
fn who_hears_no_beats_wakes_and_is_heard() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    let deaf = (leader + 1) % 3;
    cluster.cut.insert((leader, deaf));
    let term = cluster.node(leader).groups[&GROUP].term();
    cluster.until(11, |cluster| !cluster.is_asleep(deaf, GROUP));
    cluster.pass(2);
    assert!(!cluster.is_asleep(leader, GROUP), "it was asked to be awake");
    cluster.pass(100);
    // The others hear their leader, and do not vote.
    assert_eq!(
        (cluster.leader(GROUP), cluster.node(leader).groups[&GROUP].term()),
        (Some(leader), term)
    );
    cluster.cut.clear();
    cluster.until(80, |cluster| cluster.are_all_asleep());
}

#[test]
fn another_process_or_a_group_that_is_led_no_longer_wakes_all_others() {
    let mut cluster = Cluster::asleep(3, 6, true);
    let host = (cluster.leader(GROUP).unwrap() + 1) % 3;
    let from = cluster.node(host).groups[&GROUP].leader().unwrap().node();
    let (beat, under) = cluster.node(host).sleeping.watched(from);
    let asleep = cluster.node(host).asleep();
    let woken = |cluster: &mut Cluster, beat: Beat| {
        let envelope = Envelope {
            cluster: 7,
            from: Peer::Node(from),
            to: Peer::Node(node(host)),
            messages: vec![Message::Beat(beat)],
        };
        cluster.step(host, Input::Receive(envelope));
        asleep - cluster.node(host).asleep()
    };
    assert!(under > 0);
    assert_eq!(woken(&mut cluster, beat), 0);
    let process = beat.process + 1;
    assert_eq!(woken(&mut cluster, Beat { process, ..beat }), under);
    cluster.until(100, |cluster| cluster.are_all_asleep());
    let lost = beat.lost + 1;
    assert_eq!(woken(&mut cluster, Beat { lost, ..beat }), under);
    assert!(
        !cluster.node_mut(host).beat_came(from, beat),
        "that was overtaken"
    );
}

#[test]
fn who_loses_the_leadership_of_a_group_that_it_had_put_to_sleep_says_so() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let old = cluster.leader(GROUP).unwrap();
    let before = cluster.node(old).sleeping.beat;
    cluster.isolate(old);
    cluster.pass(30);
    cluster.cut.clear();
    // It may be asked to lead again at once.
    cluster.until(60, |cluster| {
        cluster.node(old).sleeping.beat.lost == before.lost + 1
    });
    assert_eq!(cluster.node(old).sleeping.beat.process, before.process);
    assert!(!cluster.is_asleep(old, GROUP));
}

#[test]
fn orders_reach_groups_that_sleep() {
    let mut cluster = Cluster::asleep(4, 6, true);
    cluster.switch(Mode::OneLeader { leader: node(1) });
    cluster.until(100, |cluster| cluster.are_all_asleep());
    assert!((1..=6).all(|group| cluster.leader(GroupId::new(group)) == Some(1)));
    // A planned promotion, and the way back.
    cluster.switch(Mode::OneLeader { leader: node(2) });
    cluster.until(100, |cluster| cluster.are_all_asleep());
    cluster.switch(Mode::Quorum);
    cluster.until(200, |cluster| cluster.are_all_asleep());
    let drained = cluster.leader(GROUP).unwrap();
    cluster.change(MetaCommand::SetDraining {
        node: node(drained),
        is_draining: true,
    });
    cluster.until(300, |cluster| {
        let meta = cluster.node((drained + 1) % 4).meta().unwrap();
        let holds_none = |record: &crate::meta::GroupRecord| !record.replicas.contains_key(&node(drained));
        let mut shards = meta.groups().iter().filter(|(id, _)| **id != META);
        let is_done = shards.all(|(_, record)| record.is_settled() && holds_none(record));
        is_done && meta.nodes()[&node(drained)].state == NodeState::Draining
    });
    cluster.until(100, |cluster| cluster.are_all_asleep());
    assert_eq!(cluster.node(drained).asleep(), 0, "nothing is left there");
}

#[test]
fn leaders_return_all_at_once_to_a_node_that_comes_back() {
    let mut cluster = Cluster::asleep(3, 60, true);
    let led = |cluster: &Cluster, host| {
        let ids = cluster.node(host).groups.keys().copied().collect::<Vec<_>>();
        ids.into_iter()
            .filter(|id| *id != META && cluster.node(host).leads(*id))
            .count()
    };
    for host in (0..3).rev() {
        assert_eq!(led(&cluster, host), 20);
        cluster.stop(host);
        cluster.pass(QUIET);
        cluster.start(host);
        let took = cluster.until(1000, |cluster| led(cluster, host) == 20);
        eprintln!("host {host}: {took} ticks");
        assert!(took < 40, "{took} ticks");
        cluster.until(200, |cluster| cluster.are_all_asleep());
    }
}
