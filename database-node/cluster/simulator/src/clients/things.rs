//! What clients write and read, in the words of a database.

use std::time::Duration;

use pliantdb_cluster::node::Freshness;
use pliantdb_core::{
    Body, DocumentAction, DocumentChange, DocumentId, KeyAction, Number, Operation as Command, Precondition,
    Request, RequestId, Response, Revision, WriteAction,
};
use rand::RngExt;

use super::Database;
use crate::history::{Asked, Object, Value};
use crate::world::World;

/// Documents that are written one at a time.
pub(super) const REGISTERS: u32 = 4;
/// Pairs of documents that are written together.
pub(super) const PAIRS: u32 = 2;
/// The object that counts.
pub(super) const COUNTER: u32 = 100;
/// The object to which documents are added.
pub(super) const SET: u32 = 101;

/// What a node is asked.
#[derive(Clone)]
pub(super) enum Requested {
    Write(Command),
    Read(Request, Freshness),
}

pub(super) fn requested(
    world: &mut World,
    database: &Database,
    object: Object,
    asked: &Asked,
    id: RequestId,
    revision: Option<Revision>,
) -> Requested {
    let name = database.name.clone();
    let ids = documents_of(object);
    let write = |action| Requested::Write(Command::write(name.clone(), action, Some(id)));
    match asked {
        Asked::Write(value) => {
            let changes = ids.into_iter().map(|id| put(id, Precondition::None, *value));
            write(WriteAction::Transact(changes.collect()))
        }
        Asked::Exchange { to, .. } => {
            let precondition = revision.map_or(Precondition::Absent, Precondition::Revision);
            let changes = ids.into_iter().map(|id| put(id, precondition, *to));
            write(WriteAction::Transact(changes.collect()))
        }
        Asked::Insert(value) => {
            let id = document(&format!("insert-{value}"));
            write(WriteAction::Transact(vec![put(id, Precondition::None, *value)]))
        }
        Asked::Count => write(WriteAction::ChangeKey {
            namespace: namespace(),
            key: key(),
            action: KeyAction::Increment {
                by: Number::Integer(1),
            },
        }),
        Asked::Read | Asked::ReadAtLeast { .. } | Asked::ReadWithin(_) => {
            let request = Request::Get {
                collection: collection(),
                ids,
            };
            let freshness = match asked {
                Asked::ReadWithin(millis) => Freshness::Within(Duration::from_millis(*millis)),
                Asked::ReadAtLeast { seen: Some(mark) } => Freshness::AtLeast(*mark),
                _ if world.random.random_bool(0.2) => Freshness::Quorum,
                _ => Freshness::Linearizable,
            };
            Requested::Read(request, freshness)
        }
    }
}

pub(crate) fn put(id: DocumentId, precondition: Precondition, value: Value) -> DocumentChange {
    DocumentChange {
        collection: collection(),
        id,
        precondition,
        action: DocumentAction::Put {
            body: number(value),
            emitted: Vec::new(),
        },
    }
}

fn documents_of(object: Object) -> Vec<DocumentId> {
    match object.number {
        number if number < REGISTERS => vec![document(&format!("register-{number}"))],
        number => vec![
            document(&format!("pair-{number}-a")),
            document(&format!("pair-{number}-b")),
        ],
    }
}

#[allow(clippy::expect_used, reason = "the names here are right")]
pub(crate) fn document(id: &str) -> DocumentId {
    id.parse().expect("an id")
}

#[allow(clippy::expect_used, reason = "the names here are right")]
pub(crate) fn collection() -> pliantdb_core::CollectionName {
    "things".parse().expect("a name")
}

#[allow(clippy::expect_used, reason = "the names here are right")]
fn namespace() -> pliantdb_core::NamespaceName {
    "numbers".parse().expect("a name")
}

#[allow(clippy::expect_used, reason = "the names here are right")]
fn key() -> pliantdb_core::KeyName {
    "count".parse().expect("a key")
}

#[allow(clippy::expect_used, reason = "a number is JSON")]
fn number(value: Value) -> Body {
    Body::parse(value.to_string().into_bytes()).expect("a number")
}

/// What the applier of a node says of everything that clients wrote to a group.
#[must_use]
pub fn contents(world: &World, host: usize, database: &Database) -> Option<Contents> {
    let process = world.hosts.get(host)?.process.as_ref()?;
    let answer = |request: &Request| process.applier.answer(database.group, request);
    let listing = pliantdb_core::Listing {
        limit: 100_000,
        ..pliantdb_core::Listing::default()
    };
    let Ok(Response::Page(page)) = answer(&Request::List {
        collection: collection(),
        listing,
    })?
    else {
        return None;
    };
    let inserted = page
        .documents
        .iter()
        .filter(|document| document.id.as_str().starts_with("insert-"));
    let inserted = inserted
        .filter_map(|document| document.body.as_str().parse().ok())
        .collect();
    let Ok(Response::Value(count)) = answer(&Request::GetKey {
        namespace: namespace(),
        key: key(),
    })?
    else {
        return None;
    };
    let count = count
        .and_then(|count| count.as_str().parse().ok())
        .unwrap_or_default();
    Some(Contents { inserted, count })
}

/// What clients added and counted.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The documents that were added.
    pub inserted: std::collections::BTreeSet<Value>,
    /// What was counted.
    pub count: u64,
}
