//! Who votes for whom.

use super::*;

#[test]
fn who_is_asked_to_lead_gets_votes_at_once() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.group(1).set_order(Order {
        epoch: Epoch::default(),
        voters: set(&[1, 2, 3]),
        learners: BTreeSet::new(),
        leader: replica(2),
    });
    net.group(1).steer(Going::nobody());
    net.settle();
    assert_eq!(
        (net.group(2).role(), net.group(1).role()),
        (Role::Leader, Role::Follower)
    );
    assert!(net.has_lease(2) && !net.has_lease(1));
}

fn vote(from: u32, to: u32, term: u64, last: LogPoint, is_transfer: bool) -> RaftMessage {
    RaftMessage {
        group: GROUP,
        incarnation: Incarnation::FIRST,
        from: replica(from),
        to: replica(to),
        term,
        stamp: None,
        body: Body::Vote {
            is_pre_vote: false,
            last,
            committed: FOUNDATION,
            is_transfer,
        },
    }
}

/// Whether a replica gives its vote to one whose log is long enough.
fn grants(net: &mut Net, from: u32, to: u32, is_transfer: bool) -> bool {
    let last = net.group(to).last();
    let term = net.group(to).term() + 1;
    net.sent.clear();
    net.receive(vote(from, to, term, last, is_transfer));
    net.collect(to);
    net.sent
        .drain(..)
        .any(|message| matches!(message.body, Body::Voted { is_granted: true, .. }))
}

#[test]
fn nobody_votes_for_another_within_its_promise() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    // The library counts ticks, which may come late and then fast; a promise is by the clock.
    net.tick(2, 10);
    net.sent.clear();
    assert!(!grants(&mut net, 3, 2, false));
    net.pass(net.timing.silence_after_start() - Duration::from_nanos(1));
    assert!(!grants(&mut net, 3, 2, false));
    net.pass(Duration::from_nanos(1));
    assert!(grants(&mut net, 3, 2, false));
}

#[test]
fn a_promise_is_kept_until_after_the_lease_that_rests_on_it() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.tick(2, 10);
    net.sent.clear();
    net.pass(net.timing.leader_lease());
    assert!(!net.has_lease(1));
    assert!(!grants(&mut net, 3, 2, false));
}

#[test]
fn a_promise_binds_nobody_who_asks_for_the_leader() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    assert!(grants(&mut net, 3, 2, true));
}

#[test]
fn nobody_votes_just_after_a_start() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.restart(2);
    assert_eq!(net.group(2).leader(), None, "it has forgotten whom it follows");
    assert!(!grants(&mut net, 3, 2, false), "and may have promised");
    net.pass(net.timing.silence_after_start());
    assert!(grants(&mut net, 3, 2, false));
}

#[test]
fn a_vote_survives_a_restart() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.pass(net.timing.silence_after_start());
    net.tick(2, 10);
    net.sent.clear();
    assert!(grants(&mut net, 3, 2, false));
    let (term, last) = (net.group(2).term(), net.group(2).last());
    net.restart(2);
    net.pass(net.timing.silence_after_start());
    net.receive(vote(1, 2, term, last, false));
    net.collect(2);
    let is_granted = net
        .sent
        .drain(..)
        .any(|message| matches!(message.body, Body::Voted { is_granted: true, .. }));
    assert!(!is_granted, "one vote a term");
}

#[test]
fn who_stops_hands_over_to_whoever_has_the_most_of_the_log_and_stays() {
    for lagging in [2, 3] {
        let other = 5 - lagging;
        let mut net = Net::led_by(1, &[1, 2, 3]);
        net.group(1).propose(&Payload::Command(vec![1])).unwrap();
        net.collect(1);
        net.settle_where(|message| message.to != replica(lagging));
        let nobody = BTreeMap::new();
        let going = Going {
            here: true,
            others: &nobody,
        };
        assert_eq!(net.group(1).successor(going), Some(replica(other)));
        let stops = BTreeMap::from([(replica(other).node(), Instant::default())]);
        let others = Going {
            here: true,
            others: &stops,
        };
        assert_eq!(net.group(1).successor(others), Some(replica(lagging)));
        net.group(1).steer(going);
        assert!(
            net.group(1).propose(&Payload::Command(vec![2])).is_none(),
            "nothing new"
        );
        net.settle();
        assert_eq!(net.group(other).role(), Role::Leader);
        let last = net.group(other).last().index;
        assert_eq!(
            net.group(lagging).last().index,
            last,
            "what was proposed is everywhere"
        );
    }
}
