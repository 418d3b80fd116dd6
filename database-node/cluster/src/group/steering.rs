//! From the members that a group has to those that it is to have, a step at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::config::{GroupConfig, MembershipChange};
use crate::ids::{Epoch, ReplicaId};
use crate::mistakes::{Mistake, has};

/// How many entries behind the leader a replica may be that takes over: writes stop until it has them.
const HAND_OVER_LAG: u64 = 256;

/// What a supervisor wants of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The epoch in which this was decided.
    pub epoch: Epoch,
    /// Who is to vote.
    pub voters: BTreeSet<ReplicaId>,
    /// Who is to follow.
    pub learners: BTreeSet<ReplicaId>,
    /// Who is to lead.
    pub leader: ReplicaId,
}

/// What a leader does next about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes orders of earlier epochs void.
    Epoch(Epoch),
    /// Changes the members.
    Change(MembershipChange),
    /// Hands over to another voter.
    HandOver(ReplicaId),
}

/// A leader's view of its group.
pub(crate) struct View<'a> {
    pub(crate) replica: ReplicaId,
    pub(crate) config: &'a GroupConfig,
    /// Whether a change is proposed and not applied.
    pub(crate) has_pending: bool,
    /// The end of the log.
    pub(crate) last: u64,
    /// How far a replica must have come before it may vote.
    pub(crate) catch_up: u64,
}

/// The next step, if there is one to take now. `at` tells of a replica how far its log agrees and whether it is alive.
pub(crate) fn next_step(
    view: &View<'_>,
    order: &Order,
    at: impl Fn(ReplicaId) -> Option<(u64, bool)>,
) -> Option<Step> {
    let (config, members) = (view.config, &view.config.members);
    let is_void = order.epoch < config.epoch && !has(Mistake::OrdersWithoutEpoch);
    if view.has_pending || is_void {
        return None;
    }
    if order.epoch > config.epoch {
        return Some(Step::Epoch(order.epoch));
    }
    let has_come_to = |replica: ReplicaId, index: u64| {
        replica == view.replica || at(replica).is_some_and(|(matched, is_live)| is_live && matched >= index)
    };
    let heir = || {
        let staying = order.voters.intersection(&members.voters).copied();
        let preferred = std::iter::once(order.leader)
            .chain(staying)
            .chain(members.voters.iter().copied());
        preferred
            .filter(|replica| *replica != view.replica && members.voters.contains(replica))
            .find(|replica| has_come_to(*replica, view.last.saturating_sub(HAND_OVER_LAG)))
    };
    if members.is_joint() {
        // Also when something else is wanted by now: from between two there is no other way.
        return match members.voters.contains(&view.replica) {
            true => Some(Step::Change(MembershipChange::Leave)),
            false => heir().map(Step::HandOver),
        };
    }
    let wanted = || order.voters.union(&order.learners);
    if let Some(missing) = wanted().find(|replica| !members.contains(**replica)) {
        return Some(Step::Change(MembershipChange::AddLearner(*missing)));
    }
    if members.voters != order.voters && !order.voters.contains(&view.replica) {
        // Who goes itself does not send others away: with its longer log it could lock out those that stay. It hands over
        // to one that stays, and lets one in if there is none (decision 8, rule 6).
        let stays = |replica: &ReplicaId| order.voters.contains(replica);
        if members.voters.iter().any(stays) {
            return heir()
                .filter(|heir| order.voters.contains(heir))
                .map(Step::HandOver);
        }
        let first = std::iter::once(&order.leader).chain(&order.voters);
        let first = first
            .filter(|replica| stays(replica))
            .find(|replica| has_come_to(**replica, view.catch_up))?;
        let mut voters = members.voters.clone();
        voters.insert(*first);
        return Some(Step::Change(MembershipChange::Enter { voters }));
    }
    if members.voters != order.voters {
        let has_caught_up = |replica: &&ReplicaId| has_come_to(**replica, view.catch_up);
        let are_new_ready = order
            .voters
            .difference(&members.voters)
            .all(|replica| has_caught_up(&replica));
        // From between two there is no way back, so the majority that is needed then must be there now.
        let ready = order.voters.iter().filter(has_caught_up).count();
        return (are_new_ready && ready > order.voters.len() / 2).then(|| {
            let voters = order.voters.clone();
            Step::Change(MembershipChange::Enter { voters })
        });
    }
    let is_extra = |replica: &&ReplicaId| !order.learners.contains(replica);
    if let Some(extra) = members.learners.iter().find(is_extra) {
        return Some(Step::Change(MembershipChange::Remove(*extra)));
    }
    let leads_by_order = order.leader == view.replica || !order.voters.contains(&order.leader);
    if !leads_by_order && has_come_to(order.leader, view.last.saturating_sub(HAND_OVER_LAG)) {
        return Some(Step::HandOver(order.leader));
    }
    None
}

#[cfg(test)]
mod tests;
