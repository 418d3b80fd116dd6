//! What was asked and answered.

use std::collections::BTreeMap;

use pliantdb_cluster::node::Mark;
use pliantdb_cluster::{Incarnation, LogPoint};
use pliantdb_core::GroupId;

use crate::world::Time;

/// A value that was written; no two writes have the same. 0: nothing was written yet.
pub type Value = u64;

/// Something that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The group that has it.
    pub group: GroupId,
    /// Which of the group's.
    pub number: u32,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To write a value.
    Write(Value),
    /// To write a value if another is there.
    Exchange {
        /// What is to be there.
        from: Value,
        /// What to write.
        to: Value,
    },
    /// To read, as fresh as can be.
    Read,
    /// To read at least what was written or read before by the same client, anywhere.
    ReadAtLeast {
        /// What it has seen.
        seen: Option<Mark>,
    },
    /// To read, anywhere, what is not older than so many milliseconds.
    ReadWithin(u64),
    /// To add a document that nobody else adds.
    Insert(Value),
    /// To count by one.
    Count,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It was done.
    Done,
    /// It was rejected and changed nothing.
    Rejected,
    /// The value that was read.
    Value(Value),
    /// The number that was counted to.
    Counted(u64),
    /// Nobody knows.
    Unknown,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Whose.
    pub client: usize,
    /// On what.
    pub object: Object,
    /// What was asked.
    pub asked: Asked,
    /// When it was asked.
    pub began: Time,
    /// When the answer was there; nobody knows when what is unknown was done.
    pub ended: Option<Time>,
    /// What came of it.
    pub came: Came,
    /// Whether it was asked again: then the entry that answered may only repeat what an earlier one did.
    pub is_asked_again: bool,
    /// Which entry did it, of a write; up to which it was read, of a read.
    pub at: Option<Mark>,
}

/// A group was forced.
#[derive(Debug, Clone)]
pub struct ForcedGroup {
    /// When.
    pub at: Time,
    /// In which life it went on.
    pub incarnation: Incarnation,
    /// The end of the log that it went on with.
    pub fork: LogPoint,
    /// Whether the group goes on in that life for good. Else it was given up for another before anybody was answered.
    pub is_confirmed: bool,
}

/// Everything that was asked.
#[derive(Debug, Default)]
pub struct History {
    /// In the order of their beginnings.
    pub operations: Vec<Operation>,
    /// The forced groups, in order.
    pub forced: BTreeMap<GroupId, Vec<ForcedGroup>>,
    /// What a read of two documents that are only written together saw, when they differed.
    pub torn: Vec<String>,
}

impl ForcedGroup {
    /// Whether the group has lost what was done there, in a life before.
    #[must_use]
    pub fn loses(&self, at: Mark) -> bool {
        at.index > self.fork.index || at.term > self.fork.term
    }
}

impl History {
    /// Whether a write was declared lost: it lies behind the fork of a later life.
    #[must_use]
    pub fn is_declared_lost(&self, operation: &Operation) -> bool {
        let Some(at) = operation.at else {
            return false;
        };
        let forced = self.forced.get(&operation.object.group);
        forced.is_some_and(|forced| {
            let later = forced.iter();
            let later = later.filter(|forced| forced.is_confirmed && forced.incarnation > at.incarnation);
            later.into_iter().any(|forced| forced.loses(at))
        })
    }
}
