//! The steps of switches, promotions, joining, leaving and snapshots. A fault can strike directly after each.

use pliantdb_cluster::Meta;
use pliantdb_cluster::group::config::GroupConfig;
use pliantdb_cluster::meta::NodeState;
use pliantdb_core::GroupId;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A node has applied that a switch is begun.
    SwitchBegun,
    /// A node has applied that a switch is given up.
    SwitchAborted,
    /// A node has applied that a switch has ended.
    SwitchEnded,
    /// A replica has heard that a fence is committed.
    Fenced,
    /// A replica has heard that a learner is added.
    LearnerAdded,
    /// A replica has heard that a joint configuration is entered.
    JointEntered,
    /// A replica has heard that a joint configuration is left.
    JointLeft,
    /// A replica has heard that another is removed.
    ReplicaRemoved,
    /// A leader has asked another replica to take over.
    HandedOver,
    /// A node has applied that a group is settled.
    Settled,
    /// A node has applied that groups are forced.
    Forced,
    /// A node has applied that a group goes on for good where it was forced.
    ForceConfirmed,
    /// A node has applied that another joins.
    NodeAdded,
    /// A node has applied that one drains.
    NodeDrained,
    /// A node has applied that one is removed.
    NodeRemoved,
    /// A leader has offered a snapshot.
    SnapshotOffered,
    /// A replica has received a snapshot whole.
    SnapshotStaged,
    /// A replica has noted that it is putting a snapshot in place.
    SnapshotMarked,
    /// A replica has put a snapshot in place.
    SnapshotInstalled,
}

impl Step {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::SwitchBegun,
        Self::SwitchAborted,
        Self::SwitchEnded,
        Self::Fenced,
        Self::LearnerAdded,
        Self::JointEntered,
        Self::JointLeft,
        Self::ReplicaRemoved,
        Self::HandedOver,
        Self::Settled,
        Self::Forced,
        Self::ForceConfirmed,
        Self::NodeAdded,
        Self::NodeDrained,
        Self::NodeRemoved,
        Self::SnapshotOffered,
        Self::SnapshotStaged,
        Self::SnapshotMarked,
        Self::SnapshotInstalled,
    ];
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stepped {
    /// On which machine.
    pub host: usize,
    /// What.
    pub step: Step,
    /// Of which group, if it is one group's.
    pub group: Option<GroupId>,
    /// The machine that takes over, of [`Step::HandedOver`].
    pub to: Option<usize>,
}

/// What has happened between two states of the meta group.
#[must_use]
pub fn between(before: &Meta, after: &Meta) -> Vec<(Step, Option<GroupId>)> {
    let mut steps = Vec::new();
    let mut note = |is_so: bool, step: Step| {
        if is_so {
            steps.push((step, None));
        }
    };
    let is_aborting = |meta: &Meta| meta.switch().is_some_and(|switch| switch.is_aborting);
    note(
        before.switch().is_none() && after.switch().is_some(),
        Step::SwitchBegun,
    );
    note(!is_aborting(before) && is_aborting(after), Step::SwitchAborted);
    note(
        before.switch().is_some() && after.switch().is_none(),
        Step::SwitchEnded,
    );
    let is_new = |node| !before.nodes().contains_key(node);
    note(after.nodes().keys().any(is_new), Step::NodeAdded);
    let is_gone = |node| !after.nodes().contains_key(node);
    note(before.nodes().keys().any(is_gone), Step::NodeRemoved);
    let drains = |meta: &Meta, node| {
        let record = meta.nodes().get(node);
        record.is_some_and(|record| record.state == NodeState::Draining)
    };
    let mut nodes = after.nodes().keys();
    note(
        nodes.any(|node| drains(after, node) && !drains(before, node)),
        Step::NodeDrained,
    );
    for (group, record) in after.groups() {
        let Some(known) = before.group(*group) else {
            continue;
        };
        if known.incarnation != record.incarnation {
            steps.push((Step::Forced, Some(*group)));
        }
        if !known.is_settled() && record.is_settled() {
            steps.push((Step::Settled, Some(*group)));
        }
    }
    steps
}

/// What has happened between two configurations of a group.
#[must_use]
pub fn between_configs(before: &GroupConfig, after: &GroupConfig) -> Vec<Step> {
    let (of_before, of_after) = (&before.members, &after.members);
    let is_fence = after.epoch > before.epoch && of_before == of_after;
    let changes = [
        (is_fence, Step::Fenced),
        (
            of_after
                .learners
                .iter()
                .any(|replica| !of_before.contains(*replica)),
            Step::LearnerAdded,
        ),
        (!of_before.is_joint() && of_after.is_joint(), Step::JointEntered),
        (of_before.is_joint() && !of_after.is_joint(), Step::JointLeft),
        (
            of_before.all().any(|replica| !of_after.contains(replica)),
            Step::ReplicaRemoved,
        ),
    ];
    changes
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, step)| step)
        .collect()
}
