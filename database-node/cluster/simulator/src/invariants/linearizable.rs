//! Each object is as if there were one copy of it, and every operation on it happened at once between its beginning and
//! its end. After Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of Lowe, "Testing for
//! Linearizability" (2017).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pliantdb_cluster::Incarnation;

use super::Evidence;
use super::clocks::may_be_unnoticed;
use crate::history::{Asked, Came, Object, Operation, Value};
use crate::world::{SECOND, Time};

/// For how long a leader may read by a lease after a clock has begun to run out of bound: until that is noticed, and what
/// was promised before is over.
const LEASE_UNNOTICED: Time = 5 * SECOND;

/// An operation on one object.
#[derive(Debug, Clone, Copy)]
struct Step {
    began: Time,
    ended: Time,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Write(Value),
    Read(Value),
    Exchange { from: Value, to: Value },
    ExchangeRejected { from: Value },
}

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut objects: BTreeMap<Object, Vec<&Operation>> = BTreeMap::new();
    for operation in &evidence.history.operations {
        let is_of_one_value = !matches!(
            operation.asked,
            Asked::Insert(_) | Asked::Count | Asked::ReadAtLeast { .. } | Asked::ReadWithin(_)
        );
        let time = (operation.began, operation.ended.unwrap_or(Time::MAX));
        let may_be_stale =
            operation.asked == Asked::Read && may_be_unnoticed(evidence, time, LEASE_UNNOTICED);
        if is_of_one_value && !may_be_stale {
            objects.entry(operation.object).or_default().push(operation);
        }
    }
    for (object, operations) in objects {
        let lives: BTreeSet<Incarnation> = operations
            .iter()
            .filter_map(|operation| Some(operation.at?.incarnation))
            .collect();
        let was_forced = evidence.history.forced.contains_key(&object.group);
        for life in lives {
            let steps = steps(&operations, life, was_forced);
            let starts_empty = life == Incarnation::FIRST || !was_forced;
            if !is_linearizable(&steps, starts_empty) {
                let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
                return Err(format!(
                    "what was seen of {object:?} in {life} fits no order:\n    {}",
                    steps.join("\n    ")
                ));
            }
        }
    }
    Ok(())
}

/// The operations of a life, and those of which nobody knows whether they were done: of these only what somebody has seen.
fn steps(operations: &[&Operation], life: Incarnation, was_forced: bool) -> Vec<Step> {
    let of_life = |operation: &&&Operation| operation.at.is_some_and(|at| at.incarnation == life);
    let mut seen: BTreeSet<Value> = operations
        .iter()
        .filter(of_life)
        .filter_map(|operation| match (&operation.asked, &operation.came) {
            (Asked::Read, Came::Value(value)) => Some(*value),
            (Asked::Exchange { from, .. }, Came::Done) => Some(*from),
            _ => None,
        })
        .collect();
    // Whoever saw what an exchange wrote knows what was there before.
    while let Some(from) = operations.iter().find_map(|operation| match operation.asked {
        Asked::Exchange { from, to } if seen.contains(&to) && !seen.contains(&from) => Some(from),
        _ => None,
    }) {
        seen.insert(from);
    }
    // A rejection can be for a value that nobody has read.
    let is_any_seen = operations
        .iter()
        .filter(of_life)
        .any(|operation| operation.came == Came::Rejected);
    let is_seen = |what: &What| match what {
        What::Write(value) | What::Exchange { to: value, .. } => is_any_seen || seen.contains(value),
        _ => false,
    };
    let mut steps = Vec::new();
    for operation in operations {
        let what = match (&operation.asked, &operation.came) {
            (Asked::Write(value), Came::Done) => What::Write(*value),
            (Asked::Read, Came::Value(value)) => What::Read(*value),
            (Asked::Exchange { from, to }, Came::Done) => What::Exchange { from: *from, to: *to },
            (Asked::Exchange { from, .. }, Came::Rejected) => What::ExchangeRejected { from: *from },
            (Asked::Write(value) | Asked::Exchange { to: value, .. }, Came::Unknown)
                if is_any_seen || seen.contains(value) =>
            {
                steps.push(Step {
                    began: operation.began,
                    ended: Time::MAX,
                    what: match operation.asked {
                        Asked::Exchange { from, to } => What::Exchange { from, to },
                        _ => What::Write(*value),
                    },
                });
                continue;
            }
            _ => continue,
        };
        // What was asked again may have been done in one life and answered in another.
        let is_write = matches!(what, What::Write(_) | What::Exchange { .. });
        let is_of_some_life = is_write && was_forced && operation.is_asked_again;
        let ended = match (of_life(&operation), is_of_some_life) {
            (true, false) => operation.ended.unwrap_or(Time::MAX),
            (_, true) if is_seen(&what) => Time::MAX,
            _ => continue,
        };
        steps.push(Step {
            began: operation.began,
            ended,
            what,
        });
    }
    steps
}

/// Whether the steps fit an order. A life that does not begin empty begins with whatever is read first and not written in it.
fn is_linearizable(steps: &[Step], starts_empty: bool) -> bool {
    let written: BTreeSet<Value> = steps
        .iter()
        .filter_map(|step| match step.what {
            What::Write(value) | What::Exchange { to: value, .. } => Some(value),
            _ => None,
        })
        .collect();
    let words = steps.len().div_ceil(64);
    let mut memory: HashSet<(Vec<u64>, Option<Value>)> = HashSet::new();
    let mut stack = vec![(vec![0_u64; words], starts_empty.then_some(0))];
    while let Some((done, value)) = stack.pop() {
        let is_done = |index: usize| done[index / 64] & (1 << (index % 64)) != 0;
        let left = || (0..steps.len()).filter(|index| !is_done(*index));
        // What nobody waits for need not happen.
        if left().all(|index| steps[index].ended == Time::MAX) {
            return true;
        }
        let first_end = left().map(|index| steps[index].ended).min().unwrap_or(Time::MAX);
        for index in left().filter(|index| steps[*index].began <= first_end) {
            let Some(next) = follow(steps[index].what, value, &written) else {
                continue;
            };
            let mut done = done.clone();
            done[index / 64] |= 1 << (index % 64);
            if memory.insert((done.clone(), next)) {
                stack.push((done, next));
            }
        }
    }
    false
}

/// The value after a step; `None` when the step does not fit. The value before may not be known.
fn follow(what: What, value: Option<Value>, written: &BTreeSet<Value>) -> Option<Option<Value>> {
    let can_be = |seen: Value| match value {
        Some(value) => value == seen,
        None => !written.contains(&seen),
    };
    match what {
        What::Write(value) => Some(Some(value)),
        What::Read(seen) => can_be(seen).then_some(Some(seen)),
        What::Exchange { from, to } => can_be(from).then_some(Some(to)),
        What::ExchangeRejected { from } => (value != Some(from)).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(began: Time, ended: Time, what: What) -> Step {
        Step { began, ended, what }
    }

    #[test]
    fn a_read_sees_what_was_written_before_it_began() {
        let write = |began, ended, value| step(began, ended, What::Write(value));
        let read = |began, ended, value| step(began, ended, What::Read(value));
        assert!(is_linearizable(&[write(0, 10, 1), read(11, 12, 1)], true));
        assert!(
            !is_linearizable(&[write(0, 10, 1), read(11, 12, 0)], true),
            "a stale read"
        );
        assert!(
            is_linearizable(&[write(0, 10, 1), read(5, 12, 0)], true),
            "at the same time"
        );
        let back = [write(0, 100, 1), read(10, 20, 1), read(30, 40, 0)];
        assert!(!is_linearizable(&back, true), "there and gone again");
        let unknown = [write(0, Time::MAX, 1), read(10, 20, 0), read(30, 40, 1)];
        assert!(is_linearizable(&unknown, true), "done later");
        assert!(!is_linearizable(&[read(0, 1, 7)], true), "never written");
        assert!(
            is_linearizable(&[read(0, 1, 7), read(2, 3, 7)], false),
            "before this life"
        );
        assert!(!is_linearizable(&[read(0, 1, 7), read(2, 3, 8)], false));
    }

    #[test]
    fn an_exchange_needs_what_it_names() {
        let write = |began, ended, value| step(began, ended, What::Write(value));
        let exchange = |began, ended, from, to| step(began, ended, What::Exchange { from, to });
        assert!(is_linearizable(&[write(0, 1, 1), exchange(2, 3, 1, 2)], true));
        assert!(!is_linearizable(
            &[write(0, 1, 1), write(2, 3, 2), exchange(4, 5, 1, 3)],
            true
        ));
        let both = [write(0, 1, 1), exchange(2, 9, 1, 2), exchange(2, 9, 1, 3)];
        assert!(!is_linearizable(&both, true), "one of them only");
        let rejected = step(2, 3, What::ExchangeRejected { from: 1 });
        assert!(!is_linearizable(&[write(0, 1, 1), rejected], true));
    }
    #[test]
    fn what_nobody_knows_of_was_done_when_somebody_saw_what_came_of_it() {
        let operation = |began, asked, came, at| Operation {
            client: 0,
            object: Object {
                group: pliantdb_core::GroupId::new(1),
                number: 0,
            },
            asked,
            began,
            ended: Some(began + 5),
            came,
            is_asked_again: false,
            at,
        };
        let at = pliantdb_cluster::node::Mark {
            incarnation: Incarnation::FIRST,
            term: 1,
            index: 9,
        };
        let exchange = Asked::Exchange { from: 1, to: 2 };
        let all = [
            operation(0, Asked::Write(1), Came::Unknown, None),
            operation(10, exchange, Came::Unknown, None),
            operation(20, Asked::Write(3), Came::Unknown, None),
            operation(30, Asked::Read, Came::Value(2), Some(at)),
        ];
        let all: Vec<&Operation> = all.iter().collect();
        let steps = steps(&all, Incarnation::FIRST, true);
        assert_eq!(steps.len(), 3, "nobody saw what wrote 3");
        assert!(is_linearizable(&steps, false) && is_linearizable(&steps, true));
    }
}
