//! What the meta group decides: switches, aborts, promotions, leases.

use crate::bound::{Bound, Mistake, Mode, Policy};
use crate::state::{EPOCHS, Phase, State, Target, only};

impl State {
    fn begin(&mut self, target: Target, phase: Phase) -> bool {
        if usize::from(self.meta.epoch) + 1 >= EPOCHS || !self.meta_available() {
            return false;
        }
        self.meta.epoch += 1;
        self.meta.targets[usize::from(self.meta.epoch)] = target;
        self.meta.phase = phase;
        true
    }

    /// A switch to the other mode begins. All nodes must be there. The weaker guarantee is published with it.
    pub fn switch(&mut self, bound: &Bound) -> bool {
        if self.meta.phase != Phase::Stable || self.budget.switches == 0 || self.up & self.joined != 7 {
            return false;
        }
        self.budget.switches -= 1;
        let target = match self.target() {
            Target::One(_) => Target::Quorum,
            Target::Quorum => Target::One(self.meta.home),
        };
        if target != Target::Quorum && !bound.has(Mistake::WeakenLate) {
            self.meta.published = Mode::OneLeader;
        }
        self.begin(target, Phase::Switching)
    }

    /// The switch is turned round: an epoch of its own, which leads back.
    pub fn abort(&mut self) -> bool {
        if self.meta.phase != Phase::Switching || self.budget.aborts == 0 {
            return false;
        }
        self.budget.aborts -= 1;
        let target = match self.target() {
            Target::One(_) => Target::Quorum,
            Target::Quorum => Target::One(self.meta.home),
        };
        self.begin(target, Phase::Switching)
    }

    /// Everything is where the epoch leads: what was under way ends, and what now holds is published.
    pub fn finish(&mut self, bound: &Bound) -> bool {
        let all = (0..bound.shards).all(|shard| self.is_final(bound, shard));
        if self.meta.phase == Phase::Stable || !all || !self.meta_available() {
            return false;
        }
        self.meta.phase = Phase::Stable;
        self.meta.given_up = 0;
        self.meta.published = match self.target() {
            Target::One(_) => Mode::OneLeader,
            Target::Quorum => Mode::Quorum,
        };
        true
    }

    /// The leader node is given up for another. It compares the epoch, which here means that what it decides
    /// on is what there is; and it ends a switch, for its epoch is a new one.
    pub fn promote(&mut self, bound: &Bound, to: usize) -> bool {
        let home = usize::from(self.meta.home);
        let allowed = match bound.policy {
            // A node that has not joined since it started is a proof too: the process that led is gone.
            Policy::Manual => !self.takes_part(home),
            Policy::AcceptSplitBrain => true,
            Policy::Automatic => self.meta.expired,
        };
        if self.meta.published != Mode::OneLeader
            || self.budget.promotions == 0
            || to == home
            || !self.takes_part(to)
            || !allowed
            || !self.begin(Target::One(to as u8), Phase::Promoting)
        {
            return false;
        }
        self.budget.promotions -= 1;
        self.meta.given_up |= only(home);
        self.meta.given_up &= !only(to);
        self.meta.home = to as u8;
        self.meta.expired = false;
        self.meta.split_brain |= bound.policy == Policy::AcceptSplitBrain;
        true
    }

    /// The mistake of a failover that was decided on long ago and compares nothing.
    pub fn blind_failover(&mut self, bound: &Bound, to: usize) -> bool {
        let home = usize::from(self.meta.home);
        if !bound.has(Mistake::BlindFailover)
            || self.budget.promotions == 0
            || to == home
            || !self.takes_part(to)
            || self.takes_part(home)
            || !self.meta_available()
        {
            return false;
        }
        self.budget.promotions -= 1;
        self.meta.home = to as u8;
        for shard in 0..bound.shards {
            let could = self.can_elect(bound, shard);
            if self.begin_life(shard, to) {
                self.force(shard, to, self.meta.incarnations[shard]);
                self.confirm(bound, shard, could);
            }
        }
        true
    }

    /// The holder of the lease no longer believes in it.
    pub fn lapse(&mut self, node: usize) -> bool {
        let had = self.believes & only(node) != 0;
        self.believes &= !only(node);
        had
    }

    /// The meta group takes the lease for expired, later than its holder does.
    pub fn expire_lease(&mut self, bound: &Bound) -> bool {
        let believes = self.believes & only(usize::from(self.meta.home)) != 0;
        if bound.policy != Policy::Automatic
            || self.meta.expired
            || self.meta.published != Mode::OneLeader
            || (believes && !bound.has(Mistake::LeaseWithoutDrift))
            || !self.meta_available()
        {
            return false;
        }
        self.meta.expired = true;
        true
    }

    /// The meta group grants the lease to the leader node.
    pub fn renew(&mut self, bound: &Bound) -> bool {
        let home = usize::from(self.meta.home);
        if bound.policy != Policy::Automatic
            || !self.takes_part(home)
            || !self.meta_available()
            || (self.believes & only(home) != 0 && !self.meta.expired)
        {
            return false;
        }
        self.believes |= only(home);
        self.meta.expired = false;
        true
    }
}
