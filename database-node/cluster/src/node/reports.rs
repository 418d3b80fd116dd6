//! What this node tells the supervisor of its replicas.

use std::collections::{BTreeMap, BTreeSet};

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::Node;
use crate::group::{Group, Halt, Role};
use crate::ids::{LogPoint, NodeId, ReplicaId};
use crate::meta::META;
use crate::timing::{Instant, Now};
use crate::wire::{Heard, Message, Peer, ReplicaReport, Report};

/// What was told, and what was heard of it.
#[derive(Default)]
pub(super) struct Reporting {
    /// To which leader of the meta group, in which term.
    to: Option<(ReplicaId, u64)>,
    /// What that one is known to have heard.
    heard: BTreeMap<GroupId, ReplicaReport>,
    /// The groups of which that one may not know how they are.
    changed: BTreeSet<GroupId>,
    /// What was sent and not yet heard.
    sent: BTreeMap<Instant, Vec<ReplicaReport>>,
    /// As of when a majority of the meta group last vouched for this node.
    vouched: Option<Instant>,
    /// Up to where this node has to have applied the meta group's log to know, since its start, all that was decided
    /// before it; `None` until it was told.
    start: Option<u64>,
}

/// How many reports can be on their way before they are given up.
const MOST_SENT: usize = 16;

impl Reporting {
    pub(super) fn may_have_changed(&mut self, id: GroupId) {
        self.changed.insert(id);
    }

    pub(super) fn vouched(&self) -> Option<Instant> {
        self.vouched
    }

    /// What this node has to have applied to know all that was decided before it was started.
    pub(super) fn start(&self) -> Option<u64> {
        self.start
    }
}

impl<L: OrderedStore> Node<L> {
    /// Tells the leader of the meta group what is new.
    pub(super) fn report(&mut self, now: Now) {
        let Some(group) = self.groups.get(&META) else {
            return;
        };
        let (Some(leader), term) = (group.leader(), group.term()) else {
            return;
        };
        if self.reporting.to != Some((leader, term)) {
            let (vouched, start) = (self.reporting.vouched, self.reporting.start);
            self.reporting = Reporting {
                to: Some((leader, term)),
                vouched,
                start,
                changed: self.groups.keys().copied().collect(),
                ..Reporting::default()
            };
        }
        // Others are as they were when that was heard.
        let changed = self.reporting.changed.iter();
        let changed = changed.filter_map(|id| Some(report_of(*id, self.groups.get(id)?)));
        let is_new = |report: &ReplicaReport| self.reporting.heard.get(&report.group) != Some(report);
        let replicas: Vec<ReplicaReport> = changed.chain(self.stateless()).filter(is_new).collect();
        self.reporting.changed = replicas.iter().map(|report| report.group).collect();
        if self.reporting.sent.len() >= MOST_SENT {
            self.reporting.sent.pop_first();
        }
        self.reporting.sent.insert(now.steady, replicas.clone());
        let report = Report {
            sent_at: now.steady,
            process: self.settings.seed,
            meta_applied: self.meta.as_ref().map_or(0, |meta| meta.at.index),
            apply_version: self.settings.apply_version,
            replicas,
        };
        match (leader.node(), self.id()) {
            (to, Some(node)) if to == node => self.report_came(now, node, report),
            (to, _) => self.tell(Peer::Node(to), Message::Report(report)),
        }
    }

    /// The replicas that this node has, as it sees them.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaReport> {
        let groups = self.groups.iter().map(|(id, group)| report_of(*id, group));
        groups.chain(self.stateless()).collect()
    }

    /// The replicas whose log is here and whose state is not.
    fn stateless(&self) -> impl Iterator<Item = ReplicaReport> + '_ {
        let stateless = self.applying.aside.stateless.iter();
        stateless.map(|(id, record)| ReplicaReport {
            group: *id,
            replica: record.replica,
            incarnation: record.incarnation,
            term: record.term,
            role: Role::Follower,
            last: LogPoint::default(),
            applied: 0,
            config: super::replicas::empty_config(record.incarnation),
            is_installing: false,
            fork: record.fork,
            is_superseded: false,
            halted: Some("its state is gone".to_owned()),
        })
    }

    pub(super) fn report_heard(&mut self, from: NodeId, heard: Heard) {
        let Some((leader, term)) = self.reporting.to else {
            return;
        };
        if leader.node() != from || term != heard.term {
            return;
        }
        if heard.wants_all {
            self.reporting.heard.clear();
            self.reporting.changed.extend(self.groups.keys());
        }
        if let Some(replicas) = self.reporting.sent.remove(&heard.sent_at) {
            // Reports may overtake each other: whoever is not as was heard last is reported again.
            self.reporting
                .changed
                .extend(replicas.iter().map(|report| report.group));
            let known = replicas.into_iter().map(|report| (report.group, report));
            self.reporting.heard.extend(known);
            self.reporting.start.get_or_insert(heard.meta_committed);
            if heard.is_vouched && !self.clocks.is_off(from) {
                let vouched = self.reporting.vouched.unwrap_or_default();
                self.reporting.vouched = Some(vouched.max(heard.sent_at));
            }
            // Answers may wait for just that.
            self.touched.extend(self.clients.read_groups());
        }
    }
}

fn report_of<L: OrderedStore>(id: GroupId, group: &Group<L>) -> ReplicaReport {
    let is_superseded = group.halt() == Some(&Halt::Superseded);
    ReplicaReport {
        group: id,
        replica: group.replica(),
        incarnation: group.incarnation(),
        term: group.term(),
        role: group.role(),
        last: group.last(),
        applied: group.applied(),
        config: group.config().clone(),
        is_installing: group.is_installing(),
        fork: group.record().fork,
        is_superseded,
        halted: group.halt().filter(|_| !is_superseded).map(ToString::to_string),
    }
}
