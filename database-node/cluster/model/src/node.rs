//! Nodes crash, restart and ask the meta group where things stand.

use crate::bound::{Bound, Mistake};
use crate::log::Log;
use crate::state::{Phase, State, only};

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing of note.
    Nothing,
    /// What it knew of commitment and did not make durable.
    Commit,
    /// The disk.
    Disk,
}

impl State {
    /// A node ends without warning.
    pub fn crash(&mut self, bound: &Bound, node: usize, loss: Loss) -> bool {
        if !self.is_up(node) || self.budget.crashes == 0 {
            return false;
        }
        self.budget.crashes -= 1;
        self.up &= !only(node);
        self.joined &= !only(node);
        self.believes &= !only(node);
        let replicas = self.shards.iter_mut().map(|shard| &mut shard.replicas[node]);
        let mut forgets = false;
        for replica in replicas {
            replica.leads = false;
            forgets |= replica.floor < replica.commit;
            if loss == Loss::Commit {
                replica.commit = replica.floor;
            }
            if loss == Loss::Disk {
                replica.log = Log::default();
                replica.term = 0;
                replica.commit = 0;
                replica.floor = 0;
                replica.before = (replica.before.0, 0, 0);
                replica.generation += u8::from(!bound.has(Mistake::WipedKeepsId));
            }
        }
        match loss {
            Loss::Nothing => true,
            Loss::Commit => forgets,
            Loss::Disk => {
                let left = self.budget.disks > 0;
                self.budget.disks = self.budget.disks.saturating_sub(1);
                left
            }
        }
    }

    /// A node starts again. It does nothing for any shard until it has joined.
    pub fn restart(&mut self, bound: &Bound, node: usize) -> bool {
        if self.is_up(node) {
            return false;
        }
        self.up |= only(node);
        if bound.has(Mistake::RestartWithoutMeta) {
            self.joined |= only(node);
        }
        if bound.has(Mistake::VoteAfterRestart) {
            for shard in &mut self.shards {
                let replica = &mut shard.replicas[node];
                replica.forgot = replica.promise != 0;
            }
        }
        true
    }

    /// A started node has read the meta group's newest state, for which a majority must be there. It takes no
    /// part in incarnations that are over, and none at all while a promotion that gave it up is under way.
    pub fn join(&mut self, bound: &Bound, node: usize) -> bool {
        let given_up = self.meta.phase == Phase::Promoting
            && self.meta.given_up & only(node) != 0
            && !bound.has(Mistake::GivenUpReturns);
        if !self.is_up(node) || self.takes_part(node) || !self.meta_available() || given_up {
            return false;
        }
        self.joined |= only(node);
        for shard in 0..bound.shards {
            self.hear(bound, shard, node);
        }
        true
    }
}
