//! What happened, as it is written down: a JSON object a line, in one file for each kind, so that it can be checked again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use load::Failure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The file of [`Operation`]s, which the checker reads too.
pub const OPERATIONS: &str = "history.jsonl";
/// The file of [`Period`]s.
pub const PERIODS: &str = "faults.jsonl";
/// The file of [`Read`]s.
pub const FEEDS: &str = "feeds.jsonl";
/// The file of [`Signal`]s.
pub const MESSAGES: &str = "messages.jsonl";
/// The file of [`Entry`]s.
pub const ENTRIES: &str = "ledger.jsonl";
/// The file of [`Life`]s.
pub const LIVES: &str = "lives.jsonl";
/// The file of failures that were seen while it ran, a text each.
pub const FAILURES: &str = "failures.jsonl";

/// How a client talks to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// HTTP.
    Http,
    /// WebSocket.
    WebSocket,
    /// QUIC.
    Quic,
}

/// All doors.
pub const DOORS: [Door; 3] = [Door::Http, Door::WebSocket, Door::Quic];

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Read a document.
    Get,
    /// Write a document.
    Put,
    /// Delete a document.
    Delete,
    /// Read a number.
    Read,
    /// Set a number.
    Set,
    /// Count.
    Add,
    /// Write new documents of the ledger in one transaction.
    Append,
}

impl Kind {
    /// Whether it may change something.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::Read)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// What had to hold did not.
    Conflict,
    /// There was nothing to delete.
    Missing,
    /// It may have been done, or may yet be.
    Unknown,
    /// It was not done, and never will be.
    Failed,
}

/// An operation of a client. Times are in nanoseconds since the start, by one steady clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose.
    pub client: u32,
    /// By which door.
    pub door: Door,
    /// The node that was asked last.
    pub node: String,
    /// The object: `documents/ID`, `numbers/KEY` or `ledger/CLIENT`.
    pub key: String,
    /// When it began.
    pub call: u64,
    /// When its outcome was known, or nobody waited any more.
    #[serde(rename = "return", default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// What was asked.
    pub kind: Kind,
    /// What is written, by which every write of a document is known; or what is added.
    #[serde(default)]
    pub value: i64,
    /// What must hold: nothing, `absent`, or a revision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub when: String,
    /// What came of it.
    pub result: Outcome,
    /// The revision of the document that was written or is there; none, if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// What was read, or the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<i64>,
    /// The documents of an append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Why it failed, or is unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A round of faults as it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// What went wrong.
    pub what: String,
    /// How many faults.
    pub faults: usize,
    /// When the first began.
    pub begin: u64,
    /// When the last ended.
    pub end: u64,
    /// When every node served again; if it did in time.
    pub served: Option<u64>,
    /// When every subscriber and follower had heard from its node again; if they did in time.
    pub heard: Option<u64>,
    /// Whether a majority of the nodes went on undisturbed.
    pub spares_a_majority: bool,
}

/// A transaction that a follower of the changes was told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Which follower.
    pub follower: String,
    /// The node that told it.
    pub node: String,
    /// The transaction.
    pub revision: String,
    /// Its changes: collection and id.
    pub changes: Vec<(String, String)>,
}

/// Something about messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// A message was published.
    Published {
        /// Its number.
        number: u64,
        /// When it was begun.
        call: u64,
        /// When the node had answered.
        end: u64,
    },
    /// A subscriber is there.
    Subscribed {
        /// Which.
        subscriber: String,
    },
    /// A subscriber received a message.
    Received {
        /// Which.
        subscriber: String,
        /// The message's number.
        number: u64,
    },
}

/// A document of the ledger as a node showed it at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The node.
    pub node: String,
    /// The id.
    pub id: String,
    /// The revision.
    pub revision: String,
    /// What was written.
    pub value: i64,
}

/// What a node's log says of a group that was forced to go on in another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// It is to go on with this node's replica alone: with what that has, the life before has ended.
    Forced,
    /// The other life has begun.
    Confirmed,
    /// This node's replica of the life before is removed, with so many entries that the other life lacks.
    Lost {
        /// How many.
        entries: u64,
    },
}

impl Turn {
    /// What a line of a node's log says, and of which life, if it is of that. No groups but those of databases are forced
    /// here.
    #[must_use]
    pub fn read(line: &str) -> Option<(Self, String)> {
        const LINES: [&str; 3] = [
            "the group is to go on with the replica of this node alone",
            "the group goes on in another life",
            "entries that only this node had are lost with its replica",
        ];
        // Most lines are of something else, and others quote these.
        LINES.iter().find(|said| line.contains(**said))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let message = line.get("message")?.as_str()?;
        let said = LINES.iter().position(|said| *said == message)?;
        let turn = match said {
            0 => Self::Forced,
            1 => Self::Confirmed,
            _ => Self::Lost {
                entries: line.get("entries")?.as_u64()?,
            },
        };
        let incarnation = line.get("incarnation").and_then(serde_json::Value::as_str);
        Some((turn, incarnation.unwrap_or_default().to_owned()))
    }
}

/// What was seen of the lives of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When the node said so.
    pub at: u64,
    /// The node.
    pub node: String,
    /// What it said.
    pub turn: Turn,
    /// Of which life; empty of what was lost.
    pub incarnation: String,
}

/// Reads a file of a run.
///
/// # Errors
/// When it cannot be read, with the line.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<T>, Failure> {
    let path = folder.join(name);
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut all = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        let value = serde_json::from_str(&line)
            .map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?;
        all.push(value);
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_lives() {
        let read = |message: &str, more: &str| {
            let line = format!(r#"{{"level":"WARN","message":"{message}","group":"1",{more}"target":"t"}}"#);
            Turn::read(&line)
        };
        let forced = "the group is to go on with the replica of this node alone";
        let of = |turn| Some((turn, "2/n1".to_owned()));
        assert_eq!(read(forced, r#""incarnation":"2/n1","#), of(Turn::Forced));
        let confirmed = "the group goes on in another life";
        assert_eq!(read(confirmed, r#""incarnation":"2/n1","#), of(Turn::Confirmed));
        let lost = "entries that only this node had are lost with its replica";
        let entries = Some((Turn::Lost { entries: 4 }, String::new()));
        assert_eq!(read(lost, r#""from":17,"entries":4,"#), entries);
        let quoted = format!(r#""error":"the replica has stopped: {confirmed}","#);
        assert_eq!(read("the storage failed", &quoted), None);
    }

    #[test]
    fn is_written_as_the_checker_reads_it() {
        let operation = Operation {
            client: 3,
            door: Door::WebSocket,
            node: "n1".to_owned(),
            key: "documents/a".to_owned(),
            call: 1,
            end: Some(5),
            kind: Kind::Put,
            value: 7,
            when: "absent".to_owned(),
            result: Outcome::Ok,
            revision: "01a1".to_owned(),
            found: None,
            ids: Vec::new(),
            reason: String::new(),
        };
        let line = serde_json::to_string(&operation).unwrap();
        assert_eq!(
            line,
            r#"{"client":3,"door":"websocket","node":"n1","key":"documents/a","call":1,"return":5,"kind":"put","value":7,"when":"absent","result":"ok","revision":"01a1"}"#
        );
        assert_eq!(serde_json::from_str::<Operation>(&line).unwrap(), operation);
    }
}
