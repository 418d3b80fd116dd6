//! What a process that writes tells the one that kills it, a line each.

use std::io::Write;

use pliantdb_core::{
    Body, CollectionName, DatabaseName, DocumentAddress, Operation, Outcome, Precondition, Rejection,
    Revision, SlotCount,
};
use serde::{Deserialize, Serialize};

/// How to load a storage; the killing process draws it and hands it over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) path: std::path::PathBuf,
    /// For what the writers draw.
    pub(super) seed: u64,
    /// Differs from every earlier load's, and so do the tokens in what it writes.
    pub(super) number: u64,
    /// How many threads write documents of their own; with none the storage is only opened and closed.
    pub(super) writers: usize,
    /// How many threads count the same document up.
    pub(super) counters: usize,
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
    /// Writes the thread's document of that number.
    Put(u8, Text, Wanted),
    /// Deletes it.
    Delete(u8, Wanted),
    /// Writes a number into the document that several threads count up.
    Count(u64, Wanted),
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
            Self::Put(id, text, wanted) => Operation::Put {
                address: address(writer, *id),
                body: text.body(),
                precondition: wanted.precondition(),
            },
            Self::Delete(id, wanted) => Operation::Delete {
                address: address(writer, *id),
                precondition: wanted.precondition(),
            },
            Self::Count(to, wanted) => Operation::Put {
                address: counter(),
                body: Body::parse(to.to_string().into_bytes()).unwrap(),
                precondition: wanted.precondition(),
            },
        }
    }
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

pub(super) fn address(writer: usize, id: u8) -> DocumentAddress {
    DocumentAddress {
        database: DatabaseName::default_database(),
        collection: collection(writer),
        id: id.to_string().parse().unwrap(),
    }
}

pub(super) fn counter() -> DocumentAddress {
    DocumentAddress {
        database: DatabaseName::default_database(),
        collection: "shared".parse().unwrap(),
        id: "counter".parse().unwrap(),
    }
}
