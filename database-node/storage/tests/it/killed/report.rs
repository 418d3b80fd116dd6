//! What a process that writes tells the one that kills it, a line each.

use std::io::Write;
use std::time::Duration;

use pliantdb_core::{
    Body, ChangeOutcome, CollectionName, DatabaseName, DocumentAction, DocumentChange, DocumentId, Expiry,
    KeyAction, KeyCondition, KeyName, NamespaceName, Number, Operation, Outcome, Precondition, Rejection,
    RequestId, Revision, SlotCount, WriteAction,
};
use serde::{Deserialize, Serialize};

/// How to load a storage; the killing process draws it and hands it over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) path: std::path::PathBuf,
    /// The file of the master key, if it is encrypted.
    pub(super) key: Option<std::path::PathBuf>,
    /// For what the writers draw.
    pub(super) seed: u64,
    /// Differs from every earlier load's, and so do the tokens in what it writes.
    pub(super) number: u64,
    /// How many threads write documents of their own; with none the storage is only opened and closed.
    pub(super) writers: usize,
    /// How many threads count the same document up.
    pub(super) counters: usize,
    /// Whether a thread writes documents with views.
    pub(super) views: bool,
    /// `None` for the default, which is what the benchmarks measure; little makes many flushes and compactions.
    pub(super) memory_limit: Option<u64>,
    /// Closes the storage so many milliseconds after it was opened, with the writers still writing.
    pub(super) close_after: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Report {
    /// The storage is open.
    Opened,
    /// The thread is about to hand this to the storage.
    Try(usize, Attempt),
    /// What the first unanswered attempt of the thread came to.
    Answer(usize, Answer),
    /// The thread read this number.
    Counted(u64),
    /// The storage is about to be closed.
    Closing,
    /// It is closed.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Attempt {
    /// Creates the thread's database of that number.
    Create(u64),
    /// Changes documents of the thread, all or none.
    Transact(Vec<Change>),
    /// Writes a number into the document that several threads count up.
    Count(u64, Wanted),
    /// Counts a key up that several threads do, once for each request.
    Increment(RequestId),
    /// Sets the thread's key of that number, or deletes it.
    Key(u8, Option<Value>),
    /// Removes those of the thread's keys that have expired.
    Expire,
}

/// The value of a key: which write it is from, and how long it is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    pub(super) token: u64,
    pub(super) lifetime: Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Lifetime {
    Forever,
    /// Longer than any test.
    Long,
    /// So many milliseconds.
    Short(u64),
}

/// How many keys each thread has.
pub(super) const KEYS: u8 = 12;

/// What a transaction does to the thread's document of that number; without a text it deletes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) id: u8,
    pub(super) text: Option<Text>,
    pub(super) wanted: Wanted,
}

/// A text that says which write it is from, and can be made again for comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) token: String,
    pub(super) size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wanted {
    Nothing,
    Absent,
    Exists,
    Revision(Revision),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Done(Outcome),
    Rejected(Rejection),
    /// The storage was closed before.
    Refused,
}

impl Answer {
    /// The revision of what was written, the same for every document of a transaction.
    pub(super) fn revision(&self) -> Option<Revision> {
        let Self::Done(Outcome::Transacted(outcomes)) = self else {
            return None;
        };
        let mut revisions = outcomes.iter().filter_map(|outcome| match outcome {
            ChangeOutcome::Written { revision, .. } => Some(*revision),
            _ => None,
        });
        let first = revisions.next()?;
        assert!(revisions.all(|revision| revision == first), "one commit");
        Some(first)
    }
}

impl Report {
    /// Sends it, whole or not at all: a pipe takes short writes so, also when the process is killed.
    pub(super) fn send(&self) {
        let mut line = serde_json::to_vec(self).unwrap();
        line.push(b'\n');
        assert!(line.len() < 4096, "a pipe would cut it");
        std::io::stderr().write_all(&line).unwrap();
    }
}

impl Attempt {
    pub(super) fn operation(&self, writer: usize) -> Operation {
        match self {
            Self::Create(number) => Operation::CreateDatabase {
                name: database_name(writer, *number),
                slots: SlotCount::default(),
            },
            Self::Transact(changes) => transact(changes.iter().map(|change| DocumentChange {
                collection: collection(writer),
                id: document(change.id),
                precondition: change.wanted.precondition(),
                action: match &change.text {
                    Some(text) => put(text.body()),
                    None => DocumentAction::Delete,
                },
            })),
            Self::Count(to, wanted) => transact(std::iter::once(DocumentChange {
                collection: shared(),
                id: counter(),
                precondition: wanted.precondition(),
                action: put(Body::parse(to.to_string().into_bytes()).unwrap()),
            })),
            Self::Increment(id) => Operation::Once {
                database: DatabaseName::default_database(),
                id: *id,
                write: WriteAction::ChangeKey {
                    namespace: namespace(),
                    key: key(),
                    action: KeyAction::Increment { by: Number::from(1) },
                },
            },
            Self::Key(id, value) => Operation::ChangeKey {
                database: DatabaseName::default_database(),
                namespace: namespace_of(writer),
                key: key_of(*id),
                action: match value {
                    Some(value) => KeyAction::Set {
                        value: Body::of(value).unwrap(),
                        expiry: value.lifetime.expiry(),
                        condition: KeyCondition::Always,
                    },
                    None => KeyAction::Delete {
                        condition: KeyCondition::Always,
                    },
                },
            },
            Self::Expire => Operation::ExpireKeys {
                database: DatabaseName::default_database(),
                keys: (0..KEYS).map(|id| (namespace_of(writer), key_of(id))).collect(),
            },
        }
    }
}

fn transact(changes: impl Iterator<Item = DocumentChange>) -> Operation {
    Operation::Transact {
        database: DatabaseName::default_database(),
        changes: changes.collect(),
    }
}

fn put(body: Body) -> DocumentAction {
    let emitted = Vec::new();
    DocumentAction::Put { body, emitted }
}

impl Text {
    /// What a body says that it is.
    pub(super) fn of(body: &Body) -> Option<Self> {
        let mut words = body.as_str().strip_prefix('"')?.split(' ');
        let (token, size) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Self { token, size })
    }

    /// Not compressible, so that a part of it that is missing is missed.
    pub(super) fn body(&self) -> Body {
        let mut text = format!("\"{} {} ", self.token, self.size);
        let mut state = self.token.bytes().fold(self.size as u64, |state, byte| {
            state.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        while text.len() < self.size {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        text.push('"');
        Body::parse(text.into_bytes()).unwrap()
    }
}

impl Lifetime {
    fn expiry(self) -> Expiry {
        match self {
            Self::Forever => Expiry::Never,
            Self::Long => Expiry::After(Duration::from_secs(24 * 60 * 60)),
            Self::Short(millis) => Expiry::After(Duration::from_millis(millis)),
        }
    }
}

impl Wanted {
    fn precondition(self) -> Precondition {
        match self {
            Self::Nothing => Precondition::None,
            Self::Absent => Precondition::Absent,
            Self::Exists => Precondition::Exists,
            Self::Revision(revision) => Precondition::Revision(revision),
        }
    }
}

pub(super) fn collection(writer: usize) -> CollectionName {
    format!("of-{writer}").parse().unwrap()
}

pub(super) fn database_name(writer: usize, number: u64) -> DatabaseName {
    format!("of-{writer}-{number}").parse().unwrap()
}

pub(super) fn document(id: u8) -> DocumentId {
    id.to_string().parse().unwrap()
}

pub(super) fn namespace_of(writer: usize) -> NamespaceName {
    format!("of-{writer}").parse().unwrap()
}

pub(super) fn key_of(id: u8) -> KeyName {
    id.to_string().parse().unwrap()
}

pub(super) fn shared() -> CollectionName {
    "shared".parse().unwrap()
}

pub(super) fn counter() -> DocumentId {
    "counter".parse().unwrap()
}

pub(super) fn namespace() -> NamespaceName {
    "shared".parse().unwrap()
}

pub(super) fn key() -> KeyName {
    "counter".parse().unwrap()
}
