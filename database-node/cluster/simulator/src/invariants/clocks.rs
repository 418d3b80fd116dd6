//! A clock that runs out of bound against a node's own is not trusted by it, and one that runs within the bound is never
//! taken for wrong.

use super::Evidence;
use crate::world::{Host, SECOND, Time, World};

/// By how much the clocks of two machines may run differently when neither is wrong, in parts per million, and as much
/// again: a clock that is out of bound by less may be trusted.
const OUT: i128 = 40_400;
/// How wrong a clock may be that is right, in parts per million.
const BOUND: u64 = 10_000;
/// What was measured counts for 16 s, and what came of it for as long: by a clock that may run slow by 35 %.
const FORGETTING: Time = 50 * SECOND;
/// For how long two clocks must have been right before one of them may find the other to be so: the time over which
/// answers are compared, and how long they may have been on their way or waited.
const MEMORY: Time = 40 * SECOND;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    if let Some(trusting) = evidence.trusting {
        return Err(trusting.to_owned());
    }
    for drift in evidence.drifts {
        let machines = [drift.by, drift.of].map(|host| evidence.machines.get(host));
        let are_right = machines
            .into_iter()
            .flatten()
            .all(|machine| was_right(machine, drift.at));
        if are_right {
            return Err(format!("both clocks were right, and yet: {drift:?}"));
        }
    }
    Ok(())
}

/// Whether a clock had begun to run out of bound, while nodes ran, at most so long before somebody may have acted on it.
/// Only time shows how fast a clock runs: what rests on clocks need not hold before that.
pub(super) fn may_be_unnoticed(evidence: &Evidence<'_>, (began, ended): (Time, Time), within: Time) -> bool {
    let mut rates = evidence.machines.iter().flat_map(|machine| machine.clock.rates());
    rates.any(|(since, rate)| {
        let is_in_time = *since <= ended && began < since.saturating_add(within);
        *since > 0 && is_in_time && !is_right(*rate)
    })
}

fn is_right(rate: u64) -> bool {
    (1_000_000 - BOUND..=1_000_000 + BOUND).contains(&rate)
}

/// Whether the clock of a machine was right for a while before a moment.
fn was_right(machine: &Host, at: Time) -> bool {
    let rates = machine.clock.rates();
    let ends = rates.iter().skip(1).map(|(since, _)| *since).chain([Time::MAX]);
    let during = rates
        .iter()
        .zip(ends)
        .filter(|((since, _), until)| *since < at && until.saturating_add(MEMORY) > at);
    during.into_iter().all(|((_, rate), _)| is_right(*rate))
}

/// Looks for a node that trusts a clock which has been out of bound against its own for long.
pub(crate) fn trusting(world: &World) -> Option<String> {
    world.hosts.iter().enumerate().find_map(|(by, observer)| {
        let process = observer.process.as_ref()?;
        let now = observer.clock.now(world.now());
        world.hosts.iter().enumerate().find_map(|(of, machine)| {
            let node = machine.node.filter(|_| by != of)?;
            let ((own_since, own), (since, rate)) = (observer.clock.rate(), machine.clock.rate());
            let since = since.max(own_since);
            let is_known = observer.started >= since || world.now() - since >= FORGETTING;
            let ppm = (i128::from(rate) - i128::from(own)) * 1_000_000 / i128::from(own);
            (is_known && ppm.abs() > OUT && process.node.trusts_clock_of(node, now)).then(|| {
                format!(
                    "machine {by} trusts the clock of machine {of}, which runs {ppm} ppm faster, at {} s",
                    world.now() / SECOND
                )
            })
        })
    })
}
