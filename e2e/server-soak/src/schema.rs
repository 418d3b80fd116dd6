//! What the node serves.

use pliantdb_client::{Api, Collection, DocumentId, Emit, Map, Reduce, Schema, View};
use serde::{Deserialize, Serialize};

/// How many documents there are, more or less: some are deleted at any moment.
pub const THINGS: u64 = 2000;
/// How many groups they are in.
pub const GROUPS: u64 = 20;
/// How many of them are large: too large for the lane of a connection by QUIC.
pub const LARGE: u64 = 20;

#[derive(Schema)]
#[schema(name = "soak", collections = [Thing])]
pub struct Soak;

#[derive(Debug, Clone, Serialize, Deserialize, Collection)]
#[collection(name = "things", views = [ByGroup, ByNumber])]
pub struct Thing {
    pub group: String,
    pub number: u64,
    pub text: String,
}

/// The id of a document.
pub fn id(number: u64) -> DocumentId {
    // It is of the form of one.
    format!("thing-{number:05}")
        .parse()
        .unwrap_or_else(|_| unreachable!())
}

impl Thing {
    /// The document of that number, with other contents for another `version`.
    pub fn new(number: u64, version: u64) -> Self {
        let length = match number < LARGE {
            true => 150_000,
            false => 100 + version % 1500,
        };
        Self {
            group: group(version),
            number,
            text: load::text(version, usize::try_from(length).unwrap_or_default()),
        }
    }
}

/// A group's name.
pub fn group(number: u64) -> String {
    format!("group-{:02}", number % GROUPS)
}

/// How many are in a group: lazy.
#[derive(View)]
#[view(collection = Thing, name = "by-group", key = String, value = u64, reduce)]
pub struct ByGroup;

impl Map for ByGroup {
    fn map(_: &DocumentId, thing: &Thing, emit: &mut Emit<Self>) {
        emit.entry(thing.group.clone(), 1);
    }
}

impl Reduce for ByGroup {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// By number: eager.
#[derive(View)]
#[view(collection = Thing, name = "by-number", key = u64, policy = eager)]
pub struct ByNumber;

impl Map for ByNumber {
    fn map(_: &DocumentId, thing: &Thing, emit: &mut Emit<Self>) {
        emit.entry(thing.number, ());
    }
}

/// Says what it was told.
#[derive(Debug, Serialize, Deserialize, Api)]
#[api(name = "echo", response = String, error = String)]
pub struct Echo {
    pub text: String,
}
