//! Which steps nodes take: seen from outside, by what they know, send and do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pliantdb_cluster::applier::{Done, Task};
use pliantdb_cluster::group::config::GroupConfig;
use pliantdb_cluster::node::Event;
use pliantdb_cluster::wire::raft::Body;
use pliantdb_cluster::wire::{Envelope, Message};
use pliantdb_cluster::{Incarnation, Meta, Output};
use pliantdb_core::GroupId;

use super::World;
use crate::steps::{Step, Stepped, between, between_configs};

/// What was seen of each machine so far. A machine that starts again and goes the same way once more is nothing new.
#[derive(Default)]
pub(super) struct Noticed {
    meta: BTreeMap<usize, (u64, Meta)>,
    pub(super) configs: BTreeMap<(usize, GroupId), GroupConfig>,
    /// The lives of groups that go on for good.
    confirmed: BTreeSet<(usize, GroupId, Incarnation)>,
    /// The steps that nobody has heard of yet.
    pub(super) steps: VecDeque<Stepped>,
}

impl Noticed {
    /// A machine has lost its disks.
    pub(super) fn forget(&mut self, host: usize) {
        self.meta.remove(&host);
        self.configs.retain(|(of, _), _| *of != host);
        self.confirmed.retain(|(of, ..)| *of != host);
    }

    pub(super) fn note(&mut self, host: usize, step: Step, group: Option<GroupId>, to: Option<usize>) {
        self.steps.push_back(Stepped {
            host,
            step,
            group,
            to,
        });
    }
}

impl World {
    /// What the node knows that knows most, those that are off included.
    #[must_use]
    pub fn known_meta(&self) -> Option<Meta> {
        let known = self.noticed.meta.values().max_by_key(|(applied, _)| *applied);
        known.map(|(_, meta)| meta.clone())
    }

    /// How every replica knows its group, those that are off included.
    pub fn known_configs(&self) -> impl Iterator<Item = &GroupConfig> {
        self.noticed.configs.values()
    }

    /// Looks at what a node knows after it has done something.
    pub(super) fn notice(&mut self, host: usize, outputs: &[Output]) {
        let Some(process) = self.hosts.get(host).and_then(|machine| machine.process.as_ref()) else {
            return;
        };
        let applied = process.node.meta_applied();
        let known = self.noticed.meta.get(&host);
        let is_meta_new = known.is_none_or(|(at, _)| *at < applied);
        let changes_members = |output: &Output| match output {
            Output::Run(Task::Apply { entries, .. }) => entries.iter().any(|entry| entry.config.is_some()),
            _ => false,
        };
        if !is_meta_new && !outputs.iter().any(changes_members) {
            return;
        }
        let reports = process.node.replicas();
        if let Some(meta) = process.node.meta().filter(|_| is_meta_new).cloned() {
            let steps = known
                .map(|(_, before)| between(before, &meta))
                .unwrap_or_default();
            let known = known.cloned();
            self.notice_decisions(host, known.as_ref(), (applied, &meta));
            self.noticed.meta.insert(host, (applied, meta));
            for (step, group) in steps {
                self.noticed.note(host, step, group, None);
            }
        }
        for report in reports {
            let (key, config) = ((host, report.group), report.config);
            let order = |config: &GroupConfig| (config.incarnation, config.changed_at, config.epoch);
            let steps = match self.noticed.configs.get(&key) {
                Some(known) if order(known) >= order(&config) => continue,
                Some(known) => between_configs(known, &config),
                None => Vec::new(),
            };
            self.noticed.configs.insert(key, config);
            for step in steps {
                self.noticed.note(host, step, Some(report.group), None);
            }
        }
    }

    /// Looks at what a machine sends to another.
    pub(super) fn notice_sent(&mut self, from: usize, to: usize, envelope: &Envelope) {
        for message in &envelope.messages {
            let Message::Raft(message) = message else {
                continue;
            };
            match message.body {
                Body::Snapshot { .. } => {
                    self.noticed
                        .note(from, Step::SnapshotOffered, Some(message.group), Some(to));
                }
                Body::TimeoutNow => self
                    .noticed
                    .note(from, Step::HandedOver, Some(message.group), Some(to)),
                _ => {}
            }
        }
    }

    /// Looks at what a node tells of.
    pub(super) fn notice_told(&mut self, host: usize, event: &Event) {
        if let Event::ForceConfirmed { group, incarnation } = event
            && self.noticed.confirmed.insert((host, *group, *incarnation))
        {
            self.noticed.note(host, Step::ForceConfirmed, Some(*group), None);
        }
    }

    /// Looks at what an applier has done.
    pub(super) fn notice_done(&mut self, host: usize, done: &Done) {
        match done {
            Done::Staged {
                group,
                staged: Some(staged),
            } if staged.is_complete => {
                self.noticed.note(host, Step::SnapshotStaged, Some(*group), None);
            }
            Done::Installed { group, .. } => {
                self.noticed
                    .note(host, Step::SnapshotInstalled, Some(*group), None);
            }
            _ => {}
        }
    }

    /// The disk has failed while an applier did something: what it was in the middle of.
    pub(super) fn notice_failed(&mut self, host: usize, installing: Option<GroupId>) {
        let Some((group, machine)) = installing.zip(self.hosts.get(host)) else {
            return;
        };
        if pliantdb_storage::group::is_installing(machine.state.as_ref(), group).unwrap_or_default() {
            self.noticed.note(host, Step::SnapshotMarked, Some(group), None);
        }
    }
}
