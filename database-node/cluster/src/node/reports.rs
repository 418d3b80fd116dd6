//! What this node tells the supervisor of its replicas.

use std::collections::BTreeMap;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::Node;
use crate::group::Role;
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
    /// What was sent, and of which nobody has said for sure that it was heard; nothing of what is noted as heard.
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
                ..Reporting::default()
            };
        }
        let all = self.replicas();
        let is_new = |report: &ReplicaReport| self.reporting.heard.get(&report.group) != Some(report);
        let replicas: Vec<ReplicaReport> = all.into_iter().filter(is_new).collect();
        if self.reporting.sent.len() >= MOST_SENT {
            self.reporting.sent.pop_first();
        }
        self.reporting.sent.insert(now.steady, replicas.clone());
        let report = Report {
            sent_at: now.steady,
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
        let groups = self.groups.iter().map(|(id, group)| ReplicaReport {
            group: *id,
            replica: group.replica(),
            incarnation: group.incarnation(),
            term: group.term(),
            role: group.role(),
            last: group.last(),
            applied: group.applied(),
            config: group.config().clone(),
            is_installing: group.is_installing(),
            halted: group.halt().map(ToString::to_string),
        });
        let stateless = self
            .applying
            .aside
            .stateless
            .iter()
            .map(|(id, record)| ReplicaReport {
                group: *id,
                replica: record.replica,
                incarnation: record.incarnation,
                term: record.term,
                role: Role::Follower,
                last: LogPoint::default(),
                applied: 0,
                config: super::replicas::empty_config(record.incarnation),
                is_installing: false,
                halted: Some("its state is gone".to_owned()),
            });
        groups.chain(stateless).collect()
    }

    pub(super) fn report_heard(&mut self, from: NodeId, heard: Heard) {
        let Some((leader, term)) = self.reporting.to else {
            return;
        };
        if leader.node() != from || term != heard.term {
            return;
        }
        // One that could not be sure may yet say that it is.
        let told = match heard.is_current {
            true => self.reporting.sent.remove(&heard.sent_at),
            false => self.reporting.sent.get_mut(&heard.sent_at).map(std::mem::take),
        };
        if let Some(replicas) = told {
            let known = replicas.into_iter().map(|report| (report.group, report));
            self.reporting.heard.extend(known);
            if heard.is_current {
                self.reporting.start.get_or_insert(heard.meta_committed);
            }
            if heard.is_vouched && !self.clocks.is_off(from) {
                let vouched = self.reporting.vouched.unwrap_or_default();
                self.reporting.vouched = Some(vouched.max(heard.sent_at));
            }
            // Answers may wait for just that.
            self.touched.extend(self.groups.keys());
        }
    }
}
