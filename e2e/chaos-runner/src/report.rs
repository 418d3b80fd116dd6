//! What came of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use load::Failure;
use serde::{Deserialize, Serialize};

use crate::clients::followers;
use crate::history::{
    ENTRIES, Entry, FAILURES, FEEDS, LIVES, Life, MESSAGES, OPERATIONS, Operation, Outcome, PERIODS, Period,
    Read, Signal, read,
};
use crate::verify::lives::{Losses, windows};
use crate::verify::serving::Promises;
use crate::verify::{feeds, ledger, messages, order, serving};

/// The file of [`Run`].
const RUN: &str = "run.json";

/// What a run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// The mode's name.
    pub mode: String,
    /// When the load was under way, in nanoseconds since the start.
    pub load: (u64, u64),
    /// How many faults there were.
    pub faults: usize,
    /// Whether it was not given up; else nobody has read what is there at the end.
    pub is_whole: bool,
    /// What the clients were promised, in milliseconds.
    pub recovery_ms: u64,
    /// As above.
    pub hearing_ms: u64,
    /// As above.
    pub with_a_majority_ms: Option<u64>,
    /// As above.
    pub always: bool,
    /// Whether a leader is replaced that is gone, so that the last that it acknowledged may be lost.
    #[serde(default)]
    pub fails_over: bool,
}

impl Run {
    fn promises(&self) -> Promises {
        Promises {
            recovery: Duration::from_millis(self.recovery_ms),
            hearing: Duration::from_millis(self.hearing_ms),
            with_a_majority: self.with_a_majority_ms.map(Duration::from_millis),
            always: self.always,
        }
    }

    /// Keeps it with what was written down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<(), Failure> {
        Ok(std::fs::write(
            folder.join(RUN),
            serde_json::to_vec_pretty(self)?,
        )?)
    }

    /// The one of a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(RUN);
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// The last line.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    seed: u64,
    nodes: usize,
    mode: String,
    seconds: u64,
    operations: usize,
    answered: usize,
    failed: usize,
    unknown: usize,
    faults: usize,
    failures: usize,
    longest_unavailable_ms: u128,
    longest_recovery_ms: u64,
    objects: usize,
    largest_object: usize,
    ledger: usize,
    messages: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    failovers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<usize>,
    transactions: BTreeMap<String, usize>,
}

/// Looks at what was written down in a folder. Gives the summary, and what is wrong.
///
/// # Errors
/// When something cannot be read.
pub fn examine(folder: &Path, checker: &Path) -> Result<(Summary, Vec<String>), Failure> {
    let run = Run::of(folder)?;
    let operations: Vec<Operation> = read(folder, OPERATIONS)?;
    let periods: Vec<Period> = read(folder, PERIODS)?;
    let reads: Vec<Read> = read(folder, FEEDS)?;
    let signals: Vec<Signal> = read(folder, MESSAGES)?;
    let entries: Vec<Entry> = read(folder, ENTRIES)?;
    let mut failures: Vec<String> = read(folder, FAILURES)?;
    let windows = match run.fails_over {
        true => windows(&read::<Life>(folder, LIVES)?, &periods),
        false => Vec::new(),
    };
    let failovers = windows.len();
    let (losses, wrong) = Losses::of(&operations, &entries, windows);
    if run.is_whole {
        failures.extend(wrong);
        failures.extend(ledger::check(&operations, &entries, &run.nodes, &losses));
        failures.extend(feeds::check(&operations, &reads, &followers::names(), &losses));
    }
    failures.extend(messages::check(&signals, &periods));
    failures.extend(serving::check(&operations, &periods, &run.promises()));
    let (order, illegal) = order::check(checker, folder, &losses.windows)?;
    failures.extend(illegal);
    let count = |wanted: &[Outcome]| {
        let are = operations
            .iter()
            .filter(|operation| wanted.contains(&operation.result));
        are.count()
    };
    let mut transactions = BTreeMap::new();
    for read in &reads {
        *transactions.entry(read.follower.clone()).or_default() += 1;
    }
    let recoveries = periods
        .iter()
        .filter_map(|period| Some(period.served?.saturating_sub(period.end)));
    let (begin, end) = match run.is_whole {
        true => run.load,
        // Who gave up cannot say when it was.
        false => (
            operations
                .iter()
                .map(|operation| operation.call)
                .min()
                .unwrap_or_default(),
            operations
                .iter()
                .filter_map(|operation| operation.end)
                .max()
                .unwrap_or_default(),
        ),
    };
    let summary = Summary {
        seed: run.seed,
        nodes: run.nodes.len(),
        mode: run.mode.clone(),
        seconds: Duration::from_nanos(end.saturating_sub(begin)).as_secs(),
        operations: operations.len(),
        answered: count(&[Outcome::Ok, Outcome::Conflict, Outcome::Missing]),
        failed: count(&[Outcome::Failed]),
        unknown: count(&[Outcome::Unknown]),
        faults: run.faults,
        failures: failures.len(),
        longest_unavailable_ms: serving::longest_unavailable(&operations, begin, end)
            .0
            .as_millis(),
        longest_recovery_ms: recoveries.max().unwrap_or_default() / 1_000_000,
        objects: order.objects,
        largest_object: order.largest,
        ledger: entries.len(),
        messages: signals
            .iter()
            .filter(|signal| matches!(signal, Signal::Published { .. }))
            .count(),
        failovers: run.fails_over.then_some(failovers),
        lost: run.fails_over.then_some(losses.ids.len()),
        transactions,
    };
    Ok((summary, failures))
}
