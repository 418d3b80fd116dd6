//! What a leader knows of being the only one, and what a replica knows of how old it is.

use pliantdb_storage::store::OrderedStore;

use super::{Fresh, Group, Leadership};
use crate::ids::ReplicaId;
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now, Timing};
use crate::wire::raft::{Body, RaftMessage, Stamp};

impl<L: OrderedStore> Group<L> {
    pub(crate) fn fresh(&self) -> Option<Fresh> {
        self.fresh
    }

    /// Whether it has heard of a leader lately. One that does not vote never stops taking the last for its leader.
    pub(crate) fn hears_leader(&self, now: Instant, timing: &Timing) -> bool {
        let heard = self.heard.filter(|heard| Some(heard.leader) == self.leader());
        heard.is_some_and(|heard| now.since(heard.at) < 2 * timing.silence_after_start())
    }

    /// What a leader says that had heard of this replica at a moment is true as of that moment, however long it took to
    /// come.
    pub(super) fn note_fresh(&mut self, stamp: Stamp) {
        let Some(as_of) = stamp.asked_at else {
            return;
        };
        if self.fresh.is_none_or(|fresh| fresh.as_of <= as_of) {
            let committed = stamp.committed;
            self.fresh = Some(Fresh { as_of, committed });
        }
    }

    /// Whether a candidate asks while this replica may have promised a leader not to listen.
    pub(super) fn must_ignore_vote(&self, now: Now, timing: &Timing, message: &RaftMessage) -> bool {
        let Body::Vote { is_transfer, .. } = message.body else {
            return false;
        };
        // The leader has given its lease up before it asks for that.
        if is_transfer {
            return false;
        }
        let silence = timing.silence_after_start();
        if !has(Mistake::VoteAfterRestart) && now.steady.since(self.started) < silence {
            return true;
        }
        self.heard
            .is_some_and(|heard| now.steady.since(heard.at) < silence && message.from != heard.leader)
    }

    /// Asks everybody to confirm that this replica leads.
    pub(crate) fn ask_for_confirmation(&mut self) {
        self.raft.raft.ping();
    }

    /// Since when nobody else can have become leader, as far as confirmed by a majority: `None` when this replica does
    /// not lead, or has not committed anything yet in its term.
    pub(crate) fn confirmed_since(&self, now: Instant) -> Option<Instant> {
        self.followed_since(now, Leadership::confirmed)
    }

    fn followed_since(
        &self,
        now: Instant,
        of: impl Fn(&Leadership, ReplicaId) -> Option<Instant>,
    ) -> Option<Instant> {
        let leadership = self.leadership.as_ref().filter(|_| self.halt.is_none())?;
        if !self.raft.raft.commit_to_current_term() {
            return None;
        }
        let replica = self.replica();
        let value = |other: ReplicaId| match other == replica {
            true => Some(now),
            false => of(leadership, other),
        };
        self.config.members.quorum_value(value)?
    }

    /// Whether this replica leads, beyond doubt, at this moment.
    pub(crate) fn has_lease(&self, now: Instant, timing: &Timing) -> bool {
        if has(Mistake::LeaseWhileAsleep) && self.is_asleep() && self.leadership.is_some() {
            return true;
        }
        if has(Mistake::LeaseWithoutDrift) {
            let lease = timing.tick * 2 * timing.election_ticks;
            return self
                .confirmed_since(now)
                .is_some_and(|since| now < since.after(lease));
        }
        self.leads_surely(now)
    }

    /// Until when this replica leads beyond doubt, as far as is known at this moment; `None` when it does not.
    pub(crate) fn lease_until(&self, now: Instant) -> Option<Instant> {
        self.leads_surely(now).then_some(())?;
        let since = match self.is_alone() {
            true => Some(now),
            false => self.followed_since(now, Leadership::promised),
        };
        since.map(|since| since.after(self.lease))
    }

    pub(super) fn leads_surely(&self, now: Instant) -> bool {
        let is_handed_over = self.leadership.as_ref().is_none_or(Leadership::is_handed_over);
        if is_handed_over && !has(Mistake::LeaseAfterTransfer) {
            // Alone there is nobody to hand over to.
            return self.is_alone() && self.leadership.is_some();
        }
        self.followed_since(now, Leadership::promised)
            .is_some_and(|since| now < since.after(self.lease))
    }
}
