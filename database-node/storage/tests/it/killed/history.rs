//! What must be stored, from what was tried and what was answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pliantdb_core::{
    Body, ChangeKind, ChangeOutcome, CollectionName, Connection, DatabaseName, DocumentId, FeedCursor,
    FeedStart, Outcome, Precondition, Rejection, Request, Response, Revision, Timestamp,
};
use pliantdb_storage::{Database, Listing, Storage, TakeSnapshot};

use super::report::{
    Answer, Attempt, Change, Lifetime, Report, Text, Value, Wanted, collection, counter, database_name, key,
    namespace, namespace_of, shared,
};

/// Everything that was told about a directory.
#[derive(Default)]
pub(super) struct History {
    writers: BTreeMap<usize, Writer>,
    /// The document and the key that several threads count up.
    document: Counter,
    key: Counter,
    feed: Feed,
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
    sent_again: u64,
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
    keys: BTreeMap<u8, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    /// `None` as long as nobody was told.
    revision: Option<Revision>,
    text: Text,
}

/// Something that several threads count up.
#[derive(Default)]
struct Counter {
    /// Which thread waits for an answer to what.
    waiting: BTreeMap<usize, Attempt>,
    stored: u64,
    /// Since `stored` was read.
    acknowledged: u64,
    /// The most that anybody has read.
    read: u64,
}

/// What an attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Done,
    /// For each change, whether it created, overwrote (`Some`) or deleted the document.
    Transacted(Vec<Option<bool>>),
    Rejected {
        current: Option<Revision>,
    },
}

impl History {
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::Try(thread, attempt @ (Attempt::Count(..) | Attempt::Increment(_))) => {
                let counter = match attempt {
                    Attempt::Count(..) => &mut self.document,
                    _ => &mut self.key,
                };
                assert!(counter.waiting.insert(thread, attempt).is_none());
            }
            Report::Try(thread, attempt) => {
                self.writers.entry(thread).or_default().waiting.push_back(attempt);
            }
            Report::Answer(thread, answer) => self.answer(thread, &answer),
            Report::Counted(number) => self.document.read = self.document.read.max(number),
            Report::Opened | Report::Closing | Report::Closed => {}
        }
    }

    fn answer(&mut self, thread: usize, answer: &Answer) {
        let revision = answer.revision();
        if let Some(at) = revision.map(Revision::timestamp) {
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
        for counter in [&mut self.document, &mut self.key] {
            if counter.waiting.remove(&thread).is_some() {
                counter.acknowledged += u64::from(matches!(answer, Answer::Done(_)));
                return;
            }
        }
        let writer = self.writers.get_mut(&thread).unwrap();
        let attempt = writer.waiting.pop_front().unwrap();
        if let Some(at) = revision.map(Revision::timestamp) {
            assert!(at > writer.last, "the writes of one thread go on in time");
            writer.last = at;
        }
        let found = match answer {
            Answer::Refused => return,
            Answer::Done(Outcome::Transacted(outcomes)) => Expected::Transacted(
                outcomes
                    .iter()
                    .map(|outcome| match outcome {
                        ChangeOutcome::Written { created, .. } => Some(*created),
                        _ => None,
                    })
                    .collect(),
            ),
            Answer::Done(_) => Expected::Done,
            Answer::Rejected(Rejection::PreconditionFailed { current, .. }) => {
                Expected::Rejected { current: *current }
            }
            Answer::Rejected(_) => Expected::Rejected { current: None },
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
        let database = storage.get(&DatabaseName::default_database()).unwrap();
        let found = database.get(&shared(), &counter()).unwrap();
        self.document.check(found.map(|found| found.body));
        // Whether they were made or not: after this they were, and once.
        for (thread, attempt) in std::mem::take(&mut self.key.waiting) {
            for _ in 0..2 {
                storage.execute(attempt.operation(thread)).unwrap();
            }
            self.key.acknowledged += 1;
            self.tally.sent_again += 1;
        }
        let (namespace, key) = (namespace(), key());
        match database.execute(Request::GetKey { namespace, key }).unwrap() {
            Response::Value(found) => self.key.check(found),
            other => panic!("{other:?}"),
        }
        self.feed.check(&database);
        // A write after recovery is later than everything before it.
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
        match attempt {
            Attempt::Create(number) => {
                assert!(self.databases.insert(*number), "each has a number of its own");
                Expected::Done
            }
            Attempt::Transact(changes) => {
                if let Some(failing) = changes.iter().find(|change| !self.holds(change)) {
                    let current = self.documents.get(&failing.id);
                    return Expected::Rejected {
                        current: current.and_then(|found| found.revision),
                    };
                }
                let change = |Change { id, text, .. }: &Change| match text.clone() {
                    Some(text) => Some(self.documents.insert(*id, Stored { revision, text }).is_none()),
                    None => self.documents.remove(id).and(None),
                };
                Expected::Transacted(changes.iter().map(change).collect())
            }
            Attempt::Key(id, value) => {
                match value {
                    Some(value) => self.keys.insert(*id, *value),
                    None => self.keys.remove(id),
                };
                Expected::Done
            }
            Attempt::Expire => Expected::Done,
            Attempt::Count(..) | Attempt::Increment(_) => unreachable!("not of the thread's own"),
        }
    }

    fn holds(&self, change: &Change) -> bool {
        let current = self.documents.get(&change.id);
        let holds = match change.wanted {
            Wanted::Nothing => true,
            Wanted::Absent => current.is_none(),
            Wanted::Exists => current.is_some(),
            Wanted::Revision(wanted) => current.is_some_and(|found| found.revision == Some(wanted)),
        };
        // Only what is there can be deleted.
        holds && (change.text.is_some() || current.is_some())
    }

    /// Whether `stored` is this, as far as it is known.
    fn is(&self, stored: &Self) -> bool {
        self.databases == stored.databases
            && self.has_keys(stored)
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

    /// Whether the keys stored are those of this, without some of those that live for a short time only.
    fn has_keys(&self, stored: &Self) -> bool {
        let lives_short = |value: &Value| matches!(value.lifetime, Lifetime::Short(_));
        let mut kept = self.keys.iter().filter(|(_, value)| !lives_short(value));
        kept.all(|(id, value)| stored.keys.get(id) == Some(value))
            && stored
                .keys
                .iter()
                .all(|(id, value)| self.keys.get(id) == Some(value))
    }

    /// What is stored, each document read twice: in the listing and by its id.
    fn read(storage: &Storage, writer: usize) -> Self {
        let database = storage.get(&DatabaseName::default_database()).unwrap();
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
            let got = database.get(&collection(writer), &document.id).unwrap();
            assert_eq!(got.as_ref(), Some(&document), "listed and got");
            let text = Text::of(&document.body).filter(|text| text.body() == document.body);
            let text = text.unwrap_or_else(|| panic!("the document {id} of {writer} is damaged"));
            let revision = Some(document.revision);
            state.documents.insert(id, Stored { revision, text });
        }
        // One moment, or a value could expire in between.
        let snapshot = database.snapshot().unwrap();
        let keys = snapshot.key_value(namespace_of(writer).as_str());
        for (key, value) in keys.list().all::<Value>().unwrap() {
            assert_eq!(keys.get(key.as_str()).unwrap(), Some(value), "listed and got");
            state.keys.insert(key.as_str().parse().unwrap(), value);
        }
        for name in storage.names() {
            let of = name.as_str().rsplit_once('-');
            if let Some((_, number)) = of
                && name == database_name(writer, number.parse().unwrap())
            {
                storage.get(&name).unwrap();
                state.databases.insert(number.parse().unwrap());
            }
        }
        state
    }
}

impl Counter {
    fn check(&mut self, found: Option<Body>) {
        let found = found.map_or(0, |found| found.as_str().parse().unwrap());
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

/// The changes of documents, read on after each restart from where the check before ended.
#[derive(Default)]
struct Feed {
    cursor: Option<FeedCursor>,
    /// The last change of each document: when, and whether it is there since.
    last: BTreeMap<(CollectionName, DocumentId), (Timestamp, bool)>,
}

impl Feed {
    /// The feed tells of every document that is stored, and of nothing else.
    fn check(&mut self, database: &Database) {
        loop {
            let from = self.cursor.map_or(FeedStart::Oldest, FeedStart::After);
            let (limit, wait) = (10_000, Duration::ZERO);
            let Response::Changes(page) = database.execute(Request::Changes { from, limit, wait }).unwrap()
            else {
                panic!("not a page of changes");
            };
            self.cursor = Some(page.next);
            if page.transactions.is_empty() {
                break;
            }
            for transaction in page.transactions {
                for change in transaction.changes {
                    let is_there = change.kind != ChangeKind::Deleted;
                    let place = (change.collection, change.id);
                    let before = self.last.insert(place, (transaction.timestamp, is_there));
                    assert!(
                        before.is_none_or(|(before, _)| before < transaction.timestamp),
                        "in order"
                    );
                    assert_eq!(
                        before.is_some_and(|(_, was_there)| was_there),
                        change.kind != ChangeKind::Inserted,
                        "no change is missing"
                    );
                }
            }
        }
        for ((collection, id), (at, is_there)) in &self.last {
            let found = database
                .get(collection, id)
                .unwrap()
                .map(|found| found.revision.timestamp());
            assert_eq!(found, is_there.then_some(*at), "{collection} {id}");
        }
    }
}
