//! What may be old is not older than was allowed: everything acknowledged by then has been seen.

use super::Evidence;
use crate::history::{Asked, Came};
use crate::scenario::Clocks;
use crate::world::MS;

/// By how much the clock of a replica may run slow while it counts, in parts per thousand, rounded up.
const DRIFT: u64 = 20;
/// The same, when clocks run out of bound.
const WILD_DRIFT: u64 = 560;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let operations = &evidence.history.operations;
    let drift = match evidence.clocks {
        Clocks::Right => DRIFT,
        Clocks::Wild | Clocks::Turning => WILD_DRIFT,
    };
    for read in operations {
        let (Asked::ReadWithin(allowed), Came::Value(_), Some(at)) = (&read.asked, &read.came, read.at)
        else {
            continue;
        };
        let allowed = allowed * MS * (1_000 + drift) / 1_000;
        let missed = operations.iter().find(|write| {
            let is_write = matches!(write.asked, Asked::Write(_) | Asked::Exchange { .. });
            let is_done = is_write && write.came == Came::Done && !write.is_asked_again;
            let is_of_life = write
                .at
                .is_some_and(|of| of.incarnation == at.incarnation && of.index > at.index);
            let ended = write.ended.unwrap_or(u64::MAX);
            is_done && is_of_life && write.object.group == read.object.group && ended + allowed < read.began
        });
        if let Some(missed) = missed {
            return Err(format!("{read:?} has not seen {missed:?}"));
        }
    }
    Ok(())
}
