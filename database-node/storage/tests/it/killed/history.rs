//! What must be stored, from what was tried and what was answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pliantdb_core::{Body, DatabaseName, Outcome, Precondition, Rejection, Revision, Timestamp};
use pliantdb_storage::{Listing, Storage};

use super::report::{Answer, Attempt, Report, Text, Wanted, address, collection, counter, database_name};

/// Everything that was told about a directory.
#[derive(Default)]
pub(super) struct History {
    writers: BTreeMap<usize, Writer>,
    counter: Counter,
    /// The time of the last write before the load that runs.
    before: Timestamp,
    /// That of the last write ever.
    last: Timestamp,
    pub(super) tally: Tally,
}

/// How much was seen, so that nobody takes a test that does nothing for one that passes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    acknowledged: u64,
    rejected: u64,
    refused: u64,
    unanswered_and_stored: u64,
    unanswered_and_not_stored: u64,
}

/// A thread that writes documents and databases which are its own, so it is known what each attempt comes to.
#[derive(Default)]
struct Writer {
    state: State,
    /// Attempts without an answer, in the order in which they are committed.
    waiting: VecDeque<Attempt>,
    last: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    documents: BTreeMap<u8, Stored>,
    databases: BTreeSet<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    /// `None` as long as nobody was told.
    revision: Option<Revision>,
    text: Text,
}

/// The document that several threads count up.
#[derive(Default)]
struct Counter {
    /// Which thread waits for an answer.
    waiting: BTreeSet<usize>,
    stored: u64,
    /// Since `stored` was read.
    acknowledged: u64,
    /// The most that anybody has read.
    read: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Created,
    Written { created: bool },
    Deleted,
    Rejected { current: Option<Revision> },
}

impl History {
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::Try(thread, Attempt::Count(..)) => assert!(self.counter.waiting.insert(thread)),
            Report::Try(thread, attempt) => {
                self.writers.entry(thread).or_default().waiting.push_back(attempt);
            }
            Report::Answer(thread, answer) => self.answer(thread, &answer),
            Report::Counted(number) => self.counter.read = self.counter.read.max(number),
            Report::Opened | Report::Closing | Report::Closed => {}
        }
    }

    fn answer(&mut self, thread: usize, answer: &Answer) {
        if let Answer::Done(Outcome::Written { revision, .. }) = answer {
            let at = revision.timestamp();
            assert!(
                at > self.before,
                "{at:?} was before the restart, {:?}",
                self.before
            );
            self.last = self.last.max(at);
        }
        match answer {
            Answer::Done(_) => self.tally.acknowledged += 1,
            Answer::Rejected(_) => self.tally.rejected += 1,
            Answer::Refused => self.tally.refused += 1,
        }
        if self.counter.waiting.remove(&thread) {
            self.counter.acknowledged += u64::from(matches!(answer, Answer::Done(_)));
            return;
        }
        let writer = self.writers.get_mut(&thread).unwrap();
        let attempt = writer.waiting.pop_front().unwrap();
        let (revision, found) = match answer {
            Answer::Refused => return,
            Answer::Done(Outcome::Written { revision, created }) => {
                let at = revision.timestamp();
                assert!(at > writer.last, "the writes of one thread go on in time");
                writer.last = at;
                (Some(*revision), Expected::Written { created: *created })
            }
            Answer::Done(Outcome::Deleted) => (None, Expected::Deleted),
            Answer::Done(_) => (None, Expected::Created),
            Answer::Rejected(Rejection::PreconditionFailed { current, .. }) => {
                (None, Expected::Rejected { current: *current })
            }
            Answer::Rejected(_) => (None, Expected::Rejected { current: None }),
        };
        let expected = writer.state.apply(&attempt, revision);
        assert_eq!(found, expected, "thread {thread} tried {attempt:?}");
    }

    /// Checks what is stored, after whatever ended the process, and goes on from there.
    pub(super) fn check(&mut self, storage: &Storage) {
        for (number, writer) in &mut self.writers {
            let stored = State::read(storage, *number);
            while !writer.state.is(&stored) {
                let Some(attempt) = writer.waiting.pop_front() else {
                    panic!(
                        "thread {number}: expected, with every attempt that was not answered, {:#?}\nbut stored is {stored:#?}",
                        writer.state
                    );
                };
                writer.state.apply(&attempt, None);
                self.tally.unanswered_and_stored += 1;
            }
            self.tally.unanswered_and_not_stored += writer.waiting.len() as u64;
            writer.waiting.clear();
            let revisions = stored.documents.values().filter_map(|stored| stored.revision);
            self.last = revisions.map(Revision::timestamp).fold(self.last, Ord::max);
            writer.state = stored;
        }
        self.counter.check(storage);
        // A write after recovery is later than everything before it.
        let database = storage.database(&DatabaseName::default_database()).unwrap();
        let (collection, id) = ("shared".parse().unwrap(), "checked".parse().unwrap());
        let body = Body::parse(b"true".to_vec()).unwrap();
        let (revision, _) = database.put(&collection, &id, body, Precondition::None).unwrap();
        let at = revision.timestamp();
        assert!(at > self.last, "{at:?} is not after {:?}", self.last);
        (self.before, self.last) = (at, at);
    }
}

impl State {
    /// Changes the state as the attempt does, and says what it comes to.
    fn apply(&mut self, attempt: &Attempt, revision: Option<Revision>) -> Expected {
        let (id, wanted) = match attempt {
            Attempt::Create(number) => {
                assert!(self.databases.insert(*number), "each has a number of its own");
                return Expected::Created;
            }
            Attempt::Count(..) => unreachable!("not of documents of one's own"),
            Attempt::Put(id, _, wanted) | Attempt::Delete(id, wanted) => (id, wanted),
        };
        let current = self.documents.get(id);
        let holds = match wanted {
            Wanted::Nothing => true,
            Wanted::Absent => current.is_none(),
            Wanted::Exists => current.is_some(),
            Wanted::Revision(wanted) => current.is_some_and(|found| found.revision == Some(*wanted)),
        };
        let created = current.is_none();
        match attempt {
            _ if !holds => Expected::Rejected {
                current: current.and_then(|found| found.revision),
            },
            Attempt::Put(id, text, _) => {
                let text = text.clone();
                self.documents.insert(*id, Stored { revision, text });
                Expected::Written { created }
            }
            _ if created => Expected::Rejected { current: None },
            _ => {
                self.documents.remove(id);
                Expected::Deleted
            }
        }
    }

    /// Whether `stored` is this, as far as it is known.
    fn is(&self, stored: &Self) -> bool {
        self.databases == stored.databases
            && self.documents.keys().eq(stored.documents.keys())
            && self
                .documents
                .values()
                .zip(stored.documents.values())
                .all(|(known, stored)| {
                    known.text == stored.text
                        && (known.revision.is_none() || known.revision == stored.revision)
                })
    }

    /// What is stored, each document read twice: in the listing and by its id.
    fn read(storage: &Storage, writer: usize) -> Self {
        let database = storage.database(&DatabaseName::default_database()).unwrap();
        let page = database
            .list(
                &collection(writer),
                &Listing {
                    limit: usize::MAX,
                    max_bytes: usize::MAX,
                    ..Listing::default()
                },
            )
            .unwrap();
        let mut state = Self::default();
        for document in page.documents {
            let id = document.id.as_str().parse().unwrap();
            let address = address(writer, id);
            let got = database.get(&address.collection, &address.id).unwrap();
            assert_eq!(got.as_ref(), Some(&document), "listed and got");
            let text = Text::of(&document.body).filter(|text| text.body() == document.body);
            let text = text.unwrap_or_else(|| panic!("the document {address:?} is damaged"));
            let revision = Some(document.revision);
            state.documents.insert(id, Stored { revision, text });
        }
        for name in storage.databases() {
            let of = name.as_str().rsplit_once('-');
            if let Some((_, number)) = of
                && name == database_name(writer, number.parse().unwrap())
            {
                storage.database(&name).unwrap();
                state.databases.insert(number.parse().unwrap());
            }
        }
        state
    }
}

impl Counter {
    fn check(&mut self, storage: &Storage) {
        let database = storage.database(&DatabaseName::default_database()).unwrap();
        let address = counter();
        let found = database.get(&address.collection, &address.id).unwrap();
        let found = found.map_or(0, |found| found.body.as_str().parse().unwrap());
        let (least, most) = (
            self.stored + self.acknowledged,
            self.stored + self.acknowledged + self.waiting.len() as u64,
        );
        assert!(
            (least..=most).contains(&found),
            "the counter is {found}, not {least} to {most}"
        );
        assert!(
            found >= self.read,
            "the counter is {found}, and somebody has read {}",
            self.read
        );
        *self = Self {
            stored: found,
            ..Self::default()
        };
    }
}
