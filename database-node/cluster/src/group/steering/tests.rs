use proptest::prelude::*;

use super::super::config::Members;
use super::*;
use crate::ids::{Incarnation, NodeId};

fn replica(node: u32) -> ReplicaId {
    ReplicaId::new(NodeId::new(node), 1)
}

fn set(nodes: &[u32]) -> BTreeSet<ReplicaId> {
    nodes.iter().copied().map(replica).collect()
}

fn epoch(number: u64) -> Epoch {
    (0..number).fold(Epoch::default(), |epoch, _| epoch.next())
}

fn order(voters: &[u32], learners: &[u32], leader: u32) -> Order {
    Order {
        epoch: epoch(2),
        voters: set(voters),
        learners: set(learners),
        leader: replica(leader),
    }
}

/// A group that does what it is told at once, and whose replicas have what they are said to have.
#[derive(Debug, Clone)]
struct Model {
    leader: ReplicaId,
    config: GroupConfig,
    last: u64,
    catch_up: u64,
    /// Those that are gone, or have not caught up.
    behind: BTreeSet<ReplicaId>,
}

impl Model {
    fn new(voters: &[u32], learners: &[u32], leader: u32) -> Self {
        Self {
            leader: replica(leader),
            config: GroupConfig {
                incarnation: Incarnation::FIRST,
                members: Members::new(set(voters), set(learners)),
                epoch: epoch(2),
                changed_at: 1,
            },
            last: 1000,
            catch_up: 1000,
            behind: BTreeSet::new(),
        }
    }

    fn joint(mut self, voters: &[u32], outgoing: &[u32]) -> Self {
        self.config.members.voters = set(voters);
        self.config.members.outgoing = set(outgoing);
        let gone: BTreeSet<ReplicaId> = set(outgoing).difference(&set(voters)).copied().collect();
        self.config.members.learners_next = gone;
        self
    }

    fn next(&self, order: &Order) -> Option<Step> {
        let view = View {
            replica: self.leader,
            config: &self.config,
            has_pending: false,
            last: self.last,
            catch_up: self.catch_up,
        };
        next_step(&view, order, |replica| {
            let is_live = !self.behind.contains(&replica);
            self.config
                .members
                .contains(replica)
                .then_some((if is_live { self.last } else { 3 }, is_live))
        })
    }

    /// Who votes at the moment.
    fn votes(&self, replica: &ReplicaId) -> bool {
        self.config.members.voters.contains(replica) || self.config.members.outgoing.contains(replica)
    }

    /// Does a step, which must be one that may be done.
    fn take(&mut self, step: &Step, order: &Order) {
        let before = self.config.members.clone();
        let is_there = |replica: ReplicaId| !self.behind.contains(&replica);
        let members = &mut self.config.members;
        match step {
            Step::Epoch(epoch) => {
                assert!(*epoch > self.config.epoch);
                self.config.epoch = *epoch;
            }
            Step::HandOver(to) => {
                assert!(
                    *to != self.leader && members.voters.contains(to) && is_there(*to),
                    "{step:?} {self:?}"
                );
                self.leader = *to;
            }
            Step::Change(change) => {
                assert!(
                    change.to_raft(members).is_some(),
                    "it fits: {change:?} {members:?}"
                );
                match change {
                    MembershipChange::AddLearner(replica) => {
                        members.learners.insert(*replica);
                    }
                    MembershipChange::Remove(replica) => {
                        assert!(!members.voters.contains(replica) && !order.learners.contains(replica));
                        members.learners.remove(replica);
                    }
                    MembershipChange::Enter { voters } => {
                        for new in voters.difference(&members.voters) {
                            assert!(members.learners.contains(new), "a learner before it votes: {new}");
                            assert!(is_there(*new), "it has not caught up: {new}");
                        }
                        members.outgoing = members.voters.clone();
                        members.voters = voters.clone();
                        members.learners = members.learners.difference(voters).copied().collect();
                        members.learners_next = members.outgoing.difference(voters).copied().collect();
                        let alive = |set: &BTreeSet<ReplicaId>| {
                            set.iter().filter(|replica| is_there(**replica)).count()
                        };
                        assert!(
                            alive(&members.voters) > members.voters.len() / 2,
                            "no majority: {self:?}"
                        );
                        assert!(
                            voters.contains(&self.leader),
                            "who goes does not send others away: {self:?}"
                        );
                    }
                    MembershipChange::Leave => {
                        assert!(members.voters.contains(&self.leader), "{self:?}");
                        members.outgoing.clear();
                        members.learners.append(&mut members.learners_next);
                    }
                }
            }
        }
        let members = &self.config.members;
        if !before.is_joint() && !members.is_joint() {
            assert_eq!(
                before.voters, members.voters,
                "voters change through a joint configuration only: {step:?}"
            );
        }
        assert!(self.votes(&self.leader), "who leads votes: {step:?} {self:?}");
        assert!(members.learners.is_disjoint(&members.voters));
    }

    /// All steps to the end.
    fn run(&mut self, order: &Order) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.next(order) {
            self.take(&step, order);
            steps.push(step);
            assert!(steps.len() < 50, "it goes round: {steps:?}");
        }
        steps
    }
}

fn enter(nodes: &[u32]) -> Step {
    Step::Change(MembershipChange::Enter { voters: set(nodes) })
}

const LEAVE: Step = Step::Change(MembershipChange::Leave);

fn add(node: u32) -> Step {
    Step::Change(MembershipChange::AddLearner(replica(node)))
}

fn remove(node: u32) -> Step {
    Step::Change(MembershipChange::Remove(replica(node)))
}

fn hand_over(node: u32) -> Step {
    Step::HandOver(replica(node))
}

#[test]
fn an_order_of_a_new_epoch_is_noted_before_anything_else() {
    let mut group = Model::new(&[1], &[2, 3], 1);
    group.config.epoch = epoch(1);
    let order = order(&[1], &[2, 3], 1);
    assert_eq!(
        group.run(&order),
        [Step::Epoch(epoch(2))],
        "also where nothing is to be done"
    );
    group.config.epoch = epoch(3);
    assert_eq!(group.next(&order), None, "it is void");
    let order = super::tests::order(&[2], &[4], 2);
    assert_eq!(group.next(&order), None, "also where something would be to do");
}

#[test]
fn one_leader_becomes_quorum_and_back() {
    let mut group = Model::new(&[1], &[2, 3, 4], 1);
    assert_eq!(
        group.run(&order(&[1, 2, 3], &[4], 2)),
        [enter(&[1, 2, 3]), LEAVE, hand_over(2)]
    );
    assert_eq!(
        group.run(&order(&[1], &[2, 3, 4], 1)),
        [hand_over(1), enter(&[1]), LEAVE]
    );
}

#[test]
fn the_leader_moves_to_a_node_that_is_new() {
    let mut group = Model::new(&[1], &[], 1);
    assert_eq!(
        group.run(&order(&[2], &[3], 2)),
        [
            add(2),
            add(3),
            enter(&[1, 2]),
            LEAVE,
            hand_over(2),
            enter(&[2]),
            LEAVE,
            remove(1)
        ]
    );
}

#[test]
fn a_joint_configuration_is_left_whatever_is_wanted() {
    for order in [order(&[1], &[2, 3], 1), order(&[7], &[], 7)] {
        let group = Model::new(&[1], &[], 1).joint(&[1, 2, 3], &[1]);
        assert_eq!(group.next(&order), Some(LEAVE));
    }
    let mut group = Model::new(&[1], &[], 2).joint(&[1], &[1, 2, 3]);
    assert_eq!(
        group.next(&order(&[1], &[2, 3], 1)),
        Some(hand_over(1)),
        "who goes hands over first"
    );
    group.behind = set(&[1]);
    assert_eq!(
        group.next(&order(&[1], &[2, 3], 1)),
        None,
        "nobody is there to take over"
    );
}

#[test]
fn nobody_votes_who_has_not_caught_up() {
    let order = order(&[1, 2, 3], &[], 1);
    let mut group = Model::new(&[1], &[2, 3], 1);
    group.behind = set(&[3]);
    assert_eq!(group.next(&order), None, "one is behind, and a majority is there");
    group.behind.clear();
    assert_eq!(group.next(&order), Some(enter(&[1, 2, 3])));
    // Voters already, of which too few are there to leave again.
    let order = super::tests::order(&[1, 2, 3], &[4], 1);
    let mut group = Model::new(&[1, 2, 3, 4], &[], 1);
    group.behind = set(&[2, 3]);
    assert_eq!(group.next(&order), None);
    group.behind = set(&[3]);
    assert_eq!(group.next(&order), Some(enter(&[1, 2, 3])));
}

#[test]
fn a_change_that_is_pending_is_waited_for() {
    let group = Model::new(&[1], &[2, 3], 1);
    let view = View {
        replica: replica(1),
        config: &group.config,
        has_pending: true,
        last: 5,
        catch_up: 5,
    };
    assert_eq!(
        next_step(&view, &order(&[1, 2, 3], &[], 1), |_| Some((5, true))),
        None
    );
}

#[test]
fn leadership_goes_to_who_is_near_the_end_only() {
    let order = order(&[1, 2, 3], &[], 2);
    let mut group = Model::new(&[1, 2, 3], &[], 1);
    assert_eq!(group.next(&order), Some(hand_over(2)));
    group.behind = set(&[2]);
    assert_eq!(group.next(&order), None);
}

fn nodes(at_least: usize) -> impl Strategy<Value = Vec<u32>> {
    proptest::sample::subsequence((1..=6).collect::<Vec<u32>>(), at_least..=5)
}

proptest! {
    #[test]
    fn every_order_is_reached(
        (voters, learners, outgoing) in (nodes(1), nodes(0), nodes(0)),
        leader in any::<proptest::sample::Index>(),
        orders in proptest::collection::vec((nodes(1), nodes(0), any::<proptest::sample::Index>(), 0_usize..20), 1..4),
    ) {
        let learners: Vec<u32> = learners.into_iter().filter(|node| !voters.contains(node)).collect();
        let mut group = Model::new(&voters, &learners, *leader.get(&voters));
        if !outgoing.is_empty() && outgoing != voters {
            let learners: Vec<u32> = learners.into_iter().filter(|node| !outgoing.contains(node)).collect();
            group = Model::new(&voters, &learners, *leader.get(&voters)).joint(&voters, &outgoing);
        }
        let count = orders.len();
        for (number, (voters, learners, leader, steps)) in orders.into_iter().enumerate() {
            let learners: Vec<u32> = learners.into_iter().filter(|node| !voters.contains(node)).collect();
            let mut order = order(&voters, &learners, *leader.get(&voters));
            order.epoch = epoch(3 + number as u64);
            if number + 1 < count {
                // Another decision is made on the way.
                for _ in 0..steps {
                    let Some(step) = group.next(&order) else { break };
                    group.take(&step, &order);
                }
                continue;
            }
            group.run(&order);
            prop_assert_eq!(&group.config.members, &Members::new(order.voters.clone(), order.learners.clone()));
            prop_assert_eq!((group.leader, group.config.epoch), (order.leader, order.epoch));
        }
    }

    #[test]
    fn who_is_missing_is_waited_for(
        (voters, wanted, behind) in (nodes(1), nodes(1), nodes(0)),
        leader in any::<proptest::sample::Index>(),
    ) {
        let leader = *leader.get(&voters);
        let mut group = Model::new(&voters, &[], leader);
        group.behind = set(&behind);
        group.behind.remove(&replica(leader));
        // Who leads has a majority, or does not lead for long.
        while !group.config.members.has_quorum(|replica| !group.behind.contains(&replica)) {
            group.behind.pop_first();
        }
        let order = order(&wanted, &[], wanted[0]);
        // Every step is looked at.
        group.run(&order);
        // When they are back it goes on.
        group.behind.clear();
        group.run(&order);
        prop_assert_eq!(&group.config.members, &Members::new(order.voters.clone(), BTreeSet::new()));
        prop_assert_eq!(group.leader, order.leader);
    }
}
