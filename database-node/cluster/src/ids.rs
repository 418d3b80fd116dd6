//! What things are known by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node: a process with a data directory. A directory that is lost is never the same node again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(u32);

impl NodeId {
    /// The node that a cluster begins with.
    pub const FIRST: Self = Self(1);

    /// The node of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A replica of a group: the node that holds it, and which of the node's replicas of the group it is. A replica whose
/// log is gone never comes back under its id: what it has voted is forgotten with the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    node: NodeId,
    generation: u32,
}

impl ReplicaId {
    /// The replica on `node` of a generation, from 1.
    #[must_use]
    pub const fn new(node: NodeId, generation: u32) -> Self {
        Self { node, generation }
    }

    /// The node that holds it.
    #[must_use]
    pub const fn node(self) -> NodeId {
        self.node
    }

    /// Which of the node's replicas of the group it is, from 1.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// As consensus knows it.
    pub(crate) const fn to_raft(self) -> u64 {
        ((self.node.0 as u64) << 32) | self.generation as u64
    }

    /// The opposite of [`ReplicaId::to_raft`].
    pub(crate) const fn from_raft(id: u64) -> Self {
        Self {
            node: NodeId((id >> 32) as u32),
            generation: id as u32,
        }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.generation)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which life of a group this is. A forced group goes on in the next: what the one before had and this has not is lost,
/// and whoever is still in the one before is out. Of two that were forced apart the greater wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Of the meta group, when it was forced before this life began: what was decided in another life of it counts less,
    /// however often.
    meta: (u32, NodeId),
    number: u32,
    forced_by: NodeId,
}

impl Incarnation {
    /// Of a group that was never forced.
    pub const FIRST: Self = Self {
        meta: (0, NodeId(0)),
        number: 1,
        forced_by: NodeId(0),
    };

    /// The one after this, when the replica of `node` is forced.
    #[must_use]
    pub const fn next(self, node: NodeId) -> Self {
        Self {
            meta: self.meta,
            number: self.number.saturating_add(1),
            forced_by: node,
        }
    }

    /// How many there were before it.
    #[must_use]
    pub const fn before(self) -> u32 {
        self.number.saturating_sub(1)
    }

    /// It as numbers, for whoever only hands it on: [`Incarnation::of_numbers`].
    #[must_use]
    pub const fn numbers(self) -> [u32; 4] {
        [self.meta.0, self.meta.1.0, self.number, self.forced_by.0]
    }

    /// The one with these numbers.
    #[must_use]
    pub const fn of_numbers([forced, meta, number, forced_by]: [u32; 4]) -> Self {
        Self {
            meta: (forced, NodeId(meta)),
            number,
            forced_by: NodeId(forced_by),
        }
    }

    /// This, as decided in a life of the meta group.
    #[must_use]
    pub(crate) const fn within(self, meta: Self) -> Self {
        match meta.number {
            // It was never forced.
            1 => self,
            number => Self {
                meta: (number, meta.forced_by),
                ..self
            },
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.forced_by.0 {
            0 => write!(f, "i{}", self.number),
            _ => write!(f, "i{} by {}", self.number, self.forced_by),
        }
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Counts the decisions about who holds what. What a group was told in one epoch it refuses to undo by order of an
/// earlier one, so a supervisor that was replaced does no harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(u64);

impl Epoch {
    /// The number, from 0.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of an entry in a log, by what makes it unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPoint {
    /// Its index, from 1.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
}

/// Later terms win over longer logs.
impl Ord for LogPoint {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.term, self.index).cmp(&(other.term, other.index))
    }
}

impl PartialOrd for LogPoint {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_one_number_for_consensus() {
        for (node, generation) in [(1, 1), (u32::MAX, 1), (7, u32::MAX)] {
            let replica = ReplicaId::new(NodeId::new(node), generation);
            assert_eq!(ReplicaId::from_raft(replica.to_raft()), replica);
        }
    }

    #[test]
    fn of_two_lives_that_were_forced_apart_one_wins() {
        let (a, b) = (
            Incarnation::FIRST.next(NodeId::new(1)),
            Incarnation::FIRST.next(NodeId::new(2)),
        );
        assert!(Incarnation::FIRST < a && a < b && b < a.next(NodeId::new(1)));
    }

    #[test]
    fn a_later_term_wins_over_a_longer_log() {
        let point = |index, term| LogPoint { index, term };
        assert!(point(9, 1) < point(3, 2) && point(3, 2) < point(4, 2));
    }
}
