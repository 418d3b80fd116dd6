//! Does the switch end? From a state the faults stop, one node at most stays away for good, and everybody does
//! what the protocol asks for, in one fair order. What was under way must then end.
//!
//! Every step that is taken here leads forwards, and what is under way ends with it or not at all; so a state
//! from which no such order leads to the end is one in which the protocol is stuck.

use crate::actions::Action;
use crate::bound::{Bound, Policy};
use crate::log::CAPACITY;
use crate::node::Loss;
use crate::state::{NODES, Nodes, Phase, State, Target};

/// The most steps that healing may take.
const STEPS: usize = 200;

/// Whether what is under way ends, with all nodes and without any one of them.
pub fn ends(bound: &Bound, state: &State) -> bool {
    stuck(bound, state).is_none()
}

/// How healing gets stuck: the node that stays away, the steps, and where they led.
pub fn stuck(bound: &Bound, state: &State) -> Option<(Option<usize>, Vec<Action>, State)> {
    if state.meta.phase == Phase::Stable {
        return None;
    }
    let bound = Bound {
        terms: u8::MAX,
        crashes: u8::MAX,
        ..*bound
    };
    let mut state = *state;
    state.budget.crashes = u8::MAX;
    state.budget.others = u8::MAX;
    // A node whose disk was lost is the one that is gone.
    let wiped = (0..NODES).find(|node| state.shards[0].replicas[*node].generation > 0);
    let gone = (0..NODES).filter(|node| wiped.is_none_or(|wiped| wiped == *node));
    std::iter::once(None).chain(gone.map(Some)).find_map(|gone| {
        let mut healing = Healing {
            bound,
            state,
            gone,
            steps: Vec::new(),
        };
        (!healing.ends()).then_some((gone, healing.steps, healing.state))
    })
}

/// A state on its way.
struct Healing {
    bound: Bound,
    state: State,
    gone: Option<usize>,
    steps: Vec<Action>,
}

impl Healing {
    fn ends(&mut self) -> bool {
        if let Some(node) = self.gone {
            self.take(Action::Crash {
                node,
                loss: Loss::Nothing,
            });
        }
        for _ in 0..STEPS {
            if self.state.meta.phase == Phase::Stable {
                return true;
            }
            if !self.step() {
                return false;
            }
        }
        // A log that is full says nothing about the protocol.
        let logs = self.state.shards.iter().flat_map(|shard| &shard.replicas);
        logs.map(|replica| replica.log.len())
            .any(|length| length == CAPACITY)
    }

    /// Takes a step if it is possible.
    fn take(&mut self, action: Action) -> bool {
        let bound = self.bound;
        self.take_in(&bound, action)
    }

    fn take_in(&mut self, bound: &Bound, action: Action) -> bool {
        let Some(next) = action.take(bound, &self.state) else {
            return false;
        };
        self.state = next;
        self.steps.push(action);
        true
    }

    fn step(&mut self) -> bool {
        let mut any = false;
        let gone = self.gone;
        for node in (0..NODES).filter(|node| Some(*node) != gone) {
            any |= self.take(Action::Restart { node });
            any |= self.take(Action::Join { node });
        }
        any |= self.take(Action::Renew);
        for shard in 0..self.bound.shards {
            for node in 0..NODES {
                any |= self.take(Action::Expire { shard, node });
            }
            any |= self.settle(shard);
        }
        if any || self.take(Action::Finish) {
            return true;
        }
        self.give_way()
    }

    /// What a shard does by itself and by the orders of the current epoch.
    fn settle(&mut self, shard: usize) -> bool {
        let mut any = false;
        for node in 0..NODES {
            any |= self.take(Action::Fence { shard, node });
        }
        any |= self.force(shard);
        for node in 0..NODES {
            any |= self.take(Action::Rejoin { shard, node });
        }
        if let Some(leader) = self.newest_leader(shard) {
            for to in 0..NODES {
                if self.state.takes_part(to) && self.state.leads(shard, leader) {
                    // Promises are of no concern here, and would be made again for ever.
                    let quiet = Bound {
                        read_leases: false,
                        ..self.bound
                    };
                    any |= self.take_in(&quiet, Action::Replicate { shard, leader, to });
                }
            }
            any |= self.take(Action::Leave { shard, node: leader });
            any |= self.take(Action::Order {
                shard,
                node: leader,
                epoch: self.state.meta.epoch,
            });
        }
        if any {
            return true;
        }
        // Who will stay leads, if it can; else whoever can.
        let leader = self.newest_leader(shard);
        let target = self.state.target();
        let stays = |node: usize| match target {
            Target::One(home) => usize::from(home) == node,
            Target::Quorum => true,
        };
        let Some(leader) = leader else {
            return self.elect(shard, stays) || self.elect(shard, |_| true);
        };
        if !self.state.is_settled(shard, leader) {
            return self.elect(shard, |_| true);
        }
        let group = self.state.shards[shard];
        let applied = group.applied(leader, &self.bound);
        if applied.is_joint() {
            let incoming = |node: usize| applied.voters & group.id(node) != 0;
            return !incoming(leader) && self.elect(shard, incoming);
        }
        !stays(leader) && self.elect(shard, stays)
    }

    /// Who is to go on does, and is confirmed, or gives way to another when it is gone or lacks something.
    fn force(&mut self, shard: usize) -> bool {
        let life = self.state.meta.incarnations[shard];
        let holder = usize::from(self.state.meta.lives[shard][usize::from(life)].holder);
        let mut any = (0..NODES).any(|node| self.take(Action::ForceOn { shard, node, life }));
        any |= self.take(Action::Confirm { shard, life });
        if self.state.is_unconfirmed(shard)
            && (!self.state.can_hold(shard, holder) || self.state.is_exceeded(shard, holder))
        {
            any |= (0..NODES).any(|node| self.take(Action::ForceAnother { shard, node }));
        }
        any
    }

    fn newest_leader(&self, shard: usize) -> Option<usize> {
        let replicas = &self.state.shards[shard].replicas;
        let newest = self.state.meta.incarnations[shard];
        let leaders = (0..NODES)
            .filter(|node| self.state.leads(shard, *node) && replicas[*node].incarnation == newest)
            .filter(|node| {
                // One that has been deposed and does not know it does not count.
                let term = replicas[*node].term;
                let ahead = replicas
                    .iter()
                    .filter(|other| other.incarnation == newest && other.term > term);
                ahead.count() == 0
            });
        leaders.max_by_key(|node| replicas[*node].term)
    }

    fn elect(&mut self, shard: usize, whom: impl Fn(usize) -> bool) -> bool {
        for node in (0..NODES).filter(|node| whom(*node)) {
            for others in 0..8 as Nodes {
                if others & (1 << node) == 0 && self.take(Action::Elect { shard, node, others }) {
                    return true;
                }
            }
        }
        false
    }

    /// Nothing moves any more. Shards that cannot elect are forced, where a promotion is under way. With a
    /// node gone for good, the way on is the one to a single leader on another.
    fn give_way(&mut self) -> bool {
        let home = usize::from(self.state.meta.home);
        self.state.budget.promotions = 1;
        self.state.budget.aborts = 1;
        // A leader node whose disk was lost will not lead as what it was.
        let wiped = self.state.shards[0].replicas[home].generation > 0;
        if self.gone == Some(home) || wiped {
            self.take(Action::Crash {
                node: home,
                loss: Loss::Nothing,
            });
            let by_hand = Bound {
                policy: Policy::Manual,
                ..self.bound
            };
            return (0..NODES).any(|to| self.take_in(&by_hand, Action::Promote { to }));
        }
        // The longest at once; that another may be chosen is for the faults.
        let longest = Bound {
            others: 0,
            ..self.bound
        };
        let decides = (0..self.bound.shards).flat_map(|shard| (0..NODES).map(move |node| (shard, node)));
        let mut decides = decides.map(|(shard, node)| Action::Decide { shard, node });
        decides.any(|decide| self.take_in(&longest, decide))
            || (self.gone.is_some() && self.state.target() == Target::Quorum && self.take(Action::Abort))
    }
}
