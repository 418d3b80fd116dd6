//! Commands of all kinds, at random.

use std::time::Duration;

use pliantdb_core::access::AccountsChange;
use pliantdb_core::{
    Body, Command, DocumentAction, DocumentChange, Emitted, Expiry, IndexedDocument, Key, KeyAction,
    KeyCondition, Number, Operation, Precondition, RequestId, Revision, SlotCount, Timestamp, ViewDefinition,
    ViewEntry, ViewId, ViewPolicy, WriteAction,
};
use pliantdb_storage::group::LogEntry;
use proptest::prelude::*;

use super::at;

/// How many milliseconds lie between two entries.
const STEP: u64 = 20_000;

/// The views of the collection `orders`: a reducing one, a unique one, and a lazy one.
pub(super) fn views(version: u64) -> Vec<ViewDefinition> {
    let view = |name: &str, policy, reduces, version| ViewDefinition {
        collection: "orders".parse().unwrap(),
        name: name.parse().unwrap(),
        version,
        policy,
        reduces,
    };
    vec![
        view("by-number", ViewPolicy::Eager, true, version),
        view("by-code", ViewPolicy::Unique, false, 1),
        view("by-age", ViewPolicy::Lazy, true, 1),
    ]
}

fn define(version: u64) -> Operation {
    Operation::DefineSchema {
        database: "shop".parse().unwrap(),
        schema: "shop".parse().unwrap(),
        views: views(version),
    }
}

fn entry(key: i64) -> ViewEntry {
    ViewEntry {
        key: key.encoded(),
        value: b"1".to_vec(),
    }
}

fn key(key: u8) -> (pliantdb_core::NamespaceName, pliantdb_core::KeyName) {
    ("n".parse().unwrap(), format!("k{key}").parse().unwrap())
}

/// What a document emits to each version of each view that there can be: the ids of views depend on what was defined before.
fn emitted() -> impl Strategy<Value = Vec<Emitted>> {
    let of_view = |most: i64| prop::collection::vec(0..most, 0..3);
    (of_view(4), prop::option::of(0..30i64)).prop_map(|(numbers, code)| {
        let by_number = |view| Emitted {
            view: ViewId::from(view),
            entries: numbers.iter().copied().map(entry).collect(),
        };
        let by_code = Emitted {
            view: ViewId::from(2),
            entries: code.into_iter().map(entry).collect(),
        };
        [1, 4, 5, 6].into_iter().map(by_number).chain([by_code]).collect()
    })
}

fn change() -> impl Strategy<Value = DocumentChange> {
    let precondition = prop_oneof![
        6 => Just(Precondition::None),
        1 => Just(Precondition::Absent),
        1 => Just(Precondition::Exists),
    ];
    let action = prop_oneof![
        6 => (emitted(), 0..400usize).prop_map(|(emitted, size)| DocumentAction::Put {
            body: Body::parse(format!("\"{}\"", "x".repeat(size)).into_bytes()).unwrap(),
            emitted,
        }),
        2 => Just(DocumentAction::Delete),
        1 => Just(DocumentAction::Check),
    ];
    (prop::bool::weighted(0.7), 0..12u8, precondition, action).prop_map(
        |(is_order, id, precondition, action)| DocumentChange {
            collection: if is_order { "orders" } else { "plain" }.parse().unwrap(),
            id: format!("d{id}").parse().unwrap(),
            precondition,
            action,
        },
    )
}

fn key_action() -> impl Strategy<Value = KeyAction> {
    let expiry = prop_oneof![
        Just(Expiry::Never),
        Just(Expiry::Keep),
        (0..10u64).prop_map(|steps| Expiry::After(Duration::from_millis(steps * STEP))),
    ];
    prop_oneof![
        3 => (0..100u8, expiry).prop_map(|(value, expiry)| KeyAction::Set {
            value: Body::parse(value.to_string().into_bytes()).unwrap(),
            expiry,
            condition: KeyCondition::Always,
        }),
        2 => Just(KeyAction::Increment { by: Number::Integer(1) }),
        1 => Just(KeyAction::Delete { condition: KeyCondition::Present }),
    ]
}

fn write() -> impl Strategy<Value = WriteAction> {
    prop_oneof![
        3 => prop::collection::vec(change(), 1..2).prop_map(WriteAction::Transact),
        1 => prop::collection::vec(change(), 0..4).prop_map(WriteAction::Transact),
        2 => (0..8u8, key_action()).prop_map(|(name, action)| {
            let (namespace, key) = key(name);
            WriteAction::ChangeKey { namespace, key, action }
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let database = || "shop".parse().unwrap();
    let request = || (0..6u64).prop_map(|n| RequestId::new(n * 250_000, n.into()));
    let indexed = (0..12u8, 0..3u64, 0..4i64).prop_map(|(id, n, number)| IndexedDocument {
        id: format!("d{id}").parse().unwrap(),
        // Now and then the one that the document has.
        revision: Revision::at(Timestamp::from_bits(at(n * STEP).bits() + n)),
        entries: vec![entry(number)],
    });
    prop_oneof![
        30 => (write(), prop::option::weighted(0.4, request()))
            .prop_map(move |(write, request)| Operation::write(database(), write, request)),
        3 => prop::collection::vec(0..8u8, 0..6).prop_map(move |keys| Operation::ExpireKeys {
            database: database(),
            keys: keys.into_iter().map(key).collect(),
        }),
        1 => (0..60u64).prop_map(move |step| Operation::TrimChanges {
            database: database(),
            before: at(step * STEP),
        }),
        1 => (0..1_600_000u64).prop_map(move |before| Operation::ForgetRequests {
            database: database(),
            before,
        }),
        2 => (1..3u64).prop_map(define),
        3 => (prop::collection::vec(indexed, 0..4), prop::sample::select(vec![1, 2, 4, 5]), any::<bool>())
            .prop_map(move |(documents, view, is_last)| Operation::BuildView {
                database: database(),
                view: ViewId::from(view),
                documents,
                is_last,
            }),
        1 => Just(Operation::FailView {
            database: database(),
            view: ViewId::from(1),
            reason: "a test says so".to_owned(),
        }),
        1 => write().prop_map(|write| Operation::write("other".parse().unwrap(), write, None)),
    ]
}

/// What changes databases or accounts, which no shard does.
pub(super) fn of_no_shard() -> [Operation; 3] {
    [
        Operation::CreateDatabase {
            name: "other".parse().unwrap(),
            slots: SlotCount::default(),
        },
        Operation::DeleteDatabase {
            name: "shop".parse().unwrap(),
        },
        Operation::ChangeAccounts(AccountsChange::SetRole {
            name: "clerk".parse().unwrap(),
            permissions: Vec::new(),
        }),
    ]
}

/// A log that begins with the schema and goes on with anything.
pub(super) fn script(most: usize) -> impl Strategy<Value = Vec<LogEntry>> {
    let entry = (
        prop::option::weighted(0.95, operation()),
        prop::option::weighted(0.05, any::<u8>()),
    );
    prop::collection::vec(entry, 1..most).prop_map(|steps| {
        let first = (Some(define(1)), Some(7));
        let steps = std::iter::once(first).chain(steps);
        (1..)
            .zip(steps)
            .map(|(index, (operation, config))| LogEntry {
                index,
                term: 1 + index / 10,
                command: operation.map(|operation| command(index, operation)),
                config: config.map(|config| vec![config]),
            })
            .collect()
    })
}

/// The command of an entry.
pub(super) fn command(index: u64, operation: Operation) -> Command {
    Command::new(Timestamp::from_bits(at(index * STEP).bits() + index), operation)
}

/// An entry with a command.
pub(super) fn logged(index: u64, operation: Operation) -> LogEntry {
    LogEntry {
        index,
        term: 1,
        command: Some(command(index, operation)),
        config: None,
    }
}

/// Cuts a log into pieces of these sizes, over and over.
pub(super) fn cut<'l>(mut log: &'l [LogEntry], sizes: &[usize]) -> Vec<&'l [LogEntry]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if log.is_empty() {
            break;
        }
        let (piece, rest) = log.split_at((*size).min(log.len()));
        pieces.push(piece);
        log = rest;
    }
    pieces
}
