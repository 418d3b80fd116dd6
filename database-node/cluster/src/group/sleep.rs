//! When a replica has nothing to do and may sleep: it counts no ticks, and says nothing. A leader tells its members so.
//! That their leader is there they then know by its node, which answers for all its groups at once.
//!
//! Sleeping weakens no promise. A replica's promise not to vote for another, and the leader's lease that rests on it, go by
//! the clock, and run out as if messages had been lost: a leader that slept has to ask before it answers again.

use pliantdb_storage::store::OrderedStore;
use raft::{ProgressState, StateRole};

use super::{Going, Group, Role};
use crate::ids::{LogPoint, ReplicaId};
use crate::timing::{Instant, Now, Timing};
use crate::wire::raft::{Body, RaftMessage};

/// A leader lets its group sleep when nothing has happened for so many election timeouts.
const QUIET_TIMEOUTS: u32 = 2;
/// A replica that has not heard from its leader for so many heartbeats asks it to wake.
const MISSED_HEARTBEATS: u32 = 2;

/// How a replica rests.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// For how many ticks nothing has happened to the leader's group.
    quiet: u32,
    /// The end of the log then.
    last: u64,
    /// For how many ticks a replica that does not lead has not heard from its leader.
    silence: u32,
    /// Whether the leader is to be asked to wake.
    is_calling: bool,
    /// For how many ticks it was not asked.
    since_call: u32,
    /// When it was put to sleep, by the leader's clock; `None` while it is awake.
    asleep: Option<Instant>,
}

impl<L: OrderedStore> Group<L> {
    /// Whether the replica sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.rest.asleep.is_some()
    }

    /// Whether everything that there is is committed, written and applied here, and nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        let last = self.last().index;
        let is_done = self.committed() == last && self.applied == last && self.handed == last;
        let is_idle = self.writing.is_empty()
            && self.held.is_empty()
            && self.installing.is_none()
            && !self.raft.has_ready();
        self.halt.is_none() && is_done && is_idle && self.has_nothing_to_lead()
    }

    /// Whether a leader has brought all members to where they are to be, or another follows one.
    fn has_nothing_to_lead(&self) -> bool {
        let raft = &self.raft.raft;
        match raft.state {
            StateRole::Follower => self.leader().is_some(),
            StateRole::Leader => {
                let has_it = |replica: ReplicaId| {
                    replica == self.replica()
                        || raft.prs().get(replica.to_raft()).is_some_and(|progress| {
                            // One that was brought by a snapshot is probed until the next entry, and has all the same.
                            progress.matched == raft.raft_log.last_index()
                                && progress.state != ProgressState::Snapshot
                        })
                };
                self.leadership.is_some()
                    && raft.commit_to_current_term()
                    && raft.lead_transferee.is_none()
                    && !self.config.members.is_joint()
                    && self.config.members.all().all(has_it)
            }
            StateRole::Candidate | StateRole::PreCandidate => false,
        }
    }

    /// Counts for how long nothing has happened.
    pub(super) fn count_rest(&mut self, timing: &Timing) {
        if self.leadership.is_some() {
            let last = self.last().index;
            let is_quiet = self.rest.last == last && self.is_at_rest();
            self.rest.quiet = if is_quiet { self.rest.quiet + 1 } else { 0 };
            self.rest.last = last;
            return;
        }
        self.rest.quiet = 0;
        self.rest.silence += 1;
        self.rest.since_call = self.rest.since_call.saturating_add(1);
        let patience = MISSED_HEARTBEATS * timing.heartbeat_ticks;
        if self.rest.silence >= patience + timing.election_ticks {
            self.rest.silence = patience;
        }
        self.rest.is_calling |= self.rest.silence == patience;
    }

    /// For how long nothing has happened.
    #[cfg(test)]
    pub(crate) fn quiet_ticks(&self) -> u32 {
        self.rest.quiet
    }

    /// The group is needed: it is not to fall asleep for a while.
    pub(crate) fn stir(&mut self) {
        self.rest.quiet = 0;
    }

    /// Asks the leader to be awake for a while, unless it was asked just now.
    pub(crate) fn call_leader(&mut self, timing: &Timing) {
        self.rest.is_calling |= self.is_asleep() || self.rest.since_call >= timing.election_ticks;
    }

    /// Whom to ask to be awake: the leader, or everybody when none is known.
    pub(crate) fn take_call(&mut self) -> Vec<ReplicaId> {
        if !std::mem::take(&mut self.rest.is_calling) || self.leadership.is_some() {
            return Vec::new();
        }
        self.rest.since_call = 0;
        let others = || {
            let all = self.config.members.all();
            all.filter(|replica| *replica != self.replica()).collect()
        };
        self.leader().map_or_else(others, |leader| vec![leader])
    }

    /// Whether this leader may let its group sleep now: nothing has happened for a while, no order has a step to take, and
    /// every member was there just now, so that it hears of it.
    pub(crate) fn may_sleep(&mut self, now: Now, timing: &Timing, going: Going<'_>) -> bool {
        let is_quiet = self.rest.quiet >= QUIET_TIMEOUTS * timing.election_ticks && self.is_at_rest();
        if !is_quiet || self.next_step(going).is_some() {
            return false;
        }
        let Some(leadership) = &self.leadership else {
            return false;
        };
        let timeout = timing.tick * timing.election_ticks;
        let is_there = |replica: ReplicaId| {
            let is_recent = |at: Instant| now.steady.since(at) < timeout;
            replica == self.replica() || leadership.confirmed(replica).is_some_and(is_recent)
        };
        self.config.members.all().all(is_there)
    }

    /// Whether this replica sleeps when its leader says so: it has, and has applied, all that the leader has, and has not
    /// heard from it since.
    pub(crate) fn agrees_to_sleep(
        &self,
        from: ReplicaId,
        term: u64,
        last: LogPoint,
        sent_at: Instant,
    ) -> bool {
        let follows = self.role() != Role::Leader && self.leader() == Some(from) && self.term() == term;
        let is_latest = self.heard.is_some_and(|heard| {
            heard.leader == from && heard.term == term && heard.stamp.sent_at <= sent_at
        });
        follows && is_latest && self.last() == last && self.is_at_rest()
    }

    /// Falls asleep, as of a moment of the leader's clock.
    pub(crate) fn fall_asleep(&mut self, as_of: Instant) {
        self.rest.asleep = Some(as_of);
        self.raft.mut_store().release();
        for (_, progress) in self.raft.raft.mut_prs().iter_mut() {
            progress.ins.maybe_free_buffer();
        }
    }

    /// Whether a message says that somebody is awake. What was sent before the leader slept does not.
    pub(crate) fn is_woken_by(&self, message: &RaftMessage) -> bool {
        let Some(asleep) = self.rest.asleep else {
            return false;
        };
        if message.term != self.term() {
            return true;
        }
        match &message.body {
            Body::Append { .. } | Body::Heartbeat { .. } => {
                message.stamp.is_none_or(|stamp| stamp.sent_at > asleep)
            }
            Body::HeartbeatAnswer { .. } | Body::Appended { rejected: None, .. } => false,
            _ => true,
        }
    }

    /// Wakes. A leader asks everybody to follow it, and does not take for granted that they are there. Another goes on
    /// waiting for its leader, of which it has heard nothing for so many ticks; and asks it to wake too.
    pub(crate) fn wake(&mut self, silent_ticks: u64, timing: &Timing) {
        if self.rest.asleep.take().is_none() {
            return;
        }
        let replica = self.replica().to_raft();
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Leader {
            raft.election_elapsed = 0;
            for (id, progress) in raft.mut_prs().iter_mut() {
                progress.recent_active = *id == replica;
            }
            raft.ping();
        } else {
            let elapsed = silent_ticks.min(u64::from(timing.election_ticks));
            raft.election_elapsed = usize::try_from(elapsed).unwrap_or_default();
        }
        self.rest.quiet = 0;
        self.rest.silence = (MISSED_HEARTBEATS * timing.heartbeat_ticks).saturating_sub(1);
    }

    /// The leader was heard.
    pub(super) fn note_leader_heard(&mut self) {
        self.rest.silence = 0;
    }
}
