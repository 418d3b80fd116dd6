//! What must hold, whatever happens.

mod atomic;
mod converged;
mod durable;
mod fresh;
mod leaders;
mod linearizable;
mod once;
mod sessions;

use std::collections::BTreeMap;

use pliantdb_core::GroupId;

use crate::clients::Contents;
use crate::history::History;
use crate::world::Told;

/// What a machine has of a group: the machine, how far it has applied the log, and a digest of its state.
pub type Replica = (usize, u64, u64);

type Check = fn(&Evidence<'_>) -> Result<(), String>;

/// What was seen of a seed.
pub struct Evidence<'a> {
    /// What clients asked and were answered.
    pub history: &'a History,
    /// Whether clocks run wrong by up to 35 %.
    pub are_clocks_wild: bool,
    /// What nodes told of.
    pub told: &'a [Told],
    /// Where replicas have applied different entries.
    pub differing: &'a [String],
    /// What is in each group at the end, on the machine that leads it.
    pub contents: &'a BTreeMap<GroupId, Contents>,
    /// What each machine has of each group at the end: how far it has applied the log, and a digest of its state.
    pub replicas: &'a BTreeMap<GroupId, Vec<Replica>>,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What should.
    pub invariant: &'static str,
    /// What was seen instead.
    pub seen: String,
}

/// Everything that does not hold.
#[must_use]
pub fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let all: [(&'static str, Check); 8] = [
        (
            "each object is as if there were one copy of it",
            linearizable::check,
        ),
        ("nothing acknowledged is lost", durable::check),
        ("a transaction is seen whole or not at all", atomic::check),
        ("what is asked for twice is done once", once::check),
        ("whoever wrote reads what was written", sessions::check),
        ("what may be old is not older than was allowed", fresh::check),
        (
            "a term of a life has one leader, and a life that is over acknowledges nothing",
            leaders::check,
        ),
        ("all replicas have the same state", converged::check),
    ];
    all.into_iter()
        .filter_map(|(invariant, check)| {
            let seen = check(evidence).err()?;
            Some(Violation { invariant, seen })
        })
        .collect()
}
