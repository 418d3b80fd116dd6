//! What must hold of a run, looked at when it is over: of what was written down only, so that it can be looked at again.
//!
//! - [`lives`]: what may be lost when a leader is replaced that is gone
//! - [`ledger`]: nothing that was acknowledged is lost, nothing is there by half
//! - [`feeds`]: whoever follows the changes misses none and hears of none twice
//! - [`messages`]: whoever subscribes gets what is published while nothing is wrong
//! - [`serving`]: the cluster serves again in time, and while nothing is wrong
//! - [`order`]: each object is as if there were one copy, which the checker tells

pub mod feeds;
pub mod ledger;
pub mod lives;
pub mod messages;
pub mod order;
pub mod serving;

use crate::history::{Operation, Period};

/// So many failures of a kind are told; of the others, how many there are.
const TOLD: usize = 10;

/// Failures of one kind.
#[derive(Debug, Default)]
pub struct Failures {
    told: Vec<String>,
    untold: usize,
}

impl Failures {
    fn add(&mut self, failure: impl FnOnce() -> String) {
        match self.told.len() < TOLD {
            true => self.told.push(failure()),
            false => self.untold += 1,
        }
    }

    /// The failures; at last how many more there are.
    #[must_use]
    pub fn told(mut self, kind: &str) -> Vec<String> {
        if self.untold > 0 {
            self.told
                .push(format!("{kind}: {} more failures like these", self.untold));
        }
        self.told
    }
}

/// The times in which nothing was wrong and all was well again: from then to the next round.
fn calm(periods: &[Period]) -> Vec<(u64, u64)> {
    let ends = periods
        .iter()
        .skip(1)
        .map(|period| period.begin)
        .chain([u64::MAX]);
    let calm = periods.iter().zip(ends);
    calm.filter_map(|(period, end)| Some((period.heard?, end)))
        .collect()
}

/// The collection and id of a key.
fn parts(operation: &Operation) -> (&str, &str) {
    operation.key.split_once('/').unwrap_or(("", &operation.key))
}

#[cfg(test)]
mod examples {
    use crate::history::{Door, Kind, Operation, Outcome, Period};

    /// Something that a client did from one second to another.
    pub fn operation(kind: Kind, key: &str, seconds: (u64, u64), result: Outcome) -> Operation {
        Operation {
            client: 1,
            door: Door::Http,
            node: "n1".to_owned(),
            key: key.to_owned(),
            call: seconds.0 * 1_000_000_000,
            end: Some(seconds.1 * 1_000_000_000),
            kind,
            value: 0,
            when: String::new(),
            result,
            revision: String::new(),
            found: None,
            ids: Vec::new(),
            reason: String::new(),
        }
    }

    /// Faults from one second to another, and all well at a third.
    pub fn period(begin: u64, end: u64, well: u64) -> Period {
        let second = 1_000_000_000;
        Period {
            what: "kill n1".to_owned(),
            faults: 1,
            begin: begin * second,
            end: end * second,
            served: Some(well * second),
            heard: Some(well * second),
            spares_a_majority: true,
        }
    }
}
