//! What has happened to a node so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use pliantdb_cluster::node::Event;

/// What has happened to a node since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounters {
    /// How often it became the leader of a group.
    pub leaderships: u64,
    /// Replicas of it that had to stop.
    pub halted: u64,
    /// Groups that were forced to go on with its replica alone.
    pub forced: u64,
    /// Entries that only it had and that were lost when its replica was removed.
    pub entries_lost: u64,
    /// Replicas that were brought by a snapshot.
    pub snapshots_installed: u64,
    /// How often the clock of another node was found to run out of bound.
    pub clock_drifts: u64,
}

/// [`EventCounters`] that others can read meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    leaderships: AtomicU64,
    halted: AtomicU64,
    forced: AtomicU64,
    entries_lost: AtomicU64,
    snapshots_installed: AtomicU64,
    clock_drifts: AtomicU64,
}

impl Counting {
    pub(crate) fn count(&self, event: &Event) {
        let (counter, more) = match event {
            Event::BecameLeader { .. } => (&self.leaderships, 1),
            Event::Halted { .. } => (&self.halted, 1),
            Event::Forced { .. } => (&self.forced, 1),
            Event::Removed { tail, .. } => (&self.entries_lost, tail.len() as u64),
            Event::Installed { .. } => (&self.snapshots_installed, 1),
            Event::ClockDrift { .. } => (&self.clock_drifts, 1),
            _ => return,
        };
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn counters(&self) -> EventCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EventCounters {
            leaderships: read(&self.leaderships),
            halted: read(&self.halted),
            forced: read(&self.forced),
            entries_lost: read(&self.entries_lost),
            snapshots_installed: read(&self.snapshots_installed),
            clock_drifts: read(&self.clock_drifts),
        }
    }
}
