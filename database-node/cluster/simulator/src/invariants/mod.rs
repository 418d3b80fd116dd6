//! What must hold, whatever happens.

mod atomic;
pub(crate) mod clocks;
mod converged;
mod durable;
mod fenced;
mod fresh;
pub(crate) mod guarantee;
pub(crate) mod healing;
mod leaders;
mod linearizable;
mod once;
mod own;
pub(crate) mod panics;
mod replaced;
mod sessions;

use std::collections::BTreeMap;

use pliantdb_core::GroupId;

use crate::clients::Contents;
use crate::forcing::{Decisions, Owners};
use crate::history::History;
use crate::scenario::Clocks;
use crate::world::{Drift, Host, Told};

/// What a machine has of a group: the machine, how far it has applied the log, and a digest of its state.
pub type Replica = (usize, u64, u64);

type Check = fn(&Evidence<'_>) -> Result<(), String>;

/// What was seen of a seed.
pub struct Evidence<'a> {
    /// What clients asked and were answered.
    pub history: &'a History,
    /// How clocks run.
    pub clocks: Clocks,
    /// The machines, with how their clocks ran.
    pub machines: &'a [Host],
    /// Which clocks were found to be wrong.
    pub drifts: &'a [Drift],
    /// Who trusts a clock that is wrong.
    pub trusting: Option<&'a str>,
    /// Whether a leader that is gone is replaced by itself.
    pub is_automatic: bool,
    /// What the cluster did not do in time when there were no faults.
    pub stuck: Option<&'a healing::Stuck>,
    /// A group that had less than was promised.
    pub overstated: Option<&'a str>,
    /// What owners asked to force.
    pub owners: &'a Owners,
    /// What was decided about groups that were forced.
    pub decisions: &'a Decisions,
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
    let all: [(&'static str, Check); 14] = [
        (
            "without faults a cluster comes to rest and answers",
            healing::check,
        ),
        ("what is published is given", guarantee::check),
        (
            "while a switch is open nobody is replaced by itself",
            replaced::check,
        ),
        (
            "each object is as if there were one copy of it",
            linearizable::check,
        ),
        ("nothing acknowledged is lost", durable::check),
        ("a transaction is seen whole or not at all", atomic::check),
        ("what is asked for twice is done once", once::check),
        ("what is read of a database was written to it", own::check),
        ("whoever wrote reads what was written", sessions::check),
        ("what may be old is not older than was allowed", fresh::check),
        ("a term of a life has one leader", leaders::check),
        ("a life that is over acknowledges nothing", fenced::check),
        ("all replicas have the same state", converged::check),
        (
            "a clock that is wrong is found out, and one that is right is not taken for wrong",
            clocks::check,
        ),
    ];
    all.into_iter()
        .filter_map(|(invariant, check)| {
            let seen = check(evidence).err()?;
            Some(Violation { invariant, seen })
        })
        .collect()
}
