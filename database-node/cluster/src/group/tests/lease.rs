//! When a leader has a lease.

use super::*;

#[test]
fn there_is_no_lease_before_a_majority_has_confirmed_it() {
    let mut net = Net::new(&[1, 2, 3]);
    net.group(1).campaign();
    net.settle_where(|message| !matches!(message.body, Body::Appended { .. }));
    assert_eq!(net.group(1).role(), Role::Leader);
    assert!(!net.has_lease(1), "nothing of its term is committed");
    net.group(1).ask_for_confirmation();
    net.settle_where(|message| !matches!(message.body, Body::Appended { .. } | Body::Append { .. }));
    assert!(
        !net.has_lease(1),
        "confirmed, and it does not know what was committed before"
    );
    net.propose(1, 1);
    net.tick(1, 3);
    net.settle_where(|message| ![message.from, message.to].contains(&replica(3)));
    assert!(net.has_lease(1), "one of two others is a majority with itself");
    for node in [2, 3] {
        assert!(!net.has_lease(node));
    }
}

#[test]
fn a_lease_counts_from_when_the_leader_asked() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    assert!(net.has_lease(1));
    let lease = net.timing.leader_lease();
    net.pass(lease - Duration::from_nanos(1));
    assert!(net.has_lease(1));
    net.pass(Duration::from_nanos(1));
    assert!(!net.has_lease(1), "it ends by itself");
    // It asks, and the answer takes a while.
    net.group(1).ask_for_confirmation();
    net.collect(1);
    let half = lease / 2;
    net.pass(half);
    net.settle();
    assert!(net.has_lease(1));
    net.pass(lease - half);
    assert!(!net.has_lease(1), "the time on the way counts");
}

#[test]
fn a_promise_by_a_wrong_clock_is_no_lease() {
    let mut net = Net::new(&[1, 2, 3]);
    net.distrusted.extend([2, 3]);
    net.elect(1);
    net.group(1).ask_for_confirmation();
    net.settle();
    assert!(!net.has_lease(1));
    let now = net.now;
    assert_eq!(
        net.group(1).confirmed_since(now),
        Some(now),
        "what needs no clock counts"
    );
    net.distrusted.remove(&2);
    net.group(1).ask_for_confirmation();
    net.settle();
    assert!(net.has_lease(1), "one of two others is a majority");
}

#[test]
fn an_old_answer_does_not_prolong_a_lease() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.group(1).ask_for_confirmation();
    net.collect(1);
    let asked = std::mem::take(&mut net.sent);
    for message in asked {
        net.receive(message);
    }
    for node in [2, 3] {
        net.collect(node);
    }
    let answers = std::mem::take(&mut net.sent);
    assert_eq!(answers.len(), 2);
    net.pass(net.timing.leader_lease());
    for message in answers {
        net.receive(message);
    }
    assert!(!net.has_lease(1));
}

#[test]
fn a_leader_that_hands_over_has_no_lease_in_its_term_any_more() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.group(1).set_order(Order {
        epoch: Epoch::default(),
        voters: set(&[1, 2, 3]),
        learners: BTreeSet::new(),
        leader: replica(2),
    });
    assert!(net.has_lease(1));
    net.group(1).steer(Going::nobody());
    assert!(!net.has_lease(1), "at once, before anything is sent");
    net.settle_where(|message| message.body != Body::TimeoutNow);
    // The request may still be on its way when the leader has given the attempt up.
    net.group(1).order = None;
    for _ in 0..15 {
        net.pass(net.timing.tick);
        net.tick(1, 1);
        net.settle();
    }
    assert_eq!(net.group(1).role(), Role::Leader);
    net.propose(1, 1);
    net.settle();
    assert!(!net.has_lease(1));
    // In another term it may have one again.
    net.pass(net.timing.silence_after_start());
    net.tick(2, 10);
    net.tick(3, 10);
    net.elect(2);
    assert!(net.has_lease(2) && !net.has_lease(1));
}
