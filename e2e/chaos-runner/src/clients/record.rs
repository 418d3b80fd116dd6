//! Writes down what happens, as it happens.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use load::Failure;
use serde::Serialize;

use crate::history::{
    ENTRIES, Entry, FAILURES, FEEDS, LIVES, Life, MESSAGES, OPERATIONS, Operation, PERIODS, Period, Read,
    Signal,
};

type Lines = Mutex<BufWriter<File>>;

/// Writes it down.
pub struct Recorder {
    start: Instant,
    operations: Lines,
    periods: Lines,
    feeds: Lines,
    messages: Lines,
    entries: Lines,
    lives: Lines,
    failures: Lines,
    keys: Mutex<BTreeSet<String>>,
    count: AtomicU64,
    /// Why something could not be written: a history with holes proves nothing.
    broken: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Writes to files in that folder.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        let file = |name| Ok::<_, Failure>(Mutex::new(BufWriter::new(File::create(folder.join(name))?)));
        Ok(Self {
            start: Instant::now(),
            operations: file(OPERATIONS)?,
            periods: file(PERIODS)?,
            feeds: file(FEEDS)?,
            messages: file(MESSAGES)?,
            entries: file(ENTRIES)?,
            lives: file(LIVES)?,
            failures: file(FAILURES)?,
            keys: Mutex::default(),
            count: AtomicU64::new(0),
            broken: Mutex::default(),
        })
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// A moment, in nanoseconds since the start.
    #[must_use]
    pub fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// An operation that is over, or that nobody waits for any more.
    pub fn operation(&self, operation: &Operation) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut keys = lock(&self.keys);
        if !keys.contains(&operation.key) {
            keys.insert(operation.key.clone());
        }
        drop(keys);
        self.line(&self.operations, operation);
    }

    /// How many operations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The objects that there are.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.keys).iter().cloned().collect()
    }

    /// Faults that are over.
    pub fn period(&self, period: &Period) {
        self.line(&self.periods, period);
    }

    /// A transaction that a follower was told of.
    pub fn read(&self, read: &Read) {
        self.line(&self.feeds, read);
    }

    /// Something about messages.
    pub fn signal(&self, signal: &Signal) {
        self.line(&self.messages, signal);
    }

    /// A document of the ledger.
    pub fn entry(&self, entry: &Entry) {
        self.line(&self.entries, entry);
    }

    /// Something about the lives of groups.
    pub fn life(&self, life: &Life) {
        self.line(&self.lives, life);
    }

    /// Something that is wrong, and seen at once.
    pub fn failure(&self, failure: &str) {
        self.line(&self.failures, &failure);
    }

    fn line<T: Serialize>(&self, lines: &Lines, value: &T) {
        let written = serde_json::to_string(value)
            .map_err(std::io::Error::from)
            .and_then(|line| writeln!(lock(lines), "{line}"));
        if let Err(error) = written {
            lock(&self.broken).get_or_insert_with(|| format!("the history could not be written: {error}"));
        }
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn flush(&self) -> Result<(), Failure> {
        let all = [
            &self.operations,
            &self.periods,
            &self.feeds,
            &self.messages,
            &self.entries,
            &self.lives,
            &self.failures,
        ];
        for lines in all {
            lock(lines).flush()?;
        }
        match lock(&self.broken).take() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }
}
