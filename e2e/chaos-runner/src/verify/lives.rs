//! What a group may lose that is forced to go on in another life, as automatic failover does: the last that its leader
//! acknowledged, which nobody else had yet.
//!
//! A life ends in a [`Window`]: nothing that was acknowledged before it began is lost, and nothing that was asked for after
//! it has ended. What is lost is the end of a log: nothing is kept of that life that came after it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use load::Failure;
use serde::Serialize;

use super::Failures;
use crate::history::{Entry, Kind, Life, Operation, Outcome, Period, Turn};

/// How far others may be behind a leader when nothing is wrong.
const BEHIND: Duration = Duration::from_secs(2);

/// The time in which a life ended. In nanoseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// A little before something went wrong.
    pub begin: u64,
    /// When the other life had begun.
    pub end: u64,
    /// When it was decided what the other life begins with.
    #[serde(skip)]
    pub forced: u64,
}

impl Window {
    /// Whether an operation was under way in it.
    #[must_use]
    pub fn touches(&self, operation: &Operation) -> bool {
        operation.call <= self.end && operation.end.is_none_or(|end| end >= self.begin)
    }
}

/// The ends of lives, in order.
#[must_use]
pub fn windows(lives: &[Life], periods: &[Period]) -> Vec<Window> {
    let mut forced: Vec<&Life> = lives.iter().filter(|life| life.turn == Turn::Forced).collect();
    forced.sort_by_key(|life| life.at);
    let behind = u64::try_from(BEHIND.as_nanos()).unwrap_or_default();
    let mut windows: Vec<Window> = Vec::new();
    // Of a life that was given up for another before anybody was answered in it.
    let mut open = None;
    for life in forced {
        let round = periods.iter().filter(|period| period.begin <= life.at);
        let round = round.map(|period| period.begin).max().unwrap_or_default();
        let window = open.take().unwrap_or(Window {
            begin: round.saturating_sub(behind),
            end: u64::MAX,
            forced: life.at,
        });
        let confirmed = lives
            .iter()
            .filter(|other| other.turn == Turn::Confirmed && other.incarnation == life.incarnation);
        match confirmed.map(|confirmed| confirmed.at).min() {
            Some(end) => windows.push(Window { end, ..window }),
            None => open = Some(window),
        }
    }
    windows.extend(open);
    windows
}

/// The file of the windows, for the checker.
///
/// # Errors
/// When it cannot be written.
pub fn write(windows: &[Window], path: &Path) -> Result<(), Failure> {
    let mut file = std::fs::File::create(path)?;
    for window in windows {
        // The checker's numbers have a sign.
        let end = window.end.min(i64::MAX as u64);
        writeln!(file, "{}", serde_json::to_string(&Window { end, ..*window })?)?;
    }
    Ok(())
}

/// What may be lost of a run.
#[derive(Debug, Clone, Default)]
pub struct Losses<'r> {
    /// When.
    pub windows: Vec<Window>,
    /// The documents of the ledger that are lost, as may be.
    pub ids: BTreeSet<&'r str>,
}

impl<'r> Losses<'r> {
    /// Those of a run, and what is wrong with them.
    #[must_use]
    pub fn of(operations: &'r [Operation], entries: &[Entry], windows: Vec<Window>) -> (Self, Vec<String>) {
        let there: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let has_any = |append: &Operation| append.ids.iter().any(|id| there.contains(id.as_str()));
        let acknowledged = || {
            let appends = operations
                .iter()
                .filter(|operation| operation.kind == Kind::Append);
            appends.filter(|append| append.result == Outcome::Ok)
        };
        let mut failures = Failures::default();
        let mut ids = BTreeSet::new();
        for append in acknowledged().filter(|append| !has_any(append)) {
            let Some(window) = windows.iter().find(|window| window.touches(append)) else {
                continue;
            };
            ids.extend(append.ids.iter().map(String::as_str));
            let is_later = |other: &&Operation| {
                let is_of_that_life = |end| (window.begin..=window.forced).contains(&end);
                other.revision > append.revision && other.end.is_some_and(is_of_that_life) && has_any(other)
            };
            if let Some(later) = acknowledged().find(is_later) {
                failures.add(|| {
                    format!(
                        "lives: {} at {} is lost, and {} at {}, which was later, is not",
                        append.ids.join(" and "),
                        append.revision,
                        later.ids.join(" and "),
                        later.revision
                    )
                });
            }
        }
        (Self { windows, ids }, failures.told("lives"))
    }

    /// Whether a write may be lost, or have been made twice: of the ledger it is known.
    #[must_use]
    pub fn may_be(&self, write: &Operation) -> bool {
        match write.kind {
            Kind::Append => write.ids.iter().all(|id| self.ids.contains(id.as_str())),
            _ => self.touches(write),
        }
    }

    /// Whether a life ended while an operation was under way.
    #[must_use]
    pub fn touches(&self, operation: &Operation) -> bool {
        self.windows.iter().any(|window| window.touches(operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::examples::{operation, period};

    fn life(second: u64, turn: Turn, incarnation: &str) -> Life {
        Life {
            incarnation: incarnation.to_owned(),
            at: second * 1_000_000_000,
            node: "n1".to_owned(),
            turn,
        }
    }

    fn seconds(windows: &[Window]) -> Vec<(u64, u64, u64)> {
        let second = 1_000_000_000;
        let of = |window: &Window| (window.begin / second, window.forced / second, window.end / second);
        windows.iter().map(of).collect()
    }

    #[test]
    fn a_life_ends_from_a_fault_until_the_next_has_begun() {
        let periods = [period(0, 0, 1), period(20, 30, 31), period(50, 60, 61)];
        let lives = [
            life(25, Turn::Forced, "2/n1"),
            life(26, Turn::Forced, "3/n2"),
            life(28, Turn::Confirmed, "3/n2"),
            // Who stood still hears of it late.
            life(56, Turn::Confirmed, "3/n2"),
            life(55, Turn::Forced, "4/n1"),
            life(57, Turn::Confirmed, "4/n1"),
            life(62, Turn::Lost { entries: 3 }, ""),
        ];
        assert_eq!(seconds(&windows(&lives, &periods)), [(18, 25, 28), (48, 55, 57)]);
        assert_eq!(windows(&lives[..1], &periods)[0].end, u64::MAX);
    }

    fn append(id: &str, from: u64, to: u64) -> Operation {
        let mut append = operation(Kind::Append, "ledger/1", (from, to), Outcome::Ok);
        (append.ids, append.revision) = (vec![id.to_owned()], format!("r{id}"));
        append
    }

    #[test]
    fn only_the_end_of_a_life_may_be_lost() {
        let windows = windows(
            &[life(25, Turn::Forced, "2"), life(28, Turn::Confirmed, "2")],
            &[period(0, 0, 1), period(20, 30, 31)],
        );
        let appends = [
            append("1", 10, 11),
            append("2", 20, 21),
            append("3", 22, 23),
            append("4", 29, 30),
        ];
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let check = |there: &[&'static str]| {
            let entry = |id: &&str| Entry {
                node: "n1".to_owned(),
                id: (*id).to_owned(),
                revision: format!("r{id}"),
                value: 0,
            };
            let entries: Vec<_> = there.iter().map(entry).collect();
            let (losses, failures) = Losses::of(&appends, &entries, windows.clone());
            let ids = losses.ids.iter().map(|id| (*id).to_owned());
            (ids.collect::<Vec<_>>(), failures.join("\n"))
        };
        assert_eq!(check(&["1", "2", "3", "4"]), (ids(&[]), String::new()));
        assert_eq!(check(&["1", "2", "4"]), (ids(&["3"]), String::new()));
        assert_eq!(check(&["1", "4"]), (ids(&["2", "3"]), String::new()));
        // Those that are not of the window are lost as ever: the ledger tells.
        assert_eq!(check(&[]), (ids(&["2", "3"]), String::new()));
        let (_, failures) = check(&["1", "3", "4"]);
        assert!(
            failures.contains("2 at r2 is lost, and 3 at r3, which was later, is not"),
            "{failures}"
        );
    }
}
