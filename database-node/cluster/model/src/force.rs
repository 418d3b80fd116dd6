//! A promotion forces the shards that cannot elect: decide, force, fence, confirm, rejoin. Before it is confirmed the
//! forced replica answers nobody, the others are kept, and another can be forced instead.

use crate::bound::{Bound, Mistake, Mode};
use crate::log::Kind;
use crate::state::{LIVES, Life, NODES, Nodes, Phase, Replica, State, only};

/// What a replica had before it was forced, where that is not confirmed, else what it has. The greatest is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Had {
    /// The incarnation.
    pub life: u8,
    /// The end of its log.
    pub position: (u8, u8),
    /// What it knew to be committed.
    pub commit: u8,
}

impl State {
    /// What the replica on a node brings along, if the shard goes on with it.
    pub fn had(&self, shard: usize, node: usize) -> Had {
        let replica = &self.shards[shard].replicas[node];
        let (life, length, commit) = match self.meta.confirmed[shard] & 1 << replica.incarnation {
            0 => replica.before,
            _ => (replica.incarnation, replica.log.len() as u8, replica.commit),
        };
        Had {
            life,
            position: replica.log.position_at(length),
            commit,
        }
    }

    /// Whether a replica leads a life that is not confirmed: it answers nobody.
    pub fn is_silent(&self, bound: &Bound, shard: usize, node: usize) -> bool {
        let life = self.shards[shard].replicas[node].incarnation;
        match bound.mistake {
            Some(Mistake::AnswerUnconfirmed) => false,
            Some(Mistake::SupersededStays) => {
                self.is_unconfirmed(shard) && life == self.meta.incarnations[shard]
            }
            Some(Mistake::ForceOutdated) => {
                (self.meta.confirmed[shard] | self.shards[shard].answered) & 1 << life == 0
            }
            _ => self.meta.confirmed[shard] & 1 << life == 0,
        }
    }

    /// Whether a shard could go on with the replica on a node: it is there, and has not lost its disk.
    pub fn can_hold(&self, shard: usize, node: usize) -> bool {
        let replica = &self.shards[shard].replicas[node];
        self.takes_part(node) && (replica.generation == 0 || !replica.log.is_empty())
    }

    /// Whether another replica that is there and takes no part any more has a longer log than the one on a node had.
    pub fn is_exceeded(&self, shard: usize, node: usize) -> bool {
        self.stopped(shard)
            .any(|other| self.end(shard, other) > self.end(shard, node))
    }

    /// Whether the replica on a node was to go on and another was taken instead, and the node has not heard of that: it
    /// is there, and is not heard.
    pub fn is_unheard(&self, shard: usize, node: usize) -> bool {
        let replica = &self.shards[shard].replicas[node];
        let newest = self.meta.incarnations[shard];
        let mut given_up = self.life(shard) + 1..newest;
        let is_tried =
            given_up.any(|life| usize::from(self.meta.lives[shard][usize::from(life)].holder) == node);
        is_tried && !replica.fenced && replica.incarnation < newest
    }

    /// What decides with whom a shard goes on.
    fn end(&self, shard: usize, node: usize) -> (u8, (u8, u8)) {
        let had = self.had(shard, node);
        (had.life, had.position)
    }

    /// The nodes that are there and whose replica takes no part in its incarnation any more.
    fn stopped(&self, shard: usize) -> impl Iterator<Item = usize> {
        let replicas = &self.shards[shard].replicas;
        (0..NODES).filter(move |node| self.can_hold(shard, *node) && replicas[*node].fenced)
    }

    /// The meta group decides that the incarnation of a shard is over, and with whom it goes on. What it knows of the
    /// logs may be old, so it can be another than the longest.
    pub fn decide(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let counts = |node: usize| self.can_hold(shard, node) && self.meta.given_up & only(node) == 0;
        let is_longer = |other: usize| counts(other) && self.end(shard, other) > self.end(shard, node);
        if self.meta.phase != Phase::Promoting
            || self.is_unconfirmed(shard)
            || self.meta.confirmed[shard].count_ones() > u32::from(bound.terms)
            || !counts(node)
            || (bound.others == 0 && (0..NODES).any(is_longer))
            || !self.meta_available()
            || self.can_elect(bound, shard)
        {
            return false;
        }
        self.begin_life(shard, node)
    }

    /// Another incarnation of a shard begins, on a node.
    pub(crate) fn begin_life(&mut self, shard: usize, node: usize) -> bool {
        let life = usize::from(self.meta.incarnations[shard]) + 1;
        if life >= LIVES {
            return false;
        }
        self.meta.lives[shard][life] = Life {
            holder: node as u8,
            from: self.life(shard),
            epoch: self.meta.epoch,
        };
        self.meta.incarnations[shard] += 1;
        true
    }

    /// The node whose replica of a shard is to go on.
    fn holder(&self, shard: usize) -> usize {
        usize::from(self.meta.lives[shard][usize::from(self.meta.incarnations[shard])].holder)
    }

    /// A replica hears that its incarnation is over, records it, and takes no part in it from then on.
    pub fn fence(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        // Who is to go on forces itself when it hears of that.
        let holds = self.is_unconfirmed(shard) && self.holder(shard) == node;
        self.takes_part(node) && !holds && self.hear(bound, shard, node)
    }

    /// A node knows the newest incarnation of a shard.
    pub(crate) fn hear(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let replica = &self.shards[shard].replicas[node];
        let is_tried = self.meta.confirmed[shard] & 1 << replica.incarnation == 0;
        if replica.fenced
            || replica.incarnation >= self.meta.incarnations[shard]
            || (is_tried && bound.has(Mistake::SupersededStays))
        {
            return false;
        }
        let replica = &mut self.shards[shard].replicas[node];
        replica.fenced = true;
        replica.leads = false;
        true
    }

    /// The replica with which a shard is to go on hears of it. It may not have heard yet that another was forced since.
    pub fn force_on(&mut self, bound: &Bound, shard: usize, node: usize, life: u8) -> bool {
        let newest = self.meta.incarnations[shard];
        let holder = usize::from(self.meta.lives[shard][usize::from(life)].holder);
        let replica = &self.shards[shard].replicas[node];
        let is_outdated = life < newest && replica.fenced;
        if life > newest
            || holder != node
            || !self.can_hold(shard, node)
            || replica.incarnation >= life
            || (is_outdated && !bound.has(Mistake::ForceOutdated))
            || !replica.log.has_room()
        {
            return false;
        }
        self.force(shard, node, life);
        self.shards[shard].answered |= u8::from(is_outdated) << life;
        true
    }

    /// Rewrites the configuration of a shard to one replica, in another incarnation.
    pub(crate) fn force(&mut self, shard: usize, node: usize, life: u8) {
        let had = self.had(shard, node);
        let epoch = self.meta.lives[shard][usize::from(life)].epoch;
        let group = &mut self.shards[shard];
        let id = group.id(node);
        let replica = &mut group.replicas[node];
        // What it added in a life that was given up is nothing that others could lack.
        replica.before = (had.life, had.position.1, had.commit);
        replica.incarnation = life;
        replica.term += 1;
        replica.leads = true;
        replica.fenced = false;
        replica.log.push(replica.term, Kind::Force(epoch, id));
        replica.commit = replica.log.len() as u8;
        replica.floor = replica.commit;
    }

    /// Whether somebody may still commit in the incarnation that was left. Who is not fenced has been given up, and
    /// cannot commit but alone; alone it needs a lease, and has none. One that was to go on and is not heard cannot
    /// commit at all; where it has been forced it is silent.
    fn goes_on(&self, bound: &Bound, shard: usize, gone: Option<usize>) -> bool {
        let group = &self.shards[shard];
        (0..NODES).any(|node| {
            let incarnation = group.replicas[node].incarnation;
            let free = |other: usize| {
                let replica = &group.replicas[other];
                self.takes_part(other) && !replica.fenced && replica.incarnation == incarnation
            };
            let all: Nodes = (0..NODES).filter(|other| free(*other)).map(only).sum();
            let configuration = group.applied(node, bound);
            let may_commit = configuration.is_quorum(group.ids(all));
            let alone = configuration.is_quorum(group.id(node));
            free(node)
                && incarnation <= self.life(shard)
                && match self.meta.given_up & only(node) {
                    0 => may_commit || !(gone == Some(node) || self.is_unheard(shard, node)),
                    _ => may_commit && !alone,
                }
        })
    }

    /// The meta group confirms the forced replica: it leads, of the others that are there none goes on, none of them has
    /// a longer log, and every promise to the old leader has run out. What is confirmed is the newest life.
    pub fn confirm_force(&mut self, bound: &Bound, shard: usize, life: u8) -> bool {
        let holder = usize::from(self.meta.lives[shard][usize::from(life)].holder);
        let is_over = self.meta.confirmed[shard] & 1 << life != 0;
        let is_newest = life == self.meta.incarnations[shard] || bound.has(Mistake::ConfirmOutdated);
        let leads = self.leads(shard, holder) && self.shards[shard].replicas[holder].incarnation == life;
        if is_over || !is_newest || !leads || !self.meta_available() {
            return false;
        }
        let is_other = self.budget.others < bound.others;
        let is_blind = bound.has(Mistake::ConfirmShorter) || (is_other && bound.has(Mistake::AnotherShorter));
        let promised = self.shards[shard]
            .replicas
            .iter()
            .any(|replica| replica.promise != 0);
        if (self.goes_on(bound, shard, None) && !bound.has(Mistake::ConfirmWithoutFence))
            || (self.is_exceeded(shard, holder) && !is_blind)
            || (promised && !bound.has(Mistake::ForceInsideLease))
        {
            return false;
        }
        let could = self.can_elect(bound, shard);
        if life == self.meta.incarnations[shard] {
            self.confirm(bound, shard, could);
        } else {
            self.meta.confirmed[shard] |= 1 << life;
        }
        true
    }

    /// The newest incarnation may answer, and what it lacks is declared lost.
    pub(crate) fn confirm(&mut self, bound: &Bound, shard: usize, could: bool) {
        let holder = self.holder(shard);
        let group = &self.shards[shard];
        let kept = group.replicas[holder].log.writes(group.replicas[holder].commit);
        let lost = group.acknowledged & !group.lost & !kept;
        let has = |node: usize| group.replicas[node].log.writes(self.had(shard, node).position.1);
        let is_present = self.stopped(shard).any(|node| lost & has(node) != 0);
        // Entries that were not acknowledged may have survived; whoever asks again is told so.
        self.broken.lost_in_quorum |= lost != 0 && self.meta.published == Mode::Quorum;
        self.broken.lost_needlessly |= lost != 0 && could;
        self.broken.lost_from_present |= is_present;
        self.meta.confirmed[shard] |= 1 << self.meta.incarnations[shard];
        self.shards[shard].lost |= lost;
        self.shards[shard].replicas[holder].before = (0, 0, 0);
        self.advance(bound, shard, holder);
    }

    /// Another replica of the life before is forced: the longest of those that are there, all of which take no part any
    /// more. The one that was forced is gone, or only not heard.
    pub fn force_another(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let holder = self.holder(shard);
        let is_longer = |other: usize| other != holder && self.end(shard, other) > self.end(shard, node);
        if !self.is_unconfirmed(shard)
            || self.budget.others == 0
            || bound.has(Mistake::NoOther)
            || node == holder
            || !self.stopped(shard).any(|other| other == node)
            || (self.stopped(shard).any(is_longer) && !bound.has(Mistake::AnotherShorter))
            || self.goes_on(bound, shard, Some(holder))
            || !self.meta_available()
        {
            return false;
        }
        self.budget.others -= 1;
        let answered = self.answers(bound, shard, holder);
        let life = self.shards[shard].replicas[holder].incarnation;
        if answered && life > self.life(shard) {
            self.shards[shard].answered |= 1 << life;
        }
        self.begin_life(shard, node)
    }

    /// A replica of an incarnation that is over saves its tail, is wiped, and is filled by the new leader.
    pub fn rejoin(&mut self, bound: &Bound, shard: usize, node: usize) -> bool {
        let newest = self.meta.incarnations[shard];
        let leader = (0..NODES).find(|leader| {
            self.leads(shard, *leader) && self.shards[shard].replicas[*leader].incarnation == newest
        });
        let Some(leader) = leader else { return false };
        let takes_part = self.takes_part(node);
        let may = !self.is_unconfirmed(shard) || bound.has(Mistake::WipeUnconfirmed);
        let group = &mut self.shards[shard];
        let (from, replica) = (group.replicas[leader], group.replicas[node]);
        if !takes_part || !may || replica.incarnation >= newest {
            return false;
        }
        let has = |replica: &Replica| replica.log.writes(replica.log.len() as u8);
        self.broken.wiped |= group.acknowledged & !group.lost & has(&replica) & !has(&from) != 0;
        group.replicas[node] = Replica {
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
