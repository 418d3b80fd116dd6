//! What may happen next.

use crate::bound::{Bound, Mistake};
use crate::node::Loss;
use crate::state::{NODES, Nodes, Phase, State, Target, only};

/// A step of the world. Shards and nodes are given by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the function of the same name")]
pub enum Action {
    Elect {
        shard: usize,
        node: usize,
        others: Nodes,
    },
    Replicate {
        shard: usize,
        leader: usize,
        to: usize,
    },
    Spread {
        shard: usize,
        leader: usize,
    },
    Write {
        shard: usize,
        node: usize,
    },
    Order {
        shard: usize,
        node: usize,
        epoch: u8,
    },
    Leave {
        shard: usize,
        node: usize,
    },
    Expire {
        shard: usize,
        node: usize,
    },
    Decide {
        shard: usize,
        node: usize,
    },
    Fence {
        shard: usize,
        node: usize,
    },
    ForceOn {
        shard: usize,
        node: usize,
        life: u8,
    },
    Confirm {
        shard: usize,
        life: u8,
    },
    ForceAnother {
        shard: usize,
        node: usize,
    },
    Rejoin {
        shard: usize,
        node: usize,
    },
    Crash {
        node: usize,
        loss: Loss,
    },
    Restart {
        node: usize,
    },
    Join {
        node: usize,
    },
    Switch,
    Abort,
    Finish,
    Promote {
        to: usize,
    },
    BlindFailover {
        to: usize,
    },
    Lapse {
        node: usize,
    },
    ExpireLease,
    Renew,
}

impl Action {
    /// Takes the step, if it is possible.
    pub fn take(self, bound: &Bound, state: &State) -> Option<State> {
        let mut next = *state;
        let done = match self {
            Self::Elect { shard, node, others } => next.elect(bound, shard, node, others),
            Self::Replicate { shard, leader, to } => {
                next.leads(shard, leader) && next.takes_part(to) && next.replicate(bound, shard, leader, to)
            }
            Self::Spread { shard, leader } => next.leads(shard, leader) && next.spread(bound, shard, leader),
            Self::Write { shard, node } => next.leads(shard, node) && next.write(bound, shard, node),
            Self::Order { shard, node, epoch } => {
                next.leads(shard, node) && next.order(bound, shard, node, epoch)
            }
            Self::Leave { shard, node } => next.leads(shard, node) && next.leave(bound, shard, node),
            Self::Expire { shard, node } => next.expire(shard, node),
            Self::Decide { shard, node } => next.decide(bound, shard, node),
            Self::Fence { shard, node } => next.fence(bound, shard, node),
            Self::ForceOn { shard, node, life } => next.force_on(bound, shard, node, life),
            Self::Confirm { shard, life } => next.confirm_force(bound, shard, life),
            Self::ForceAnother { shard, node } => next.force_another(bound, shard, node),
            Self::Rejoin { shard, node } => next.rejoin(bound, shard, node),
            Self::Crash { node, loss } => next.crash(bound, node, loss),
            Self::Restart { node } => next.restart(bound, node),
            Self::Join { node } => next.join(bound, node),
            Self::Switch => next.switch(bound),
            Self::Abort => next.abort(),
            Self::Finish => next.finish(bound),
            Self::Promote { to } => next.promote(bound, to),
            Self::BlindFailover { to } => next.blind_failover(bound, to),
            Self::Lapse { node } => next.lapse(node),
            Self::ExpireLease => next.expire_lease(bound),
            Self::Renew => next.renew(bound),
        };
        done.then_some(next)
    }

    /// The steps that are not impossible at first sight.
    pub fn candidates(bound: &Bound, state: &State, actions: &mut Vec<Self>) {
        for shard in 0..bound.shards {
            of_shard(bound, state, shard, actions);
        }
        for node in 0..NODES {
            if state.budget.crashes > 0 && state.is_up(node) {
                actions.push(Self::Crash {
                    node,
                    loss: Loss::Nothing,
                });
                actions.push(Self::Crash {
                    node,
                    loss: Loss::Commit,
                });
                if state.budget.disks > 0 {
                    actions.push(Self::Crash {
                        node,
                        loss: Loss::Disk,
                    });
                }
            }
            if !state.is_up(node) {
                actions.push(Self::Restart { node });
            } else if !state.takes_part(node) {
                actions.push(Self::Join { node });
            }
            if state.budget.promotions > 0 {
                actions.push(Self::Promote { to: node });
                if bound.has(Mistake::BlindFailover) {
                    actions.push(Self::BlindFailover { to: node });
                }
            }
            if bound.policy == crate::bound::Policy::Automatic && state.believes & only(node) != 0 {
                actions.push(Self::Lapse { node });
            }
        }
        actions.extend([
            Self::Switch,
            Self::Abort,
            Self::Finish,
            Self::ExpireLease,
            Self::Renew,
        ]);
    }
}

fn of_shard(bound: &Bound, state: &State, shard: usize, actions: &mut Vec<Action>) {
    let coarse = shard > 0 && bound.coarse;
    let led = coarse && is_well_led(bound, state, shard);
    let newest = state.meta.incarnations[shard];
    for node in 0..NODES {
        let replica = &state.shards[shard].replicas[node];
        if state.leads(shard, node) {
            if coarse {
                actions.push(Action::Spread { shard, leader: node });
            } else {
                let to = (0..NODES).map(|to| Action::Replicate {
                    shard,
                    leader: node,
                    to,
                });
                actions.extend(to);
            }
            if !coarse {
                actions.push(Action::Write { shard, node });
            }
            actions.push(Action::Leave { shard, node });
            actions.extend((1..=state.meta.epoch).map(|epoch| Action::Order { shard, node, epoch }));
        } else if state.takes_part(node)
            && !replica.fenced
            && (!led || state.target() == Target::One(node as u8))
        {
            let all = (0..8).filter(|others: &Nodes| others & only(node) == 0);
            actions.extend(all.map(|others| Action::Elect { shard, node, others }));
        }
        if replica.promise != 0 {
            actions.push(Action::Expire { shard, node });
        }
        if replica.incarnation < newest {
            actions.push(Action::Fence { shard, node });
            actions.push(Action::Rejoin { shard, node });
            let lives = replica.incarnation + 1..=newest;
            actions.extend(lives.map(|life| Action::ForceOn { shard, node, life }));
        }
        if state.is_unconfirmed(shard) {
            actions.push(Action::ForceAnother { shard, node });
        } else if state.meta.phase == Phase::Promoting {
            actions.push(Action::Decide { shard, node });
        }
    }
    let outdated = bound.has(Mistake::ConfirmOutdated);
    let lives = if outdated { 1 } else { newest.max(1) }..=newest;
    actions.extend(lives.map(|life| Action::Confirm { shard, life }));
}

/// Whether a shard has a leader that runs and stays.
fn is_well_led(bound: &Bound, state: &State, shard: usize) -> bool {
    let group = &state.shards[shard];
    let newest = state.meta.incarnations[shard];
    group.newest_leader(newest).is_some_and(|leader| {
        state.leads(shard, leader) && group.applied(leader, bound).voters & group.id(leader) != 0
    })
}
