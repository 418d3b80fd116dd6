//! How a replica that is too far behind gets a snapshot, as consensus sees it.

use pliantdb_storage::store::OrderedStore;
use raft::{ProgressState, SnapshotStatus};

use super::config::{GroupConfig, Members};
use super::{Group, Halt, Work, Writing};
use crate::ids::{LogPoint, ReplicaId};
use crate::log::Available;
use crate::wire::raft::raft_snapshot;

impl<L: OrderedStore> Group<L> {
    /// A snapshot was sent and not fetched, or cannot be.
    pub(crate) fn snapshot_failed(&mut self, to: ReplicaId) {
        self.raft.report_snapshot(to.to_raft(), SnapshotStatus::Failure);
        self.look();
    }

    /// Offers a snapshot of the state to those who are too far behind.
    pub(crate) fn offer_snapshot(&mut self, snapshot: u128, at: LogPoint, members: &Members) {
        let snapshot = raft_snapshot(snapshot, at, members);
        self.log_mut().set_available(Some(Available {
            snapshot,
            index: at.index,
            members: members.clone(),
        }));
    }

    /// Whether consensus has accepted a snapshot; from then on nothing is taken from it until [`Group::installed`].
    pub(crate) fn begin_install(&mut self) -> Option<LogPoint> {
        if self.installing.is_some() || self.halt.is_some() {
            return None;
        }
        let metadata = self.raft.snap()?.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        let at = LogPoint { index, term };
        self.installing = (index > 0 && self.installed != Some(at)).then_some(at);
        self.installing
    }

    /// Whether a snapshot is being put in place, or the log does not begin behind it yet.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some() || self.installed.is_some()
    }

    /// The accepted snapshot is in place, and brought this configuration. What consensus has ready is to be taken at
    /// once.
    pub(crate) fn installed(&mut self, config: GroupConfig) {
        self.installed = self.installing.take();
        self.config = config;
    }

    /// Begins the log anew behind the state that a snapshot has put in place, in the batch of this number, when the replica
    /// has stopped before consensus did.
    pub(super) fn begin_anew(&mut self, at: LogPoint, number: u64, work: &mut Work) -> Result<(), Halt> {
        (self.applied, self.handed) = (at.index, at.index);
        self.held.clear();
        if self.log().term_at(at.index) == Some(at.term) {
            return Ok(());
        }
        let members = self.config.members.clone();
        let reset = self.raft.mut_store().reset(&mut work.batch, at, members);
        reset.map_err(Halt::Log)?;
        work.must_sync = true;
        self.writing.push_back(Writing {
            batch: number,
            ready: 0,
            snapshot: None,
            commit: 0,
            messages: Vec::new(),
        });
        Ok(())
    }

    /// As if consensus had accepted a snapshot.
    #[cfg(test)]
    pub(crate) fn accept(&mut self, at: LogPoint) {
        self.installing = Some(at);
    }

    /// The replicas that were told to fetch a snapshot and have not come further since.
    pub(crate) fn waiting_for_snapshot(&self) -> Vec<ReplicaId> {
        if self.leadership.is_none() {
            return Vec::new();
        }
        let progress = self.raft.raft.prs().iter();
        let waiting = progress.filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let mut waiting: Vec<ReplicaId> = waiting.map(|(id, _)| ReplicaId::from_raft(*id)).collect();
        waiting.sort_unstable();
        waiting
    }

    /// The last entry that all other members are known to have; where this replica does not lead nobody asks it for any.
    pub(crate) fn had_by_all(&self) -> u64 {
        if self.leadership.is_none() {
            return u64::MAX;
        }
        let own = self.replica().to_raft();
        let others = self.raft.raft.prs().iter().filter(|(id, _)| **id != own);
        let had = others.map(|(_, progress)| progress.matched).min();
        had.unwrap_or(u64::MAX)
    }

    /// Offers the snapshot no longer.
    pub(crate) fn withdraw_snapshot(&mut self) {
        self.log_mut().set_available(None);
    }
}
