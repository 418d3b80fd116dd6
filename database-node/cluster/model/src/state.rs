//! The state of the world: nodes, shards with their replicas, and the meta group.

use crate::bound::{Bound, Mode};
use crate::log::{Configuration, Log, Replicas};

/// How many nodes there are.
pub const NODES: usize = 3;

/// The most epochs that the meta group may come to.
pub const EPOCHS: usize = 8;

/// The most lives that a shard may come to.
pub const LIVES: usize = 8;

/// A set of nodes, a bit for each.
pub type Nodes = u8;

/// The set of one node.
pub fn only(node: usize) -> Nodes {
    1 << node
}

/// Where an epoch leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Target {
    /// One voter for each shard, on this node.
    One(u8),
    /// A voter for each shard on every node.
    #[default]
    Quorum,
}

/// What the meta group is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing.
    Stable,
    /// A switch, forwards or back.
    Switching,
    /// A forced promotion.
    Promoting,
}

/// How a shard was forced into another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Life {
    /// The node whose replica is to go on.
    pub holder: u8,
    /// The life that was confirmed last before.
    pub from: u8,
    /// The epoch in which it was decided.
    pub epoch: u8,
}

/// What the meta group has committed. It is one history, and what is committed in it compares the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meta {
    /// Raised by every decision that changes where the shards are to go.
    pub epoch: u8,
    /// Where each epoch led. Orders of all of them may still be under way to the shards.
    pub targets: [Target; EPOCHS],
    /// What is under way.
    pub phase: Phase,
    /// The guarantee that is published.
    pub published: Mode,
    /// The leader node, and the holder of the lease.
    pub home: u8,
    /// The nodes that the promotion under way has given up.
    pub given_up: Nodes,
    /// Whether the promotion accepted that the old leader goes on.
    pub split_brain: bool,
    /// Whether the lease is taken for expired.
    pub expired: bool,
    /// The incarnation of each shard.
    pub incarnations: [u8; 2],
    /// How each incarnation of each shard was begun; nothing for the first.
    pub lives: [[Life; LIVES]; 2],
    /// The incarnations of each shard that may answer, a bit for each: the first, and those that were confirmed.
    pub confirmed: [u8; 2],
}

/// A shard on a node. All of it but `leads`, `commit` and the promise is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Replica {
    /// The incarnation that the log belongs to.
    pub incarnation: u8,
    /// The highest term that it has seen.
    pub term: u8,
    /// Whether it leads in this term.
    pub leads: bool,
    /// Whether it takes no part in its incarnation any more.
    pub fenced: bool,
    /// Where it was forced and is not confirmed: the incarnation before, how many entries it had then, and how many of
    /// them it knew to be committed.
    pub before: (u8, u8, u8),
    /// How often its disk was lost.
    pub generation: u8,
    /// Up to where it knows that entries are committed, and has applied them.
    pub commit: u8,
    /// Up to where it still knows that after a crash.
    pub floor: u8,
    /// The node, plus one, to which it promised not to vote for another, or 0.
    pub promise: u8,
    /// Whether it has forgotten the promise.
    pub forgot: bool,
    /// The entries.
    pub log: Log,
}

/// A shard: its replicas, and what its clients were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shard {
    /// One on each node.
    pub replicas: [Replica; NODES],
    /// How many writes there were.
    pub writes: u8,
    /// The writes that were acknowledged, a bit for each.
    pub acknowledged: u8,
    /// The acknowledged writes that a promotion declared lost.
    pub lost: u8,
    /// The incarnations in which somebody was answered before they were confirmed, a bit for each.
    pub answered: u8,
}

/// What went wrong in a step, where the state after it does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Broken {
    /// A leader of an incarnation that is over acknowledged a write.
    pub superseded: bool,
    /// A promotion lost acknowledged writes while Quorum was published.
    pub lost_in_quorum: bool,
    /// A promotion lost acknowledged writes of a shard that could have elected a leader.
    pub lost_needlessly: bool,
    /// A replica had to give up entries that it knew to be committed.
    pub conflict: bool,
    /// A force was confirmed that lost acknowledged writes which another replica had that was there.
    pub lost_from_present: bool,
    /// A replica was wiped that had acknowledged writes which the leader lacks, and which were not declared lost.
    pub wiped: bool,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// Crashes.
    pub crashes: u8,
    /// Losses of a disk.
    pub disks: u8,
    /// Switches.
    pub switches: u8,
    /// Aborts.
    pub aborts: u8,
    /// Promotions.
    pub promotions: u8,
    /// Other replicas that are forced instead of one that is not confirmed.
    pub others: u8,
}

/// The whole world at one moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The nodes that run.
    pub up: Nodes,
    /// The nodes that have asked the meta group since they started, and so take part.
    pub joined: Nodes,
    /// The nodes that believe they hold the lease.
    pub believes: Nodes,
    /// The meta group.
    pub meta: Meta,
    /// The shards; those beyond the bound stay empty.
    pub shards: [Shard; 2],
    /// What may still happen.
    pub budget: Budget,
    /// What went wrong.
    pub broken: Broken,
}

impl State {
    /// The world at the beginning: a cluster at rest, led by node 0 in term 1.
    pub fn first(bound: &Bound) -> Self {
        let replica = |node| Replica {
            term: 1,
            leads: node == 0,
            ..Replica::default()
        };
        let shard = Shard {
            replicas: [replica(0), replica(1), replica(2)],
            ..Shard::default()
        };
        let mut shards = [Shard::default(); 2];
        shards[..bound.shards].fill(shard);
        let mut targets = [Target::Quorum; EPOCHS];
        if bound.start == Mode::OneLeader {
            targets[0] = Target::One(0);
        }
        Self {
            up: 7,
            joined: 7,
            believes: 1,
            meta: Meta {
                epoch: 0,
                targets,
                phase: Phase::Stable,
                published: bound.start,
                home: 0,
                given_up: 0,
                split_brain: false,
                expired: false,
                incarnations: [0; 2],
                lives: [[Life::default(); LIVES]; 2],
                confirmed: [1; 2],
            },
            shards,
            budget: Budget {
                crashes: bound.crashes,
                disks: bound.disks,
                switches: bound.switches,
                aborts: bound.aborts,
                promotions: bound.promotions,
                others: bound.others,
            },
            broken: Broken::default(),
        }
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.up & only(node) != 0
    }

    /// Whether a node runs and takes part.
    pub fn takes_part(&self, node: usize) -> bool {
        self.up & self.joined & only(node) != 0
    }

    /// Whether the meta group can commit: its three voters are on the three nodes.
    pub fn meta_available(&self) -> bool {
        self.up.count_ones() >= 2
    }

    /// The incarnation of a shard that was confirmed last.
    pub fn life(&self, shard: usize) -> u8 {
        (u8::BITS - 1 - self.meta.confirmed[shard].leading_zeros()) as u8
    }

    /// Whether a shard was forced and that is not confirmed.
    pub fn is_unconfirmed(&self, shard: usize) -> bool {
        self.life(shard) < self.meta.incarnations[shard]
    }

    /// Where the current epoch leads.
    pub fn target(&self) -> Target {
        self.meta.targets[usize::from(self.meta.epoch)]
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            up,
            joined,
            believes,
            meta,
            broken,
            ..
        } = self;
        writeln!(
            formatter,
            "    up {up:03b} joined {joined:03b} believes {believes:03b} {broken:?}"
        )?;
        let targets = &meta.targets[..=usize::from(meta.epoch)];
        writeln!(
            formatter,
            "    meta {:?} published {:?} home {} given up {:03b} expired {} targets {targets:?}",
            meta.phase, meta.published, meta.home, meta.given_up, meta.expired
        )?;
        for (number, shard) in self
            .shards
            .iter()
            .enumerate()
            .filter(|(_, shard)| shard.replicas[0].term > 0)
        {
            writeln!(
                formatter,
                "    shard {number} of incarnation {}, confirmed {:b}: acknowledged {:b} lost {:b}",
                meta.incarnations[number], meta.confirmed[number], shard.acknowledged, shard.lost
            )?;
            for (node, replica) in shard.replicas.iter().enumerate() {
                writeln!(
                    formatter,
                    "      {node}: incarnation {} term {}{}{} generation {} commit {} floor {} promise {:03b}{} {:?}",
                    replica.incarnation,
                    replica.term,
                    if replica.leads { " leads" } else { "" },
                    if replica.fenced { " fenced" } else { "" },
                    replica.generation,
                    replica.commit,
                    replica.floor,
                    replica.promise,
                    if replica.forgot { " forgot" } else { "" },
                    replica.log
                )?;
            }
        }
        Ok(())
    }
}

impl Shard {
    /// The identity of the replica on a node.
    pub fn id(&self, node: usize) -> Replicas {
        1 << (node + NODES * usize::from(self.replicas[node].generation))
    }

    /// The voters that a target asks for.
    pub fn voters(&self, target: Target) -> Replicas {
        match target {
            Target::One(node) => self.id(usize::from(node)),
            Target::Quorum => (0..NODES).map(|node| self.id(node)).sum(),
        }
    }

    /// The configuration that a replica has applied.
    pub fn applied(&self, node: usize, bound: &Bound) -> Configuration {
        self.configuration(node, self.replicas[node].commit, bound)
    }

    /// The configuration of a replica after the first entries of its log.
    pub fn configuration(&self, node: usize, up_to: u8, bound: &Bound) -> Configuration {
        let first = match bound.start {
            Mode::OneLeader => 1,
            Mode::Quorum => 7,
        };
        self.replicas[node].log.configuration(up_to, first, bound)
    }

    /// The leader of the newest term of an incarnation, if it still leads.
    pub fn newest_leader(&self, newest: u8) -> Option<usize> {
        let current = self
            .replicas
            .iter()
            .filter(|replica| replica.incarnation == newest);
        let term = current.map(|replica| replica.term).max().unwrap_or_default();
        (0..NODES).find(|node| {
            let replica = &self.replicas[*node];
            replica.leads && replica.incarnation == newest && replica.term == term
        })
    }
}
