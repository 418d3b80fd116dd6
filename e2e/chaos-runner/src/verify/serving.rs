//! The cluster serves again in time after each fault, and serves while nothing is wrong.

use std::time::Duration;

use super::{Failures, calm};
use crate::history::{Operation, Outcome, Period};

/// What is asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Promises {
    /// How long it may take after a fault until every node serves.
    pub recovery: Duration,
    /// How long it may take after a fault until every subscriber and follower has heard from its node.
    pub hearing: Duration,
    /// For how long nobody may be acknowledged while a majority is undisturbed; `None` where a majority promises nothing.
    pub with_a_majority: Option<Duration>,
    /// Whether no operation may fail at any time.
    pub always: bool,
}

/// For how long nothing was acknowledged, at most, and when that began.
#[must_use]
pub fn longest_unavailable(operations: &[Operation], begin: u64, end: u64) -> (Duration, u64) {
    let acknowledged = acknowledged(operations);
    let longest = gaps(&acknowledged, begin, end).max_by_key(|(from, to)| to - from);
    longest.map_or((Duration::ZERO, begin), |(from, to)| {
        (Duration::from_nanos(to - from), from)
    })
}

/// When writes were acknowledged, in order.
fn acknowledged(operations: &[Operation]) -> Vec<u64> {
    let mut ends: Vec<u64> = operations
        .iter()
        .filter(|operation| operation.kind.is_write() && operation.result == Outcome::Ok)
        .filter_map(|operation| operation.end)
        .collect();
    ends.sort_unstable();
    ends
}

/// The times between, from `begin` to `end`.
fn gaps(times: &[u64], begin: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let within = times
        .iter()
        .copied()
        .filter(move |time| (begin..end).contains(time));
    let mut last = begin;
    within
        .chain([end])
        .map(move |time| (std::mem::replace(&mut last, time), time))
}

/// What is wrong.
#[must_use]
pub fn check(operations: &[Operation], periods: &[Period], promises: &Promises) -> Vec<String> {
    let mut failures = Failures::default();
    for period in periods {
        in_time(
            period,
            period.served,
            promises.recovery,
            "not every node served again",
            &mut failures,
        );
        let what = "not every subscriber and follower had heard from its node again";
        in_time(period, period.heard, promises.hearing, what, &mut failures);
    }
    let calm = calm(periods);
    for operation in operations {
        let is_calm = |(from, until): &(u64, u64)| {
            *from <= operation.call && operation.end.is_some_and(|end| end < *until)
        };
        let is_failure = matches!(operation.result, Outcome::Failed | Outcome::Unknown);
        if is_failure && (promises.always || calm.iter().any(is_calm)) {
            failures.add(|| {
                format!(
                    "serving: when nothing was wrong, client {} by {:?} at {} had no answer to {:?} {} from {:.3} s on: {}",
                    operation.client,
                    operation.door,
                    operation.node,
                    operation.kind,
                    operation.key,
                    seconds(operation.call),
                    operation.reason
                )
            });
        }
    }
    if let Some(limit) = promises.with_a_majority {
        let acknowledged = acknowledged(operations);
        for period in periods.iter().filter(|period| period.spares_a_majority) {
            for (from, to) in gaps(&acknowledged, period.begin, period.end) {
                if Duration::from_nanos(to - from) > limit {
                    failures.add(|| {
                        format!(
                            "serving: nothing was acknowledged from {:.3} to {:.3} s, while a majority was undisturbed: {}",
                            seconds(from),
                            seconds(to),
                            period.what
                        )
                    });
                }
            }
        }
    }
    failures.told("serving")
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn in_time(period: &Period, well: Option<u64>, limit: Duration, what: &str, failures: &mut Failures) {
    let took = well.map(|well| Duration::from_nanos(well.saturating_sub(period.end)));
    if took.is_none_or(|took| took > limit) {
        failures.add(|| {
            let after = took.map_or_else(
                || "never".to_owned(),
                |took| format!("{:.1} s", took.as_secs_f64()),
            );
            format!(
                "serving: {what} within {} s ({after}) of the end of: {}",
                limit.as_secs(),
                period.what
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;
    use crate::verify::examples::{operation, period};

    const PROMISES: Promises = Promises {
        recovery: Duration::from_secs(5),
        hearing: Duration::from_secs(5),
        with_a_majority: None,
        always: false,
    };

    fn put(from: u64, to: u64, result: Outcome) -> Operation {
        operation(Kind::Put, "documents/a", (from, to), result)
    }

    #[test]
    fn failing_is_for_times_of_faults() {
        let periods = [period(0, 1, 2), period(10, 20, 23)];
        for (from, to) in [(3, 12), (11, 15), (15, 24), (21, 22)] {
            assert!(check(&[put(from, to, Outcome::Unknown)], &periods, &PROMISES).is_empty());
        }
        for result in [Outcome::Unknown, Outcome::Failed] {
            let found = check(&[put(4, 6, result)], &periods, &PROMISES).join("\n");
            assert!(
                found.contains("client 1 by Http at n1 had no answer to Put documents/a"),
                "{found}"
            );
        }
        let always = Promises {
            always: true,
            ..PROMISES
        };
        assert_eq!(check(&[put(11, 15, Outcome::Failed)], &periods, &always).len(), 1);
        assert!(check(&[put(11, 15, Outcome::Conflict)], &periods, &always).is_empty());
    }

    #[test]
    fn all_is_well_again_in_time() {
        let late = check(&[], &[period(10, 20, 26)], &PROMISES).join("\n");
        assert!(
            late.contains("within 5 s (6.0 s) of the end of: kill n1"),
            "{late}"
        );
        let mut never = period(10, 20, 21);
        (never.served, never.heard) = (None, None);
        let found = check(&[], &[never], &PROMISES);
        assert!(
            found.len() == 2 && found.iter().all(|found| found.contains("never")),
            "{found:?}"
        );
    }

    #[test]
    fn tells_how_long_nothing_was_acknowledged() {
        let operations = [
            put(1, 2, Outcome::Ok),
            put(2, 9, Outcome::Ok),
            put(3, 4, Outcome::Failed),
        ];
        let (longest, from) = longest_unavailable(&operations, 1_000_000_000, 10_000_000_000);
        assert_eq!((longest, from), (Duration::from_secs(7), 2_000_000_000));
    }

    #[test]
    fn a_majority_goes_on() {
        let promises = Promises {
            with_a_majority: Some(Duration::from_secs(5)),
            ..PROMISES
        };
        let periods = [period(10, 20, 21)];
        let steady = [
            put(9, 11, Outcome::Ok),
            put(11, 15, Outcome::Ok),
            put(15, 19, Outcome::Ok),
        ];
        assert!(check(&steady, &periods, &promises).is_empty());
        let found = check(&steady[..2], &periods, &promises);
        assert!(found.is_empty(), "5 s are within 5 s: {found:?}");
        let found = check(&steady[..1], &periods, &promises).join("\n");
        assert!(found.contains("from 11.000 to 20.000 s"), "{found}");
    }
}
