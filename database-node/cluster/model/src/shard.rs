//! A shard as raft keeps it: elections, replication, commitment, changes of its voters. Raft is trusted: a
//! step here is what raft makes of many messages. As in raft-rs a configuration is in force once its entry
//! is applied, which here is when the replica knows that it is committed.

use crate::bound::{Bound, Mistake, Policy};
use crate::log::{Kind, Replicas};
use crate::state::{NODES, Nodes, Replica, Shard, State, Target, only};

impl State {
    /// Whether a node leads a shard and is able to do something about it.
    pub fn leads(&self, shard: usize, node: usize) -> bool {
        let replica = &self.shards[shard].replicas[node];
        replica.leads && !replica.fenced && self.takes_part(node)
    }

    /// A node becomes leader by its own vote and those of others, which suffice and of which none is idle.
    pub fn elect(&mut self, bound: &Bound, shard: usize, node: usize, others: Nodes) -> bool {
        let group = &self.shards[shard];
        let candidate = &group.replicas[node];
        let configuration = group.applied(node, bound);
        let members = configuration.voters | configuration.outgoing;
        if !self.takes_part(node) || candidate.fenced || members & group.id(node) == 0 {
            return false;
        }
        let voters = others | only(node);
        let quorum = |nodes: Nodes| configuration.is_quorum(group.ids(nodes));
        let is_idle = |other: usize| others & only(other) != 0 && quorum(voters & !only(other));
        if !quorum(voters) || (0..NODES).any(is_idle) {
            return false;
        }
        if !(0..NODES).all(|voter| voters & only(voter) == 0 || self.grants(bound, shard, voter, node)) {
            return false;
        }
        let terms = group.replicas.iter().enumerate();
        let terms = terms.filter(|(voter, _)| voters & only(*voter) != 0);
        let newest = terms.map(|(_, replica)| replica.term).max().unwrap_or_default();
        // A leader campaigns again only when it hears that it has been deposed.
        if candidate.leads && newest == candidate.term {
            return false;
        }
        let term = newest + 1;
        if term > bound.terms || !candidate.log.has_room() {
            return false;
        }
        for (voter, replica) in self.shards[shard].replicas.iter_mut().enumerate() {
            if voters & only(voter) != 0 {
                replica.term = term;
                replica.leads = voter == node;
            }
        }
        self.append(bound, shard, node, Kind::Noop);
        true
    }

    /// Whether a replica votes for another.
    fn grants(&self, bound: &Bound, shard: usize, voter: usize, candidate: usize) -> bool {
        let group = &self.shards[shard];
        let (replica, asking) = (&group.replicas[voter], &group.replicas[candidate]);
        // A leader that votes for another has handed its leadership over, and its lease is at an end.
        let bound_by = if replica.forgot { 0 } else { replica.promise };
        let configuration = group.applied(voter, bound);
        let is_member = (configuration.voters | configuration.outgoing) & group.id(voter) != 0;
        self.takes_part(voter)
            && !replica.fenced
            && replica.incarnation == asking.incarnation
            && replica.log.position() <= asking.log.position()
            && bound_by & !only(candidate) == 0
            && (is_member || !bound.has(Mistake::OutgoingRefusesVotes))
    }

    /// A replica takes over the log of its leader and what that knows of commitment, and promises to vote for
    /// no other for a while.
    pub fn replicate(&mut self, bound: &Bound, shard: usize, leader: usize, to: usize) -> bool {
        let from = self.shards[shard].replicas[leader];
        let replica = &mut self.shards[shard].replicas[to];
        if leader == to
            || from.incarnation != replica.incarnation
            || from.term < replica.term
            || replica.fenced
        {
            return false;
        }
        let before = *replica;
        if replica.log.common(&from.log) < usize::from(replica.commit) {
            self.broken.conflict = true;
        }
        let changed = replica.log != from.log;
        replica.log = from.log;
        replica.term = from.term;
        replica.leads = false;
        replica.commit = replica.commit.max(from.commit);
        replica.keep(bound, changed, before.commit);
        if bound.read_leases {
            replica.promise |= only(leader);
            replica.forgot = false;
        }
        if *replica == before {
            return false;
        }
        self.advance(bound, shard, leader);
        true
    }

    /// A leader brings all that it reaches up to date.
    pub fn spread(&mut self, bound: &Bound, shard: usize, leader: usize) -> bool {
        let mut any = false;
        loop {
            let mut more = false;
            for to in 0..NODES {
                let reaches = self.leads(shard, leader) && self.takes_part(to);
                more |= reaches && self.replicate(bound, shard, leader, to);
            }
            if !more {
                return any;
            }
            any = true;
        }
    }

    /// A leader appends an entry.
    pub fn append(&mut self, bound: &Bound, shard: usize, leader: usize, kind: Kind) {
        let replica = &mut self.shards[shard].replicas[leader];
        replica.log.push(replica.term, kind);
        replica.keep(bound, true, replica.commit);
        self.advance(bound, shard, leader);
    }

    /// A leader commits what the voters of its applied configuration have, applies it, and acknowledges the
    /// writes in it.
    pub(crate) fn advance(&mut self, bound: &Bound, shard: usize, leader: usize) {
        loop {
            let group = &self.shards[shard];
            let replica = &group.replicas[leader];
            let configuration = group.applied(leader, bound);
            let holds = |node: usize, index: usize| {
                let other = &group.replicas[node];
                other.incarnation == replica.incarnation
                    && other.term == replica.term
                    && other.log.common(&replica.log) >= index
            };
            let is_committed = |index: usize| {
                let holders = (0..NODES).filter(|node| holds(*node, index));
                replica.log.entries()[index - 1].term == replica.term
                    && configuration.is_quorum(holders.map(|node| group.id(node)).sum())
            };
            let open = usize::from(replica.commit) + 1..=replica.log.len();
            let Some(index) = open.rev().find(|index| is_committed(*index)) else {
                return;
            };
            let writes = replica.log.writes(index as u8) & !replica.log.writes(replica.commit);
            let alone = configuration.is_quorum(group.id(leader));
            let life = replica.incarnation;
            let superseded = self.life(shard) > life;
            let unconfirmed = self.meta.confirmed[shard] & 1 << life == 0;
            let may = !self.is_silent(bound, shard, leader) && (!alone || self.has_lease(bound, leader));
            let group = &mut self.shards[shard];
            let replica = &mut group.replicas[leader];
            let before = replica.commit;
            replica.commit = index as u8;
            replica.keep(bound, false, before);
            if may && writes != 0 {
                if superseded {
                    // Declared lost beforehand when a split brain was accepted.
                    group.lost |= writes & !group.acknowledged;
                    self.broken.superseded |= !self.meta.split_brain;
                }
                group.acknowledged |= writes;
                group.answered |= u8::from(unconfirmed) << life;
            }
            let applied = group.applied(leader, bound);
            if !applied.is_joint() && applied.voters & group.id(leader) == 0 {
                group.replicas[leader].leads = false;
                return;
            }
        }
    }

    /// Whether a leader that needs nobody else may acknowledge.
    fn has_lease(&self, bound: &Bound, node: usize) -> bool {
        bound.policy != Policy::Automatic
            || bound.has(Mistake::LeaseIgnored)
            || self.believes & only(node) != 0
    }

    /// Whether a leader answers reads from what it has applied.
    pub fn answers(&self, bound: &Bound, shard: usize, node: usize) -> bool {
        if !self.leads(shard, node) || !self.is_settled(shard, node) || self.is_silent(bound, shard, node) {
            return false;
        }
        let group = &self.shards[shard];
        let configuration = group.applied(node, bound);
        if configuration.is_quorum(group.id(node)) {
            return self.has_lease(bound, node);
        }
        let promised = |other: usize| other == node || group.replicas[other].promise & only(node) != 0;
        let behind = (0..NODES).filter(|other| promised(*other));
        configuration.is_quorum(behind.map(|other| group.id(other)).sum())
    }

    /// Whether a leader has committed an entry of its own term, and so knows what is committed.
    pub fn is_settled(&self, shard: usize, node: usize) -> bool {
        let replica = &self.shards[shard].replicas[node];
        let committed = replica.log.entries().get(..usize::from(replica.commit));
        let last = committed.and_then(<[_]>::last);
        replica.log.is_empty() || last.is_some_and(|entry| entry.term == replica.term)
    }

    /// A client writes.
    pub fn write(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let silent = self.is_silent(bound, shard, node);
        let group = &mut self.shards[shard];
        if silent || group.writes >= bound.writes || !group.replicas[node].log.has_room() {
            return false;
        }
        group.writes += 1;
        let number = group.writes;
        self.append(bound, shard, node, Kind::Write(number));
        true
    }

    /// An order of an epoch reaches a leader. Orders may be as old as they like.
    pub fn order(&mut self, bound: &Bound, shard: usize, node: usize, epoch: u8) -> bool {
        let group = &self.shards[shard];
        let replica = &group.replicas[node];
        let applied = group.applied(node, bound);
        // Raft has one change of voters at a time, and none before a leader knows what is committed.
        if applied.is_joint()
            || replica.log.has_change_after(replica.commit)
            || !self.is_settled(shard, node)
            || self.is_silent(bound, shard, node)
            || !replica.log.has_room()
        {
            return false;
        }
        let voters = group.voters(self.meta.targets[usize::from(epoch)]);
        let kind = if voters == applied.voters {
            if epoch <= applied.epoch || bound.has(Mistake::AbortWithoutFence) || bound.has(Mistake::NoEpochs)
            {
                return false;
            }
            Kind::Fence(epoch)
        } else {
            if epoch < applied.epoch && !bound.has(Mistake::NoEpochs) {
                return false;
            }
            // Who will not stay only lets others in. It leaves when leadership has moved to one that stays.
            let stays = voters & group.id(node) != 0 || bound.has(Mistake::OutgoingLeads);
            let voters = if stays { voters } else { voters | applied.voters };
            let incoming = (0..NODES).filter(|other| voters & group.id(*other) != 0);
            let is_behind = |other: usize| group.replicas[other].incarnation != replica.incarnation;
            if voters == applied.voters
                || (incoming.into_iter().any(is_behind) && !bound.has(Mistake::EnterBehind))
            {
                return false;
            }
            Kind::Enter(epoch, voters)
        };
        self.append(bound, shard, node, kind);
        true
    }

    /// A leader leaves the joint configuration.
    pub fn leave(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let group = &self.shards[shard];
        let replica = &group.replicas[node];
        let applied = group.applied(node, bound);
        if !applied.is_joint()
            || replica.log.has_change_after(replica.commit)
            || !self.is_settled(shard, node)
            || !replica.log.has_room()
            || (applied.voters & group.id(node) == 0 && !bound.has(Mistake::OutgoingLeads))
            || (applied.entered != replica.term && bound.has(Mistake::LeaveOnce))
        {
            return false;
        }
        self.append(bound, shard, node, Kind::Leave);
        true
    }

    /// Whether a replica, with its first entries applied, is where the current epoch leads.
    fn has_arrived(&self, bound: &Bound, shard: usize, node: usize, up_to: u8) -> bool {
        let group = &self.shards[shard];
        let configuration = group.configuration(node, up_to, bound);
        let voters = group.voters(self.target());
        let knows = bound.has(Mistake::AbortWithoutFence) || bound.has(Mistake::NoEpochs);
        group.replicas[node].incarnation == self.meta.incarnations[shard]
            && !self.is_unconfirmed(shard)
            && voters & group.id(node) != 0
            && configuration.voters == voters
            && !configuration.is_joint()
            && (knows || configuration.epoch >= self.meta.epoch)
    }

    /// Whether a shard is where the current epoch leads: every voter has applied it and will not forget it.
    pub fn is_final(&self, bound: &Bound, shard: usize) -> bool {
        let group = &self.shards[shard];
        let voters = group.voters(self.target());
        (0..NODES).all(|node| {
            let replica = &group.replicas[node];
            let forgets = bound.has(Mistake::ConfigurationForgotten) || bound.has(Mistake::CommitForgotten);
            let up_to = if forgets { replica.commit } else { replica.floor };
            voters & group.id(node) == 0
                || self.has_arrived(bound, shard, node, up_to)
                || (bound.has(Mistake::PublishEarly)
                    && (0..NODES).any(|leader| {
                        self.leads(shard, leader)
                            && self.has_arrived(bound, shard, leader, group.replicas[leader].commit)
                    }))
        })
    }

    /// Whether the nodes that are there, but for the one that was given up, could elect a leader.
    pub fn can_elect(&self, bound: &Bound, shard: usize) -> bool {
        let group = &self.shards[shard];
        let life = self.life(shard);
        let counts = |node: usize| {
            let given_up = self.meta.given_up & only(node) != 0;
            let heard = self.takes_part(node) && !given_up && !self.is_unheard(shard, node);
            heard && self.had(shard, node).life == life
        };
        (0..NODES).any(|node| {
            let candidate = self.had(shard, node);
            let votes = |voter: &usize| counts(*voter) && self.had(shard, *voter) <= candidate;
            let voters = (0..NODES).filter(votes).map(|voter| group.id(voter)).sum();
            let configuration = group.configuration(node, candidate.commit, bound);
            counts(node) && configuration.is_quorum(voters)
        })
    }

    /// The promise of a replica runs out, and with it every lease that rests on it.
    pub fn expire(&mut self, shard: usize, node: usize) -> bool {
        let replica = &mut self.shards[shard].replicas[node];
        let had = replica.promise != 0;
        replica.promise = 0;
        replica.forgot = false;
        had
    }
}

impl Shard {
    /// The identities of the replicas on some nodes.
    pub fn ids(&self, nodes: Nodes) -> Replicas {
        let chosen = (0..NODES).filter(|node| nodes & only(*node) != 0);
        chosen.map(|node| self.id(node)).sum()
    }
}

impl Replica {
    /// Makes durable what it knows of commitment: the commit index is written in the batch of new entries, and
    /// by itself when a change of the configuration is applied, before anything rests on that.
    fn keep(&mut self, bound: &Bound, appended: bool, applied: u8) {
        let changes =
            self.log.changes_between(applied, self.commit) && !bound.has(Mistake::ConfigurationForgotten);
        if (appended || changes) && !bound.has(Mistake::CommitForgotten) {
            self.floor = self.commit;
        }
    }
}

impl Target {
    /// The node of a single voter.
    pub fn home(self) -> Option<usize> {
        match self {
            Self::One(node) => Some(usize::from(node)),
            Self::Quorum => None,
        }
    }
}
