//! The process that is killed: it writes from several threads, and tells of each attempt before and of each answer
//! after.

use std::sync::mpsc::channel;
use std::time::Duration;

use pliantdb_core::{DatabaseName, Outcome, RequestId};
use pliantdb_storage::{Database, Options, Storage, StorageError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::report::{
    Answer, Attempt, Change, KEYS, Lifetime, Load, Report, Text, Value, Wanted, collection, counter,
    document, shared,
};
use super::{options, views};

/// How many documents each thread has.
const DOCUMENTS: u8 = 40;
/// How many databases a thread creates at most in one load.
const DATABASES: u64 = 3;

pub(super) fn run(load: &Load) {
    let options = Options {
        memory_limit: load.memory_limit,
        ..options(load.key.as_deref())
    };
    let storage = Storage::open_with(&load.path, options).unwrap();
    Report::Opened.send();
    std::thread::scope(|scope| {
        for writer in 0..load.writers {
            let storage = &storage;
            scope.spawn(move || Writer::new(load, storage, writer).write());
        }
        for counting in load.writers..load.writers + load.counters {
            let storage = &storage;
            let database = storage.get(&DatabaseName::default_database()).unwrap();
            scope.spawn(move || count(counting, storage, &database));
        }
        if load.views {
            let random = StdRng::seed_from_u64(load.seed);
            scope.spawn(|| views::write(&storage, random));
        }
        if let Some(after) = load.close_after {
            std::thread::sleep(Duration::from_millis(after));
            Report::Closing.send();
            storage.close().unwrap();
        }
    });
    drop(storage);
    Report::Closed.send();
}

struct Writer<'a> {
    load: &'a Load,
    storage: &'a Storage,
    database: Database,
    number: usize,
    random: StdRng,
    tokens: u64,
    databases: u64,
}

impl<'a> Writer<'a> {
    fn new(load: &'a Load, storage: &'a Storage, number: usize) -> Self {
        Self {
            load,
            storage,
            database: storage.get(&DatabaseName::default_database()).unwrap(),
            number,
            random: StdRng::seed_from_u64(load.seed ^ (number as u64) << 32),
            tokens: 0,
            databases: 0,
        }
    }

    /// Writes until the storage is closed, several at a time: they are committed in order.
    fn write(mut self) {
        loop {
            let (answers, answered) = channel();
            let at_once = if self.random.random_bool(0.5) { 1 } else { 16 };
            // All are drawn first, so that none rests on a revision that nobody was told of.
            let attempts = (0..at_once).map(|_| self.draw()).collect::<Vec<_>>();
            let mut refused = None;
            for attempt in attempts {
                Report::Try(self.number, attempt.clone()).send();
                let operation = attempt.operation(self.number);
                let done = answers.clone();
                let submitted = self
                    .storage
                    .submit(operation, move |result| done.send(answer(result)).unwrap());
                if let Err(error) = submitted {
                    refused = Some(answer(Err(error)));
                    break;
                }
            }
            drop(answers);
            for answer in answered.into_iter().chain(refused.clone()) {
                Report::Answer(self.number, answer).send();
            }
            if refused.is_some() {
                return;
            }
        }
    }

    fn draw(&mut self) -> Attempt {
        let id = self.random.random_range(0..DOCUMENTS);
        match self.random.random_range(0..100) {
            0 if self.databases < DATABASES => {
                self.databases += 1;
                Attempt::Create(self.load.number * DATABASES + self.databases)
            }
            1..15 => {
                let token = self.load.number << 32 | self.tokens;
                let lifetime = match self.random.random_range(0..4) {
                    0 => Lifetime::Forever,
                    1 => Lifetime::Long,
                    _ => Lifetime::Short(self.random.random_range(0..300)),
                };
                self.tokens += 1;
                let is_kept = self.random.random_bool(0.8);
                let value = is_kept.then_some(Value { token, lifetime });
                Attempt::Key(self.random.random_range(0..KEYS), value)
            }
            15 => Attempt::Expire,
            draw => {
                // Of different documents, so that the order within a transaction says nothing.
                let most = if draw < 40 { 5 } else { 1 };
                let changes = (0..most).map(|n| self.change((id + n * 7) % DOCUMENTS));
                Attempt::Transact(changes.collect())
            }
        }
    }

    fn change(&mut self, id: u8) -> Change {
        Change {
            id,
            text: self.random.random_bool(0.75).then(|| self.text()),
            wanted: self.wanted(id),
        }
    }

    fn wanted(&mut self, id: u8) -> Wanted {
        match self.random.random_range(0..16) {
            0 => Wanted::Absent,
            1 => Wanted::Exists,
            // The current revision, unless one of those that wait changes it.
            2..5 => {
                let found = self
                    .database
                    .get(&collection(self.number), &document(id))
                    .unwrap();
                found.map_or(Wanted::Absent, |found| Wanted::Revision(found.revision))
            }
            _ => Wanted::Nothing,
        }
    }

    /// Mostly small; some span blocks of the log, some become blobs.
    fn text(&mut self) -> Text {
        self.tokens += 1;
        let size = match self.random.random_range(0..100) {
            0 => 100_000,
            1..6 => self.random.random_range(1_000..60_000),
            _ => self.random.random_range(20..600),
        };
        Text {
            token: format!("{}-{}-{}", self.load.number, self.number, self.tokens),
            size,
        }
    }
}

/// Counts a document or a key up, in competition with others, until the storage is closed.
fn count(counting: usize, storage: &Storage, database: &Database) {
    let keys = counting.is_multiple_of(2);
    loop {
        let found = database.get(&shared(), &counter()).unwrap();
        let attempt = match found {
            _ if keys => Attempt::Increment(RequestId::new(storage.now_ms(), rand::random())),
            None => Attempt::Count(1, Wanted::Absent),
            Some(found) => {
                let number = found.body.as_str().parse().unwrap();
                Report::Counted(number).send();
                Attempt::Count(number + 1, Wanted::Revision(found.revision))
            }
        };
        Report::Try(counting, attempt.clone()).send();
        let answer = answer(storage.execute(attempt.operation(counting)));
        let is_closed = answer == Answer::Refused;
        Report::Answer(counting, answer).send();
        if is_closed {
            return;
        }
    }
}

fn answer(result: Result<Outcome, StorageError>) -> Answer {
    match result {
        Ok(outcome) => Answer::Done(outcome),
        Err(StorageError::Rejected(rejection)) => Answer::Rejected(rejection),
        Err(StorageError::Closed) => Answer::Refused,
        Err(error) => panic!("{error}"),
    }
}
