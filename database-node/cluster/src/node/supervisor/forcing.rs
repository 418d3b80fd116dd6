//! Forcing: what goes on with one replica when no leader can be elected, by itself or because an owner asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::super::{Node, Refusal};
use super::{Proposal, SILENCE, Supervisor};
use crate::group::{Group, Role};
use crate::ids::{Epoch, LogPoint, NodeId, ReplicaId};
use crate::meta::{Consent, Failover, Force, Forced, GroupRecord, META, Meta, MetaCommand, Mode};
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now};

/// The other replicas of a forced group that are there: all have stopped.
#[derive(Default)]
struct Stopped {
    /// The longest log of them, and whose it is.
    longest: Option<(LogPoint, ReplicaId)>,
    /// Whose they are.
    nodes: BTreeSet<NodeId>,
}

/// Since when nobody new has been found to have stopped, of those that were known by then.
pub(super) struct StoppedSince {
    epoch: Epoch,
    nodes: BTreeSet<NodeId>,
    at: Instant,
}

impl Supervisor {
    /// Whether a group can elect a leader with the nodes that are there.
    fn can_elect(&self, group: GroupId, record: &GroupRecord, now: Instant) -> bool {
        let reports = self
            .replicas
            .range((group, NodeId::new(0))..=(group, NodeId::new(u32::MAX)));
        let known = reports
            .map(|(_, report)| report)
            .filter(|report| report.incarnation == record.incarnation)
            .max_by_key(|report| (report.config.changed_at, report.term));
        let is_there = |replica: ReplicaId| {
            self.is_there(replica.node(), now)
                && self
                    .replica(group, replica, record.incarnation)
                    .is_some_and(|report| report.halted.is_none())
        };
        known.is_some_and(|report| report.config.members.has_quorum(is_there))
    }

    /// The replica with the longest log of those that are there.
    fn longest(&self, group: GroupId, record: &GroupRecord, now: Instant) -> Option<(ReplicaId, LogPoint)> {
        let there = record
            .replicas
            .values()
            .filter(|replica| self.is_there(replica.node(), now));
        let reports = there.filter_map(|replica| self.replica(group, *replica, record.incarnation));
        let able = reports
            .filter(|report| report.halted.is_none() && !report.is_installing && report.last.index > 0);
        let longest = able.max_by_key(|report| (report.last, report.replica.node()));
        longest.map(|report| (report.replica, report.last))
    }

    /// When all other replicas of a forced group that are there have stopped: which, and the longest log of them.
    fn stopped(&self, group: GroupId, record: &GroupRecord, meta: &Meta, now: Instant) -> Option<Stopped> {
        let there = record.former.values().filter(|replica| {
            let is_known = meta.nodes().contains_key(&replica.node());
            is_known && self.is_there(replica.node(), now)
        });
        let mut stopped = Stopped::default();
        for replica in there {
            let report = self.replicas.get(&(group, replica.node()));
            // One that the node does not have any more has no log.
            let Some(report) = report.filter(|report| report.replica == *replica) else {
                continue;
            };
            if report.halted.is_some() || !record.is_left(report.incarnation) {
                continue;
            }
            // How long its log is shows when the snapshot is in place.
            if !report.is_superseded || report.is_installing {
                return None;
            }
            stopped.nodes.insert(replica.node());
            let is_retried = record.tried.contains(&report.incarnation);
            let end = report.fork.filter(|_| is_retried).unwrap_or(report.last);
            stopped.longest = stopped.longest.max((end.index > 0).then_some((end, *replica)));
        }
        Some(stopped)
    }

    /// What is to be decided next about a group that was forced and is not confirmed.
    fn next_of_forced(
        &mut self,
        group: GroupId,
        record: &GroupRecord,
        forced: Forced,
        meta: &Meta,
        now: Now,
        promise: Duration,
    ) -> Option<MetaCommand> {
        let now = now.steady;
        let Some(Stopped { longest, nodes }) = self.stopped(group, record, meta, now) else {
            self.stopped_since.remove(&group);
            return None;
        };
        let known = self.stopped_since.get(&group);
        let known = known.filter(|since| since.epoch == forced.epoch && nodes.is_subset(&since.nodes));
        let at = known.map_or(now, |since| since.at);
        let nodes = known.map_or(nodes, |since| since.nodes.clone());
        let epoch = forced.epoch;
        self.stopped_since
            .insert(group, StoppedSince { epoch, nodes, at });
        // The last of them may have promised the old leader a lease until then (decision 8, rule 22).
        let is_free = now.since(at) >= promise;
        let holder = self.replica(group, forced.replica, record.incarnation);
        let is_there = self.is_there(forced.replica.node(), now);
        // A node tells of all replicas that it has opened.
        let here = self.replicas.get(&(group, forced.replica.node()));
        let here = here.filter(|report| report.replica == forced.replica);
        let is_able = here.is_some_and(|report| report.halted.is_none());
        let is_exceeded = match holder.and_then(|report| report.fork) {
            Some(fork) => longest.is_some_and(|(last, _)| last > fork),
            None => false,
        };
        if is_there && is_able && !is_exceeded {
            let goes_on = holder.is_some_and(|report| report.role == Role::Leader);
            let epoch = forced.epoch;
            return (goes_on && is_free).then_some(MetaCommand::ConfirmForce { group, epoch });
        }
        let (fork, replica) = longest?;
        let epoch = forced.epoch;
        let gone = match meta.mode() {
            Mode::OneLeader { leader } => Some(leader).filter(|leader| !self.is_there(*leader, now)),
            Mode::Quorum => None,
        };
        Some(MetaCommand::ForceAnother {
            group,
            epoch,
            replica,
            fork,
            gone,
        })
    }
}

impl<L: OrderedStore> Node<L> {
    /// Automatic failover begins to count when the leader is known to go by it.
    pub(super) fn arm_failover(&mut self, now: Now, meta: &Meta) {
        let (Some(supervisor), Some((leader, _)), Some(needed)) =
            (&mut self.supervisor, meta.leased(), meta.unarmed_since())
        else {
            return;
        };
        let goes_by_it = supervisor
            .nodes
            .get(&leader)
            .is_some_and(|seen| seen.meta_applied >= needed);
        let is_settled = meta.switch().is_none() && meta.groups().values().all(GroupRecord::is_settled);
        if goes_by_it && is_settled && supervisor.may_propose(Proposal::Arm, now.steady) {
            self.propose_change(MetaCommand::ArmFailover { as_of: needed });
        }
    }

    /// Replaces a leader for which nobody has vouched for too long.
    pub(super) fn fail_over(&mut self, now: Now, meta: &Meta) {
        // By a clock that no other agrees with the leader's lease may not be over.
        let counts_right = self.counts_right(now);
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        let (Mode::OneLeader { leader }, Failover::Automatic { delay }) = (meta.mode(), meta.failover())
        else {
            return;
        };
        let is_permitted = meta.unarmed_since().is_none() && meta.switch().is_none();
        if !counts_right || (!is_permitted && !has(Mistake::LossyFailoverDuringSwitch)) {
            return;
        }
        // Who was supervisor before may have vouched until this one began.
        let vouched = supervisor
            .vouched
            .get(&leader)
            .copied()
            .unwrap_or_default()
            .max(supervisor.since);
        if now.steady.since(vouched) < delay || supervisor.is_there(leader, now.steady) {
            return;
        }
        let Ok(force) = decide(supervisor, meta, now.steady, None, Consent::LeaseExpired) else {
            return;
        };
        if supervisor.may_propose(Proposal::Failover, now.steady) {
            let at = self.propose_change(MetaCommand::Force(force));
            self.note_forcing(at);
        }
    }

    /// Confirms what was forced when the replica goes on, all others that are there take no part any more, and none of
    /// them has a longer log. Takes the one with the longest log instead when that is another, or when the replica is
    /// gone: nothing has been acknowledged in the new life yet.
    pub(super) fn confirm_forced(&mut self, now: Now, meta: &Meta) {
        let promise = self.settings.timing.silence_after_start();
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        if now.steady.since(supervisor.since) < SILENCE {
            return;
        }
        let mut proposals = Vec::new();
        for (id, record) in meta.groups() {
            let Some(forced) = record.unconfirmed() else {
                continue;
            };
            let Some(command) = supervisor.next_of_forced(*id, record, forced, meta, now, promise) else {
                continue;
            };
            if supervisor.may_propose(Proposal::Confirm(*id), now.steady) {
                proposals.push(command);
            }
        }
        for command in proposals {
            self.propose_change(command);
        }
    }

    fn note_forcing(&mut self, at: Option<LogPoint>) {
        if let (Some(supervisor), Some(at)) = (&mut self.supervisor, at) {
            supervisor.forcing = Some(at);
        }
    }

    /// An entry of the meta group is applied: one that was to force groups may have been refused.
    pub(in crate::node) fn note_forced(&mut self, at: LogPoint) {
        if let Some(supervisor) = &mut self.supervisor
            && supervisor
                .forcing
                .is_some_and(|forcing| forcing.index <= at.index)
        {
            supervisor.forcing = None;
        }
    }

    pub(in crate::node) fn force_asked(&mut self, token: u64, leader: Option<NodeId>, consent: Consent) {
        let is_known = |meta: &Meta| leader.is_none_or(|leader| meta.nodes().contains_key(&leader));
        if !self.meta().is_some_and(is_known) {
            let reason = "the node that is to lead is not part of the cluster".to_owned();
            return self.refuse(token, Refusal::Impossible(reason));
        }
        let known_leader = self.leader(META);
        let Some(supervisor) = &mut self.supervisor else {
            return self.refuse(token, Refusal::NotLeader { leader: known_leader });
        };
        if supervisor.asked.is_some() {
            return self.refuse(token, Refusal::Busy("another promotion is being prepared"));
        }
        supervisor.asked = Some((token, leader, consent));
    }

    /// Forces as somebody asked, once everybody who is there had the time to say so.
    pub(super) fn force_as_asked(&mut self, now: Now, meta: &Meta) {
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        if supervisor.asked.is_none() || now.steady.since(supervisor.since) < SILENCE {
            return;
        }
        let Some((token, leader, consent)) = supervisor.asked.take() else {
            return;
        };
        match decide(supervisor, meta, now.steady, leader, consent) {
            Ok(force) => {
                let at = self.propose_for(token, MetaCommand::Force(force));
                self.note_forcing(at);
            }
            Err(reason) => self.refuse(token, Refusal::Impossible(reason.to_owned())),
        }
    }

    /// Goes on with this node alone, when the meta group cannot elect a leader.
    pub(in crate::node) fn force_meta_asked(&mut self, now: Now, token: u64, consent: Consent) {
        let (Some(group), Some(node), Some(meta)) = (self.groups.get(&META), self.id(), self.meta()) else {
            return self.refuse(token, Refusal::UnknownGroup(META));
        };
        if group.leadership().is_some() || group.hears_leader(now.steady, &self.settings.timing) {
            let reason = "the meta group has a leader; promote without forcing it".to_owned();
            return self.refuse(token, Refusal::Impossible(reason));
        }
        if consent == Consent::LeaseExpired {
            let reason = "say that the other processes are gone, or accept that they may go on".to_owned();
            return self.refuse(token, Refusal::Impossible(reason));
        }
        let Some(record) = meta.group(META) else {
            return self.refuse(token, Refusal::UnknownGroup(META));
        };
        let is_here = |id: &GroupId, record: &GroupRecord| {
            let replica = self
                .groups
                .get(id)
                .filter(|group| group.has_data())
                .map(Group::replica);
            replica.is_some_and(|replica| record.can_go_on_with(replica))
        };
        let missing = meta.groups().iter().filter(|(id, record)| !is_here(id, record));
        let missing: Vec<String> = missing.map(|(id, _)| id.to_string()).collect();
        if !missing.is_empty() {
            let reason = format!("this node has no replica of the groups {}", missing.join(", "));
            return self.refuse(token, Refusal::Impossible(reason));
        }
        let incarnation = record.incarnation.next(node);
        if let Some((earlier, _)) = self.forced_meta.replace((token, consent)) {
            self.refuse(earlier, Refusal::Busy("somebody else has asked for it since"));
        }
        self.applying.force(META, incarnation, None);
        self.touched.insert(META);
    }

    /// The replica of the meta group here was forced, and what the meta group knows is still of before: it says so, and
    /// takes everything over that this node has. Whoever asked for it may be gone by now, with the process of then.
    pub(super) fn take_over(&mut self, now: Now, meta: &Meta) {
        let Some(node) = self.id() else {
            return;
        };
        let may_propose =
            |supervisor: &mut Supervisor| supervisor.may_propose(Proposal::TakeOver, now.steady);
        if !self.supervisor.as_mut().is_some_and(may_propose) {
            return;
        }
        let mut holders = BTreeMap::new();
        for (id, record) in meta.groups() {
            let here = self.groups.get(id).filter(|group| group.has_data());
            if let Some(group) = here.filter(|group| record.can_go_on_with(group.replica())) {
                holders.insert(*id, (group.replica(), group.last()));
            }
        }
        let heard = self.groups.values().map(|group| group.config().epoch).max();
        let asked = self.forced_meta.take();
        let force = Force {
            as_of: meta.epoch(),
            heard: heard.unwrap_or_default(),
            leader: Some(node),
            holders,
            consent: asked.map_or(Consent::AcceptSplitBrain, |(_, consent)| consent),
        };
        match asked {
            Some((token, _)) => self.propose_for(token, MetaCommand::Force(force)),
            None => self.propose_change(MetaCommand::Force(force)),
        };
    }
}

/// With which replicas the groups that cannot elect a leader go on, or why none can be forced. A group of which no
/// replica is there stays as it is: the others need not wait for it.
fn decide(
    supervisor: &Supervisor,
    meta: &Meta,
    now: Instant,
    leader: Option<NodeId>,
    consent: Consent,
) -> Result<Force, &'static str> {
    let stuck = meta.groups().iter().filter(|(id, record)| {
        let can_elect = supervisor.can_elect(**id, record, now) && !has(Mistake::LossyFailoverDuringSwitch);
        **id != META && !can_elect && record.unconfirmed().is_none()
    });
    let holders = stuck.clone();
    let holders: BTreeMap<_, _> = holders
        .filter_map(|(id, record)| Some((*id, supervisor.longest(*id, record, now)?)))
        .collect();
    if holders.is_empty() {
        return Err(match stuck.count() {
            0 => {
                "every group has a leader or can elect one; nothing has to be forced, so promote without force"
            }
            _ => "no replica of the groups without a leader is on a node that is there",
        });
    }
    let leader = match (meta.mode(), leader) {
        (Mode::OneLeader { .. }, None) => most_frequent(&holders),
        (_, leader) => leader,
    };
    Ok(Force {
        as_of: meta.epoch(),
        heard: Epoch::default(),
        leader,
        holders,
        consent,
    })
}

/// The node that holds most of them: the least has to move.
fn most_frequent(holders: &BTreeMap<GroupId, (ReplicaId, LogPoint)>) -> Option<NodeId> {
    let nodes: BTreeSet<NodeId> = holders.values().map(|(replica, _)| replica.node()).collect();
    let count = |node: &NodeId| {
        holders
            .values()
            .filter(|(replica, _)| replica.node() == *node)
            .count()
    };
    nodes.into_iter().max_by_key(count)
}
