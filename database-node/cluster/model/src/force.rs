//! A promotion forces the shards that cannot elect: decide, fence, force, rejoin.

use crate::bound::{Bound, Mistake, Mode};
use crate::log::Kind;
use crate::state::{NODES, Nodes, Phase, Replica, State, only};

impl State {
    /// The meta group decides that the incarnation of a shard is over.
    pub fn decide(&mut self, bound: &Bound, shard: usize) -> bool {
        let decided = self.meta.incarnations[shard] > self.shards[shard].newest();
        if self.meta.phase != Phase::Promoting
            || decided
            || self.meta.incarnations[shard] >= bound.terms
            || !self.meta_available()
            || self.can_elect(bound, shard)
        {
            return false;
        }
        self.meta.incarnations[shard] += 1;
        true
    }

    /// A replica hears that its incarnation is over, records it, and takes no part in it from then on.
    pub fn fence(&mut self, shard: usize, node: usize) -> bool {
        let takes_part = self.takes_part(node);
        let replica = &mut self.shards[shard].replicas[node];
        if !takes_part || replica.fenced || replica.incarnation >= self.meta.incarnations[shard] {
            return false;
        }
        replica.fenced = true;
        replica.leads = false;
        true
    }

    /// A shard is forced on the replica with the longest log, when every replica that could go on is fenced
    /// and every promise to the old leader has run out.
    pub fn force_on(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let group = &self.shards[shard];
        let next = self.meta.incarnations[shard];
        if next <= group.newest() || !self.takes_part(node) || !self.meta_available() {
            return false;
        }
        // Who is not fenced has been given up, and cannot commit but alone. Alone it needs a lease, and has none.
        let free = (0..NODES).filter(|other| self.takes_part(*other) && !group.replicas[*other].fenced);
        let free: Nodes = free.map(only).sum();
        let goes_on = |other: usize| {
            let configuration = group.applied(other, bound);
            let may_commit = configuration.is_quorum(group.ids(free));
            let alone = configuration.is_quorum(group.id(other));
            free & only(other) != 0 && (self.meta.given_up & only(other) == 0 || (may_commit && !alone))
        };
        if !bound.has(Mistake::ForceWithoutFence) {
            let position = |other: usize| {
                let replica = &group.replicas[other];
                (replica.incarnation, replica.log.position())
            };
            let is_longer = |other: usize| {
                let fenced = group.replicas[other].fenced;
                self.takes_part(other) && fenced && position(other) > position(node)
            };
            if !group.replicas[node].fenced || (0..NODES).any(goes_on) || (0..NODES).any(is_longer) {
                return false;
            }
        }
        let promised = group.replicas.iter().any(|replica| replica.promise != 0);
        if promised && !bound.has(Mistake::ForceInsideLease) {
            return false;
        }
        if !group.replicas[node].log.has_room() {
            return false;
        }
        self.force(bound, shard, node);
        true
    }

    /// Rewrites the configuration of a shard to one replica, in a new incarnation, and declares what is lost.
    pub(crate) fn force(&mut self, bound: &Bound, shard: usize, node: usize) {
        let could = self.can_elect(bound, shard);
        let epoch = self.meta.epoch;
        let group = &mut self.shards[shard];
        let id = group.id(node);
        let replica = &mut group.replicas[node];
        replica.incarnation = self.meta.incarnations[shard];
        replica.term += 1;
        replica.leads = true;
        replica.fenced = false;
        replica.log.push(replica.term, Kind::Force(epoch, id));
        replica.commit = replica.log.len() as u8;
        replica.floor = replica.commit;
        let kept = replica.log.writes(replica.commit);
        let lost = group.acknowledged & !group.lost & !kept;
        group.lost |= lost;
        // Entries that were not acknowledged may have survived; whoever asks again is told so.
        self.broken.lost_in_quorum |= lost != 0 && self.meta.published == Mode::Quorum;
        self.broken.lost_needlessly |= lost != 0 && could;
    }

    /// A replica of an incarnation that is over saves its tail, is wiped, and is filled by the new leader.
    pub fn rejoin(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let newest = self.meta.incarnations[shard];
        let leader = (0..NODES).find(|leader| {
            self.leads(shard, *leader) && self.shards[shard].replicas[*leader].incarnation == newest
        });
        let Some(leader) = leader else { return false };
        let from = self.shards[shard].replicas[leader];
        let takes_part = self.takes_part(node);
        let replica = &mut self.shards[shard].replicas[node];
        if !takes_part || replica.incarnation >= newest {
            return false;
        }
        *replica = Replica {
            leads: false,
            fenced: false,
            generation: replica.generation,
            floor: from.commit,
            promise: replica.promise,
            forgot: replica.forgot,
            ..from
        };
        self.advance(bound, shard, leader);
        true
    }
}
