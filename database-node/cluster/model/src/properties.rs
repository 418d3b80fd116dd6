//! What must hold in every state, and what must be reachable for that to mean anything.

use stateright::Property;

use crate::Cluster;
use crate::bound::{Bound, Mode};
use crate::heal::ends;
use crate::state::{Life, NODES, Phase, State, Target, only};

/// All properties, in the order in which they are reported.
pub fn all() -> Vec<Property<Cluster>> {
    vec![
        Property::always(
            "no acknowledged write is lost undeclared",
            |model: &Cluster, state: &State| each(model, |shard| has_all(state, shard)),
        ),
        Property::always(
            "one history is committed in an incarnation",
            |model: &Cluster, state: &State| each(model, |shard| is_one_history(state, shard)),
        ),
        Property::always(
            "at most one leader of a shard answers",
            |model: &Cluster, state: &State| each(model, |shard| has_one_voice(&model.bound, state, shard)),
        ),
        Property::always(
            "who answers knows every acknowledged write",
            |model: &Cluster, state: &State| each(model, |shard| is_fresh(&model.bound, state, shard)),
        ),
        Property::always(
            "an incarnation that is over acknowledges nothing",
            |_: &Cluster, state: &State| !state.broken.superseded,
        ),
        Property::always(
            "losses are declared in one-leader mode only",
            |_: &Cluster, state: &State| !state.broken.lost_in_quorum,
        ),
        Property::always(
            "a promotion loses nothing that an election would keep",
            |_: &Cluster, state: &State| !state.broken.lost_needlessly,
        ),
        Property::always(
            "no replica gives up what it knew to be committed",
            |_: &Cluster, state: &State| !state.broken.conflict,
        ),
        Property::always(
            "a confirmed force loses nothing that another who is there has",
            |_: &Cluster, state: &State| !state.broken.lost_from_present,
        ),
        Property::always(
            "nobody is wiped who has what the leader lacks and nobody declared lost",
            |_: &Cluster, state: &State| !state.broken.wiped,
        ),
        Property::always(
            "of one life at most one other is confirmed",
            |model: &Cluster, state: &State| each(model, |shard| has_one_successor(state, shard)),
        ),
        Property::always(
            "nobody was answered in a life that was given up",
            |model: &Cluster, state: &State| each(model, |shard| was_silent(&model.bound, state, shard)),
        ),
        Property::always(
            "published Quorum survives any one node",
            |model: &Cluster, state: &State| {
                state.meta.published == Mode::OneLeader
                    || each(model, |shard| survives(&model.bound, state, shard))
            },
        ),
        Property::always(
            "at rest every shard is as the mode says",
            |model: &Cluster, state: &State| {
                state.meta.phase != Phase::Stable
                    || each(model, |shard| is_settled(&model.bound, state, shard))
            },
        ),
        Property::always(
            "whatever happens, the switch ends",
            |model: &Cluster, state: &State| !model.bound.liveness || ends(&model.bound, state),
        ),
        Property::sometimes(
            "a switch to Quorum is published",
            |model: &Cluster, state: &State| {
                is_switched(&model.bound, state) && state.target() == Target::Quorum
            },
        ),
        Property::sometimes(
            "a switch to OneLeader is published",
            |model: &Cluster, state: &State| {
                is_switched(&model.bound, state) && state.target() != Target::Quorum
            },
        ),
        Property::sometimes(
            "an abort ends where the switch began",
            |model: &Cluster, state: &State| {
                state.meta.phase == Phase::Stable
                    && state.meta.epoch > 0
                    && state.budget.aborts < model.bound.aborts
            },
        ),
        Property::sometimes(
            "a promotion ends a switch to Quorum",
            |model: &Cluster, state: &State| {
                // A promotion right behind the order to grow, before Quorum was published.
                let epoch = usize::from(state.meta.epoch);
                state.meta.phase == Phase::Stable
                    && state.budget.promotions < model.bound.promotions
                    && state.budget.aborts == model.bound.aborts
                    && epoch > 0
                    && state.target() != Target::Quorum
                    && state.meta.targets[epoch - 1] == Target::Quorum
                    && model.bound.start == Mode::OneLeader
                    && model.bound.switches == 1
            },
        ),
        Property::sometimes(
            "a promotion forces one shard and elects in the other",
            |model: &Cluster, state: &State| {
                let forced = |shard: usize| state.life(shard) > 0;
                model.bound.shards == 2 && state.meta.phase == Phase::Stable && forced(0) != forced(1)
            },
        ),
        Property::sometimes("a promotion declares a loss", |_: &Cluster, state: &State| {
            state.shards.iter().any(|shard| shard.lost != 0)
        }),
        Property::sometimes(
            "another is confirmed instead of the one that was forced",
            |model: &Cluster, state: &State| (0..model.bound.shards).any(|shard| is_another(state, shard)),
        ),
        Property::sometimes(
            "the one that was forced first is taken again",
            |model: &Cluster, state: &State| {
                let lives = |shard: usize| &state.meta.lives[shard][..=usize::from(state.life(shard))];
                (0..model.bound.shards).any(|shard| {
                    let (life, last) = (usize::from(state.life(shard)), lives(shard));
                    (1..life).any(|tried| {
                        last[tried]
                            == Life {
                                epoch: last[tried].epoch,
                                ..last[life]
                            }
                    })
                })
            },
        ),
        Property::sometimes(
            "one that was given up comes back in the life that was confirmed",
            |model: &Cluster, state: &State| {
                (0..model.bound.shards).any(|shard| {
                    let (life, lives) = (state.life(shard), &state.meta.lives[shard]);
                    let replicas = &state.shards[shard].replicas;
                    let tried = &lives[usize::from(lives[usize::from(life)].from) + 1..=usize::from(life)];
                    let is_back = |tried: &Life| {
                        tried.holder != lives[usize::from(life)].holder
                            && replicas[usize::from(tried.holder)].incarnation == life
                    };
                    tried.iter().any(is_back)
                })
            },
        ),
        Property::sometimes(
            "a lease expires and its node gets a successor",
            |model: &Cluster, state: &State| {
                model.bound.policy == crate::bound::Policy::Automatic
                    && state.budget.promotions < model.bound.promotions
                    && state.meta.phase == Phase::Stable
                    && state.believes & only(usize::from(state.meta.home)) != 0
            },
        ),
        Property::sometimes(
            "a restarted node leads again",
            |model: &Cluster, state: &State| {
                state.budget.crashes < model.bound.crashes
                    && state.up & state.joined == 7
                    && state.shards[0]
                        .replicas
                        .iter()
                        .any(|replica| replica.leads && replica.term > 1)
            },
        ),
        Property::sometimes(
            "a lease of several voters answers",
            |model: &Cluster, state: &State| {
                (0..NODES).any(|node| {
                    let group = &state.shards[0];
                    state.answers(&model.bound, 0, node)
                        && !group.applied(node, &model.bound).is_quorum(group.id(node))
                })
            },
        ),
    ]
}

/// Whether a switch has ended, and nothing else was decided on.
fn is_switched(bound: &Bound, state: &State) -> bool {
    state.meta.phase == Phase::Stable
        && state.meta.epoch > 0
        && state.budget.aborts == bound.aborts
        && state.budget.promotions == bound.promotions
}

fn each(model: &Cluster, holds: impl Fn(usize) -> bool) -> bool {
    (0..model.bound.shards).all(holds)
}

/// The newest leader of the incarnation that was confirmed last has every acknowledged write that was not declared
/// lost. When replicas have left for another that is not confirmed, who is the newest cannot be told any more.
fn has_all(state: &State, shard: usize) -> bool {
    let group = &state.shards[shard];
    let life = state.life(shard);
    let is_left = group.replicas.iter().any(|replica| replica.incarnation > life);
    is_left
        || group.newest_leader(life).is_none_or(|leader| {
            let log = &group.replicas[leader].log;
            group.acknowledged & !group.lost & !log.writes(log.len() as u8) == 0
        })
}

/// What two replicas of one incarnation know to be committed is the same as far as both know.
fn is_one_history(state: &State, shard: usize) -> bool {
    let replicas = &state.shards[shard].replicas;
    (0..NODES).all(|node| {
        (0..node).all(|another| {
            let (one, other) = (&replicas[node], &replicas[another]);
            let (had, has) = (state.had(shard, node), state.had(shard, another));
            let common = one.log.common(&other.log);
            (one.incarnation != other.incarnation || common >= usize::from(one.commit.min(other.commit)))
                && (had.life != has.life || common >= usize::from(had.commit.min(has.commit)))
        })
    })
}

/// No two leaders answer at one moment, unless a promotion accepted that.
fn has_one_voice(bound: &Bound, state: &State, shard: usize) -> bool {
    let answer = |node: &usize| state.answers(bound, shard, *node);
    state.meta.split_brain || (0..NODES).filter(answer).count() <= 1
}

/// A leader that answers has applied every acknowledged write.
fn is_fresh(bound: &Bound, state: &State, shard: usize) -> bool {
    let group = &state.shards[shard];
    (0..NODES).all(|node| {
        let replica = &group.replicas[node];
        let known = replica.log.writes(replica.commit);
        let excused = state.meta.split_brain && replica.incarnation < state.life(shard);
        group.acknowledged & !group.lost & !known == 0 || excused || !state.answers(bound, shard, node)
    })
}

/// No two lives were confirmed that began from the same one.
fn has_one_successor(state: &State, shard: usize) -> bool {
    let is_confirmed = |life: &usize| state.meta.confirmed[shard] & 1 << life != 0;
    let from = |life: usize| state.meta.lives[shard][life].from;
    let newest = usize::from(state.meta.incarnations[shard]);
    let confirmed = || (1..=newest).filter(is_confirmed);
    confirmed().all(|one| confirmed().all(|other| one == other || from(one) != from(other)))
}

/// Whether the life that was confirmed last is not the first that was tried.
fn is_another(state: &State, shard: usize) -> bool {
    let life = state.life(shard);
    life > state.meta.lives[shard][usize::from(life)].from + 1
}

/// In a life that was given up before it was confirmed nobody was answered, and nobody is.
fn was_silent(bound: &Bound, state: &State, shard: usize) -> bool {
    let newest = state.meta.incarnations[shard];
    let given_up = ((1 << newest) - 1) & !state.meta.confirmed[shard];
    let group = &state.shards[shard];
    group.answered & given_up == 0
        && (0..NODES).all(|node| {
            given_up & 1 << group.replicas[node].incarnation == 0 || !state.answers(bound, shard, node)
        })
}

/// With any one node gone for good, and the others restarted, these can elect a leader. A disk that was lost
/// is the node that is gone.
fn survives(bound: &Bound, state: &State, shard: usize) -> bool {
    let group = &state.shards[shard];
    let wiped = (0..NODES).find(|node| group.replicas[*node].generation > 0);
    (0..NODES)
        .filter(|gone| wiped.is_none_or(|wiped| wiped == *gone))
        .all(|gone| {
            (0..NODES).filter(|node| *node != gone).any(|node| {
                let candidate = &group.replicas[node];
                let votes = |voter: &usize| {
                    let replica = &group.replicas[*voter];
                    *voter != gone
                        && replica.incarnation == candidate.incarnation
                        && replica.log.position() <= candidate.log.position()
                };
                let configuration = group.configuration(node, candidate.floor, bound);
                let voters = (0..NODES).filter(votes).map(|voter| group.id(voter)).sum();
                configuration.voters & group.id(node) != 0 && configuration.is_quorum(voters)
            })
        })
}

/// The newest leader has the voters of the mode and nothing else on its way.
fn is_settled(bound: &Bound, state: &State, shard: usize) -> bool {
    let group = &state.shards[shard];
    !state.is_unconfirmed(shard)
        && group.newest_leader(state.life(shard)).is_none_or(|leader| {
            let replica = &group.replicas[leader];
            let applied = group.applied(leader, bound);
            let nodes = |replicas: u8| (replicas | replicas >> NODES) & 7;
            let repairs = group.replicas.iter().any(|replica| replica.generation > 0);
            let at_rest = !applied.is_joint() && !replica.log.has_change_after(replica.commit);
            !state.is_settled(shard, leader)
                || (nodes(applied.voters) == nodes(group.voters(state.target())) && (at_rest || repairs))
        })
}
