//! The supervisor: while its node leads the meta group, it brings every group to where it is to be, and notes when it
//! is there. All that must outlive it is in the meta group; what it knows besides comes back with the next reports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::joining::Joiners;
use super::{Node, Refusal};
use crate::group::{Group, Order, Role};
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};
use crate::meta::{Consent, Failover, Force, Forced, GroupRecord, META, Meta, MetaCommand, Mode};
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now};
use crate::wire::{Heard, Message, Peer, ReplicaReport, Report};

/// A node that was not heard for so long is not there, as far as forcing goes.
const SILENCE: Duration = Duration::from_secs(3);

/// What the leader of the meta group knows of the others.
pub(super) struct Supervisor {
    pub(super) joiners: Joiners,
    since: Instant,
    nodes: BTreeMap<NodeId, Seen>,
    replicas: BTreeMap<(GroupId, NodeId), ReplicaReport>,
    /// When this one last vouched for a node.
    vouched: BTreeMap<NodeId, Instant>,
    /// Who asked to force, and what.
    asked: Option<(u64, Option<NodeId>, Consent)>,
    /// The entry that is to force groups, until it is applied.
    forcing: Option<LogPoint>,
    /// What was proposed lately, so that it is not proposed over and over.
    proposed: BTreeMap<Proposal, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When the last report came.
    at: Instant,
    /// When it was sent, by the sender's clock, and by which of the node's processes.
    sent_at: Instant,
    process: u64,
    meta_applied: u64,
    apply_version: u16,
    /// The report that is to be answered next, once this supervisor is confirmed.
    unanswered: Option<Unanswered>,
}

#[derive(Debug, Clone, Copy)]
struct Unanswered {
    sent_at: Instant,
    came_at: Instant,
    wants_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proposal {
    Settled(GroupId),
    Arm,
    Failover,
    Confirm(GroupId),
    TakeOver,
    Replace(GroupId, ReplicaId),
    Version(NodeId),
}

/// What was proposed and did not happen is proposed again after this.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(2);

impl Supervisor {
    fn new(now: Instant) -> Self {
        Self {
            joiners: Joiners::new(),
            since: now,
            nodes: BTreeMap::new(),
            replicas: BTreeMap::new(),
            vouched: BTreeMap::new(),
            asked: None,
            forcing: None,
            proposed: BTreeMap::new(),
        }
    }

    fn is_there(&self, node: NodeId, now: Instant) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|seen| now.since(seen.at) < SILENCE)
    }

    /// What is known of a replica, unless it is of another life or another replica.
    fn replica(
        &self,
        group: GroupId,
        replica: ReplicaId,
        incarnation: Incarnation,
    ) -> Option<&ReplicaReport> {
        let report = self.replicas.get(&(group, replica.node()))?;
        (report.replica == replica && report.incarnation == incarnation).then_some(report)
    }

    /// The replica that leads a group, as far as is known.
    fn leader(&self, group: GroupId, record: &GroupRecord) -> Option<&ReplicaReport> {
        let reports = self
            .replicas
            .range((group, NodeId::new(0))..=(group, NodeId::new(u32::MAX)));
        let leaders = reports.map(|(_, report)| report).filter(|report| {
            report.role == Role::Leader && report.incarnation == record.incarnation && report.halted.is_none()
        });
        leaders.max_by_key(|report| report.term)
    }

    /// Whether a group is as wanted: its leader says so, by order of this epoch, and every voter has applied the entry
    /// by which it became so.
    fn is_as_wanted(&self, group: GroupId, record: &GroupRecord) -> bool {
        let Some(leader) = self.leader(group, record) else {
            return false;
        };
        let is_met = leader.config.epoch == record.epoch && record.is_met_by(&leader.config.members);
        let leads = record.replicas.get(&record.leader) == Some(&leader.replica);
        let has_applied = |replica: ReplicaId| {
            let report = self.replica(group, replica, record.incarnation);
            report.is_some_and(|report| {
                report.config.changed_at >= leader.config.changed_at && report.config.epoch >= record.epoch
            })
        };
        is_met && leads && record.voting().into_iter().all(has_applied)
    }

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

    /// Whether a group has no majority without a replica.
    fn is_needed(&self, group: GroupId, replica: ReplicaId, record: &GroupRecord) -> bool {
        let reports = self
            .replicas
            .range((group, NodeId::new(0))..=(group, NodeId::new(u32::MAX)));
        let of_life = reports
            .map(|(_, report)| report)
            .filter(|report| report.incarnation == record.incarnation);
        let known = of_life.max_by_key(|report| (report.config.changed_at, report.term));
        known.is_none_or(|report| {
            let members = &report.config.members;
            let votes = members.voters.contains(&replica) || members.outgoing.contains(&replica);
            votes && !members.has_quorum(|other| other != replica)
        })
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

    /// What is to be decided next about a group that was forced and is not confirmed.
    fn next_of_forced(
        &self,
        group: GroupId,
        record: &GroupRecord,
        forced: Forced,
        meta: &Meta,
        now: Instant,
    ) -> Option<MetaCommand> {
        let there = record.former.values().filter(|replica| {
            let is_known = meta.nodes().contains_key(&replica.node());
            is_known && self.is_there(replica.node(), now)
        });
        let mut longest: Option<(LogPoint, ReplicaId)> = None;
        for replica in there {
            let report = self.replicas.get(&(group, replica.node()));
            // One that the node does not have any more has no log.
            let Some(report) = report.filter(|report| report.replica == *replica) else {
                continue;
            };
            if report.halted.is_some() || report.is_installing || report.incarnation != forced.from {
                continue;
            }
            if !report.is_superseded {
                return None;
            }
            longest = longest.max((report.last.index > 0).then_some((report.last, *replica)));
        }
        let holder = self.replica(group, forced.replica, record.incarnation);
        let is_there = self.is_there(forced.replica.node(), now);
        let is_able = holder.is_none_or(|report| report.halted.is_none());
        let is_exceeded = match holder.and_then(|report| report.fork) {
            Some(fork) => longest.is_some_and(|(last, _)| last > fork),
            None => false,
        };
        if is_there && is_able && !is_exceeded {
            let goes_on = holder.is_some_and(|report| report.role == Role::Leader);
            let epoch = forced.epoch;
            return goes_on.then_some(MetaCommand::ConfirmForce { group, epoch });
        }
        let (fork, replica) = longest?;
        let epoch = forced.epoch;
        Some(MetaCommand::ForceAnother {
            group,
            epoch,
            replica,
            fork,
        })
    }

    /// Whether to propose something now, which is noted.
    fn may_propose(&mut self, proposal: Proposal, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.since(*at) < PROPOSAL_PATIENCE;
        if self.proposed.get(&proposal).is_some_and(is_recent) {
            return false;
        }
        self.proposed.insert(proposal, now);
        true
    }
}

impl<L: OrderedStore> Node<L> {
    pub(super) fn look_at_supervisor(&mut self) {
        match (self.is_supervisor(), &self.supervisor) {
            (true, None) => self.supervisor = Some(Supervisor::new(self.last_tick)),
            (false, Some(_)) => {
                let asked = self.supervisor.take().and_then(|supervisor| supervisor.asked);
                if let Some((token, ..)) = asked {
                    self.refuse(token, Refusal::NotLeader { leader: None });
                }
            }
            _ => {}
        }
    }

    /// Whether a node was heard lately.
    pub(super) fn is_heard(&self, now: Now, node: NodeId) -> bool {
        let supervisor = self.supervisor.as_ref();
        supervisor.is_some_and(|supervisor| supervisor.is_there(node, now.steady))
    }

    /// Groups were forced: what was known of them is of another life.
    pub(super) fn supervisor_forgets(&mut self) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.proposed.clear();
            supervisor.forcing = None;
        }
    }

    pub(super) fn report_came(&mut self, now: Now, from: NodeId, report: Report) {
        let is_known = self.meta().is_some_and(|meta| meta.nodes().contains_key(&from));
        let Some(supervisor) = self.supervisor.as_mut().filter(|_| is_known) else {
            return;
        };
        let before = supervisor.nodes.get(&from);
        let same_process = before.filter(|seen| seen.process == report.process);
        if same_process.is_some_and(|seen| report.sent_at < seen.sent_at) {
            return;
        }
        let unanswered = Unanswered {
            sent_at: report.sent_at,
            came_at: now.steady,
            // It may have come late from the process before, and then what was known of the later one is overwritten.
            wants_all: before.is_some() && same_process.is_none(),
        };
        let seen = Seen {
            at: now.steady,
            sent_at: report.sent_at,
            process: report.process,
            meta_applied: report.meta_applied,
            apply_version: report.apply_version,
            // One after the other: what is always put off for a later one is never answered.
            unanswered: same_process.and_then(|seen| seen.unanswered).or(Some(unanswered)),
        };
        supervisor.nodes.insert(from, seen);
        for replica in report.replicas {
            supervisor.replicas.insert((replica.group, from), replica);
        }
        self.answer_reports(now);
    }

    /// Answers the reports that came before a majority of the meta group last confirmed this supervisor: nobody else
    /// can have been one by then. That takes a round of heartbeats, and rests on no clock.
    pub(super) fn answer_reports(&mut self, now: Now) {
        // A lease that this node grants is counted by its clock, and by those of who may come after it.
        let counts_right = self.counts_right(now);
        let (own, clocks) = (self.id(), &self.clocks);
        let (Some(group), Some(supervisor)) = (self.groups.get(&META), &mut self.supervisor) else {
            return;
        };
        let Some(confirmed_since) = group.confirmed_since(now.steady).filter(|_| group.has_begun()) else {
            return;
        };
        let (term, meta_committed) = (group.term(), group.committed());
        let Some(meta) = self.meta.as_ref().map(|checkpoint| &checkpoint.meta) else {
            return;
        };
        let mut answers = Vec::new();
        for (node, seen) in &mut supervisor.nodes {
            let Some(unanswered) = seen
                .unanswered
                .take_if(|report| report.came_at <= confirmed_since)
            else {
                continue;
            };
            let is_led_by = |mode: Mode| matches!(mode, Mode::OneLeader { leader } if leader == *node);
            let leads = is_led_by(meta.mode()) || is_led_by(meta.goal());
            // Not any more for one that may be replaced by what is proposed.
            let is_clock_right = own == Some(*node) || clocks.trusts(*node, now.steady);
            let is_vouched = leads && counts_right && is_clock_right && supervisor.forcing.is_none();
            if is_vouched {
                supervisor.vouched.insert(*node, now.steady);
            }
            let heard = Heard {
                sent_at: unanswered.sent_at,
                term,
                meta_committed,
                is_vouched,
                wants_all: unanswered.wants_all,
            };
            answers.push((*node, heard));
        }
        for (to, heard) in answers {
            match self.id() == Some(to) {
                true => self.report_heard(to, heard),
                false => self.tell(Peer::Node(to), Message::Heard(heard)),
            }
        }
    }

    /// Looks after all groups.
    pub(super) fn supervise(&mut self, now: Now) {
        let Some(meta) = self.meta().filter(|_| self.supervisor.is_some()) else {
            return;
        };
        // Only what the whole cluster knows by now is acted on.
        if !self.groups.get(&META).is_some_and(Group::has_begun) {
            return;
        }
        let meta = meta.clone();
        let life = self.incarnation(META);
        if meta.group(META).map(|record| record.incarnation) != life {
            return self.take_over(now, &meta);
        }
        self.give_orders(now, &meta);
        self.note_settled(now, &meta);
        self.replace_halted(now, &meta);
        self.note_versions(now, &meta);
        self.arm_failover(now, &meta);
        self.fail_over(now, &meta);
        self.force_as_asked(now, &meta);
        self.confirm_forced(now, &meta);
    }

    fn give_orders(&mut self, now: Now, meta: &Meta) {
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        let mut orders = Vec::new();
        for (id, record) in meta.groups() {
            let leader = supervisor.leader(*id, record);
            let is_settled = record.is_settled() && supervisor.is_as_wanted(*id, record);
            if is_settled {
                continue;
            }
            let Some(leader) = leader.filter(|leader| supervisor.is_there(leader.replica.node(), now.steady))
            else {
                continue;
            };
            // It stays alone until it is certain that it goes on.
            if record.unconfirmed().is_some() {
                continue;
            }
            let Some(to_lead) = record.replicas.get(&record.leader).copied() else {
                continue;
            };
            let order = Order {
                epoch: record.epoch,
                voters: record.voting(),
                learners: record.learning(),
                leader: to_lead,
            };
            orders.push((leader.replica.node(), *id, record.incarnation, order));
        }
        for (to, group, incarnation, order) in orders {
            match self.id() == Some(to) {
                true => self.order_came(group, incarnation, order),
                false => self.tell(
                    Peer::Node(to),
                    Message::Order {
                        group,
                        incarnation,
                        order,
                    },
                ),
            }
        }
    }

    fn note_settled(&mut self, now: Now, meta: &Meta) {
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        let unsettled = meta.groups().iter().filter(|(_, record)| !record.is_settled());
        let unsettled: Vec<_> = unsettled.collect();
        let mut settled = Vec::new();
        for (id, record) in unsettled {
            if supervisor.is_as_wanted(*id, record)
                && supervisor.may_propose(Proposal::Settled(*id), now.steady)
            {
                settled.push((*id, record.epoch));
            }
        }
        for (group, epoch) in settled {
            self.propose_change(MetaCommand::Settled { group, epoch });
        }
    }

    fn replace_halted(&mut self, now: Now, meta: &Meta) {
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        let mut halted = Vec::new();
        for ((group, node), report) in &supervisor.replicas {
            let record = meta.group(*group);
            let is_current = record.is_some_and(|record| {
                record.replicas.get(node) == Some(&report.replica) && record.incarnation == report.incarnation
            });
            // What nobody else may have is for its owner to decide about.
            let is_needed = record.is_none_or(|record| supervisor.is_needed(*group, report.replica, record));
            if is_current && report.halted.is_some() && !is_needed {
                halted.push((*group, report.replica));
            }
        }
        halted.retain(|(group, replica)| {
            supervisor.may_propose(Proposal::Replace(*group, *replica), now.steady)
        });
        for (group, replica) in halted {
            self.propose_change(MetaCommand::ReplaceReplica { group, replica });
        }
    }

    fn note_versions(&mut self, now: Now, meta: &Meta) {
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        let mut changed = Vec::new();
        for (node, record) in meta.nodes() {
            if let Some(seen) = supervisor.nodes.get(node).copied()
                && seen.apply_version != record.apply_version
                && supervisor.may_propose(Proposal::Version(*node), now.steady)
            {
                changed.push((*node, seen.apply_version));
            }
        }
        for (node, apply_version) in changed {
            self.propose_change(MetaCommand::SetApplyVersion { node, apply_version });
        }
    }

    /// Automatic failover begins to count when the leader is known to go by it.
    fn arm_failover(&mut self, now: Now, meta: &Meta) {
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
    fn fail_over(&mut self, now: Now, meta: &Meta) {
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
    fn confirm_forced(&mut self, now: Now, meta: &Meta) {
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
            let Some(command) = supervisor.next_of_forced(*id, record, forced, meta, now.steady) else {
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
    pub(super) fn note_forced(&mut self, at: LogPoint) {
        if let Some(supervisor) = &mut self.supervisor
            && supervisor
                .forcing
                .is_some_and(|forcing| forcing.index <= at.index)
        {
            supervisor.forcing = None;
        }
    }

    pub(super) fn force_asked(&mut self, token: u64, leader: Option<NodeId>, consent: Consent) {
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
    fn force_as_asked(&mut self, now: Now, meta: &Meta) {
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
    pub(super) fn force_meta_asked(&mut self, now: Now, token: u64, consent: Consent) {
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
        self.forced_meta = Some((token, consent));
        self.applying.force(META, incarnation, None);
        self.touched.insert(META);
    }

    /// The replica of the meta group here was forced, and what the meta group knows is still of before: it says so, and
    /// takes everything over that this node has. Whoever asked for it may be gone by now, with the process of then.
    fn take_over(&mut self, now: Now, meta: &Meta) {
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
