//! The supervisor: while its node leads the meta group, it brings every group to where it is to be, and notes when it
//! is there. All that must outlive it is in the meta group; what it knows besides comes back with the next reports.
//!
//! - `forcing`: what goes on with one replica when no leader can be elected
//! - `promoting`: another leader by plan, before the one that leads everything stops

mod forcing;
mod promoting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::joining::Joiners;
use super::{Node, Refusal};
use crate::group::config::Members;
use crate::group::{Group, Order, Role};
use crate::ids::{Incarnation, LogPoint, NodeId, ReplicaId};
use crate::meta::{Consent, GroupRecord, META, Meta, MetaCommand, Mode};
use crate::timing::{Instant, Now};
use crate::wire::{Heard, Message, Peer, ReplicaReport, Report};
use forcing::StoppedSince;

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
    /// Of a forced group: since when all other replicas that are there have stopped.
    stopped_since: BTreeMap<GroupId, StoppedSince>,
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
    Promote,
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
            stopped_since: BTreeMap::new(),
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
                report.halted.is_none()
                    && report.config.changed_at >= leader.config.changed_at
                    && report.config.epoch >= record.epoch
            })
        };
        is_met && leads && record.voting().into_iter().all(has_applied)
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
            // One whose state is gone does not know: if nobody else does either, it is as it is to be.
            let wanted = || Members::new(record.voting(), record.learning());
            let members = match report.config.members == Members::default() {
                true => &wanted(),
                false => &report.config.members,
            };
            let votes = members.voters.contains(&replica) || members.outgoing.contains(&replica);
            votes && !members.has_quorum(|other| other != replica)
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

    /// Whether it supervises for so short a time that it may not have heard all who are there.
    pub(super) fn supervises_since_lately(&self, now: Now) -> bool {
        let supervisor = self.supervisor.as_ref();
        supervisor.is_some_and(|supervisor| now.steady.since(supervisor.since) < SILENCE)
    }

    /// What the supervisor knows of the nodes, if this node is it: for how long each was not heard, and how its replicas
    /// were then. Nothing of one that was not heard since this node is supervisor.
    #[must_use]
    pub fn overview(&self) -> Option<BTreeMap<NodeId, (Duration, Vec<ReplicaReport>)>> {
        let supervisor = self.supervisor.as_ref()?;
        let nodes = supervisor.nodes.iter();
        let mut overview: BTreeMap<NodeId, (Duration, Vec<ReplicaReport>)> = nodes
            .map(|(node, seen)| (*node, (self.last_tick.since(seen.at), Vec::new())))
            .collect();
        for ((_, node), replica) in &supervisor.replicas {
            if let Some((_, replicas)) = overview.get_mut(node) {
                replicas.push(replica.clone());
            }
        }
        Some(overview)
    }

    /// Groups were deleted.
    pub(super) fn supervisor_forgets_deleted(&mut self) {
        if let (Some(supervisor), Some(checkpoint)) = (&mut self.supervisor, &self.meta) {
            let is_there = |group: GroupId| !checkpoint.meta.is_deleted(group);
            supervisor.replicas.retain(|(group, _), _| is_there(*group));
            supervisor.stopped_since.retain(|group, _| is_there(*group));
            supervisor.proposed.retain(|proposal, _| match proposal {
                Proposal::Settled(group) | Proposal::Confirm(group) | Proposal::Replace(group, _) => {
                    is_there(*group)
                }
                Proposal::Arm
                | Proposal::Failover
                | Proposal::TakeOver
                | Proposal::Version(_)
                | Proposal::Promote => true,
            });
        }
    }

    /// Groups were forced: what was known of them is of another life.
    pub(super) fn supervisor_forgets(&mut self) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.proposed.clear();
            supervisor.forcing = None;
        }
    }

    pub(super) fn report_came(&mut self, now: Now, from: NodeId, report: Report) {
        let meta = self.meta.as_ref().map(|checkpoint| &checkpoint.meta);
        let meta = meta.filter(|meta| meta.nodes().contains_key(&from));
        let (Some(meta), Some(supervisor)) = (meta, self.supervisor.as_mut()) else {
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
        let is_there = |report: &ReplicaReport| !meta.is_deleted(report.group);
        for replica in report.replicas.into_iter().filter(is_there) {
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
        let checkpoint = self.meta.as_ref().filter(|_| self.supervisor.is_some());
        let Some(meta) = checkpoint.map(|checkpoint| Arc::clone(&checkpoint.meta)) else {
            return;
        };
        // Only what the whole cluster knows by now is acted on.
        if !self.groups.get(&META).is_some_and(Group::has_begun) {
            return;
        }
        let life = self.incarnation(META);
        if meta.group(META).map(|record| record.incarnation) != life {
            return self.take_over(now, &meta);
        }
        self.give_orders(now, &meta);
        self.note_settled(now, &meta);
        self.replace_halted(now, &meta);
        self.note_versions(now, &meta);
        self.promote_before_stop(now);
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
}
