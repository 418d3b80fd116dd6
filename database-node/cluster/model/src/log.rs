//! Entries, logs and the configurations that follow from them.

use crate::bound::{Bound, Mistake};

/// The most entries that a log may have.
pub const CAPACITY: usize = 20;

/// A set of replicas. Bit `n` is the replica on node `n`, bit `3 + n` the one that took its place after the
/// disk was lost.
pub type Replicas = u8;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Kind {
    /// Nothing: the first entry of a leader.
    #[default]
    Noop,
    /// A client's write, by its number.
    Write(u8),
    /// Into the joint configuration of the voters and those given, ordered in an epoch.
    Enter(u8, Replicas),
    /// Out of the joint configuration.
    Leave,
    /// Nothing, but orders of lower epochs are void behind it.
    Fence(u8),
    /// The configuration of one replica, forced in an epoch.
    Force(u8, Replicas),
}

/// An entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: u8,
    /// What it does.
    pub kind: Kind,
}

/// The log of a replica. All of it is durable.
#[derive(Clone, Copy, Default)]
pub struct Log {
    length: u8,
    entries: [Entry; CAPACITY],
}

impl Log {
    /// The entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..self.len()]
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether one more may be appended.
    pub fn has_room(&self) -> bool {
        self.len() < CAPACITY
    }

    /// Appends an entry; a full log stays as it is.
    pub fn push(&mut self, term: u8, kind: Kind) {
        if let Some(entry) = self.entries.get_mut(usize::from(self.length)) {
            *entry = Entry { term, kind };
            self.length += 1;
        }
    }

    /// What elections compare: the last term, then the length.
    pub fn position(&self) -> (u8, u8) {
        self.position_at(self.length)
    }

    /// The position of the first entries.
    pub fn position_at(&self, length: u8) -> (u8, u8) {
        let length = length.min(self.length);
        let last = self.entries()[..usize::from(length)].last();
        (last.map_or(0, |entry| entry.term), length)
    }

    /// How many entries from the beginning two logs have in common.
    pub fn common(&self, other: &Self) -> usize {
        let same = self.entries().iter().zip(other.entries());
        same.take_while(|(one, another)| one == another).count()
    }

    /// The writes among the first entries, a bit for each.
    pub fn writes(&self, up_to: u8) -> u8 {
        let mut writes = 0;
        for entry in &self.entries()[..usize::from(up_to).min(self.len())] {
            if let Kind::Write(number) = entry.kind {
                writes |= 1 << number;
            }
        }
        writes
    }

    /// Changes every set of replicas in it.
    pub fn rename(&mut self, rename: impl Fn(Replicas) -> Replicas) {
        for entry in &mut self.entries[..usize::from(self.length)] {
            entry.kind = match entry.kind {
                Kind::Enter(epoch, replicas) => Kind::Enter(epoch, rename(replicas)),
                Kind::Force(epoch, replicas) => Kind::Force(epoch, rename(replicas)),
                other => other,
            };
        }
    }

    /// The configuration after the first entries.
    pub fn configuration(&self, up_to: u8, first: Replicas, bound: &Bound) -> Configuration {
        let mut configuration = Configuration {
            voters: first,
            outgoing: 0,
            epoch: 0,
            entered: 0,
        };
        for entry in &self.entries()[..usize::from(up_to).min(self.len())] {
            configuration.apply(*entry, bound);
        }
        configuration
    }

    /// Whether what follows the first entries changes the configuration or its epoch.
    pub fn has_change_after(&self, up_to: u8) -> bool {
        self.changes_between(up_to, self.length)
    }

    /// Whether the entries behind one index up to another change the configuration or its epoch.
    pub fn changes_between(&self, after: u8, up_to: u8) -> bool {
        let entries = self.entries().get(usize::from(after)..usize::from(up_to));
        entries
            .unwrap_or_default()
            .iter()
            .any(|entry| !matches!(entry.kind, Kind::Noop | Kind::Write(_)))
    }
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl Eq for Log {}

impl PartialOrd for Log {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Log {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.entries().cmp(other.entries())
    }
}

impl std::hash::Hash for Log {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.entries().hash(state);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.entries().iter();
        formatter
            .debug_list()
            .entries(entries.map(|entry| format!("{}:{:?}", entry.term, entry.kind)))
            .finish()
    }
}

/// Who votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The voters; in a joint configuration the incoming ones.
    pub voters: Replicas,
    /// In a joint configuration the voters that were, else nobody.
    pub outgoing: Replicas,
    /// The highest epoch of an order that was applied.
    pub epoch: u8,
    /// The term in which the joint configuration was entered.
    pub entered: u8,
}

impl Configuration {
    /// Whether both old and new voters must agree.
    pub fn is_joint(&self) -> bool {
        self.outgoing != 0
    }

    /// Whether these replicas decide.
    pub fn is_quorum(&self, replicas: Replicas) -> bool {
        let majority = |of: Replicas| (of & replicas).count_ones() * 2 > of.count_ones();
        majority(self.voters) && (self.outgoing == 0 || majority(self.outgoing))
    }

    fn apply(&mut self, entry: Entry, bound: &Bound) {
        match entry.kind {
            Kind::Noop | Kind::Write(_) => {}
            Kind::Enter(epoch, voters) => {
                // Orders of lower epochs are void, and so is one that would enter a second time.
                if self.is_joint() || (epoch < self.epoch && !bound.has(Mistake::NoEpochs)) {
                    return;
                }
                if !bound.has(Mistake::OneStep) {
                    self.outgoing = self.voters;
                }
                self.voters = voters;
                self.epoch = epoch.max(self.epoch);
                self.entered = entry.term;
            }
            Kind::Leave => self.outgoing = 0,
            Kind::Fence(epoch) => self.epoch = epoch.max(self.epoch),
            Kind::Force(epoch, voters) => {
                self.voters = voters;
                self.outgoing = 0;
                self.epoch = epoch.max(self.epoch);
            }
        }
    }
}
