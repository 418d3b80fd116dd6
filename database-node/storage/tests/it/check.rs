//! Checking a data directory.

use std::fs;
use std::path::Path;

use pliantdb_core::{Collection, Connection, DocumentId, Emit, Map, SlotCount, View};
use pliantdb_storage::check::{CheckReport, Fault, check};
use pliantdb_storage::store::{Batch, Durability, OrderedStore};
use pliantdb_storage::{Database, StorageError};

use serde::{Deserialize, Serialize};

use crate::encryption::{content, master_key, open, put};
use crate::store::{largest, rocks};

/// A directory with so many documents, and its write-ahead log empty.
fn directory(path: &Path, documents: usize) {
    let storage = open(path, None).unwrap();
    for n in 0..documents {
        let noise: String = (0..300u64)
            .map(|at| char::from(b'a' + ((n as u64 * 31 + at * at * 7) % 26) as u8))
            .collect();
        put(&storage, &format!("document-{n:04}"), &format!("\"{noise}\""));
    }
    storage.close().unwrap();
}

fn documents(report: &CheckReport) -> u64 {
    report.databases.iter().map(|database| database.documents).sum()
}

#[test]
fn a_sound_directory_is_sound_and_stays_as_it_is() {
    for key in [None, Some(master_key(1))] {
        let root = tempfile::tempdir().unwrap();
        let storage = open(root.path(), key.clone()).unwrap();
        put(&storage, "ada", "1815");
        put(&storage, "large", &format!("\"{}\"", "x".repeat(100_000)));
        assert!(matches!(
            check(root.path(), key.as_deref()),
            Err(StorageError::DirectoryInUse { .. })
        ));
        // What is in the log only is read too.
        drop(storage);
        let stored = |path: &Path| {
            let mut files = content(path);
            files.retain(|(name, _)| !name.contains("LOG"));
            files
        };
        let before = stored(root.path());
        let report = check(root.path(), key.as_deref()).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
        assert_eq!((report.databases.len(), documents(&report)), (1, 2));
        assert!(report.databases[0].bytes > 100_000);
        assert!(before == stored(root.path()), "nothing was written");
    }
    let nowhere = tempfile::tempdir().unwrap();
    assert!(check(nowhere.path(), None).is_err());
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_block_does_not_hide_the_rest() {
    let root = tempfile::tempdir().unwrap();
    directory(root.path(), 1000);
    let path = largest(&root.path().join("state"), "sst");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    let report = check(root.path(), None).unwrap();
    let [Fault::Unreadable { after, reason, .. }] = report.faults.as_slice() else {
        panic!("{:?}", report.faults)
    };
    assert!(
        after.contains("document-") && after.contains("\"people\""),
        "{after}"
    );
    assert!(
        matches!(reason, pliantdb_storage::store::StoreError::Corrupt(_)),
        "{reason}"
    );
    let read = documents(&report);
    assert!((500..1000).contains(&read), "{read} documents could be read");
}

#[test]
fn acknowledged_writes_that_are_missing_are_a_fault_of_the_whole() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), None).unwrap();
    for n in 0..10 {
        put(&storage, &n.to_string(), "1");
    }
    // Not closed, so that all is in the log.
    drop(storage);
    check(root.path(), None).unwrap();
    let log = largest(&root.path().join("state"), "log");
    fs::write(log, "").unwrap();
    let error = check(root.path(), None).unwrap_err();
    assert!(
        error.to_string().contains("acknowledged writes are missing"),
        "{error}"
    );
}

#[test]
fn records_that_cannot_be_are_named() {
    let root = tempfile::tempdir().unwrap();
    directory(root.path(), 1);
    let store = rocks(&root.path().join("state"));
    let mut batch = Batch::default();
    // A document is: a version, a revision, and JSON.
    let (slot, good) = (b"\0\0\0\x01\0\x06\x01orders\0", b"\x01\0\0\0\0\0\0\0\x01{}");
    let document = |id: &str| [&slot[..], id.as_bytes()].concat();
    // The document of the test of keys, in the slot where it belongs.
    batch.put(document("order-1"), *good);
    let is_elsewhere = |id: &String| SlotCount::default().slot_of(id.as_bytes()).get() != 6;
    let astray = (0..).map(|n| format!("astray-{n}")).find(is_elsewhere).unwrap();
    batch.put(document(&astray), *good);
    batch.put(document("\u{1}"), *good);
    batch.put(b"\0\0\0\x01\0\x06\x01_x\0order-1", *good);
    batch.put(b"\0\0\0\x01\0\x06\x01two\0order-1", *b"\x01\0\0\0\0\0\0\0\x01{");
    batch.put(b"\0\0\0\x01\0\x06\x01old\0order-1", *b"\x01\0");
    batch.put(b"\0\0\0\x01\0\x06\x01new\0order-1", *b"\x02\0\0\0\0\0\0\0\x01{}");
    batch.put(
        b"\0\0\0\x01\0\x06\x01far\0order-1",
        *b"\x01\xff\xff\0\0\0\0\0\x01{}",
    );
    batch.put(b"\0\0\0\x01\0\x06\xee", *b"");
    batch.put(b"\0\0\0\x01\0\x06\x02", *b"\x01\x09");
    batch.put(b"\0\0\0\x09\0\x06\x01orders\0order-1", *good);
    batch.put(b"\0\0\0\0\x02again", *b"\x01\x01\x10");
    batch.put(b"\0\0\0\0\xee", *b"");
    batch.put(b"\0\0", *b"");
    store.write(&batch, Durability::Synced).unwrap();
    drop(store);
    let report = check(root.path(), None).unwrap();
    let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
    let mut missing = vec![
        "it lies in slot 6, and belongs into ",
        r#"the document "\u{1}""#,
        r#"the collection "_x""#,
        r#"the collection "two""#,
        r#"the collection "old""#,
        r#"of kind document has version 2"#,
        "later than the last commit",
        "no kind 238 of records",
        "there is no kind 9",
        "1 records of the database with the number 9",
        "has the number 1, as the database",
        "no such kind of record",
        "no key of PliantDB",
    ];
    missing.retain(|part| !faults.iter().any(|fault| fault.contains(part)));
    assert!(
        missing.is_empty() && faults.len() == 13,
        "{missing:?} of {faults:#?}"
    );
}

#[test]
fn encrypted_values_that_were_swapped_are_named() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), Some(master_key(1))).unwrap();
    put(&storage, "ada", "1");
    put(&storage, "bob", "2");
    storage.close().unwrap();
    drop(storage);
    let store = rocks(&root.path().join("state"));
    let all = crate::store::everything(&store);
    let of = |id: &str| {
        let found = all
            .iter()
            .find(|(key, _)| key.ends_with(id.as_bytes()) && key[6] == 1);
        found.unwrap().clone()
    };
    let mut batch = Batch::default();
    batch.put(of("ada").0, of("bob").1);
    store.write(&batch, Durability::Synced).unwrap();
    drop(store);
    let report = check(root.path(), Some(&*master_key(1))).unwrap();
    assert!(
        matches!(report.faults.as_slice(), [Fault::Document { id, reason, .. }] if id == "ada" && reason.contains("another key")),
        "{:?}",
        report.faults
    );
    assert!(check(root.path(), None).is_err());
}

#[derive(Serialize, Deserialize, Collection)]
#[collection(name = "users", named_by = name, views = [ByAge])]
struct User {
    name: String,
    age: u32,
}

#[derive(View)]
#[view(collection = User, name = "by-age", key = u32)]
struct ByAge;

impl Map for ByAge {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry(user.age, ());
    }
}

/// Whatever is missing of a view, or too much, is named.
#[test]
fn views_that_do_not_agree_with_their_documents_are_named() {
    let root = tempfile::tempdir().unwrap();
    let database = Database::open::<User>(root.path()).unwrap();
    for age in 0..20 {
        let name = format!("user {age}");
        database.collection::<User>().insert(User { name, age }).unwrap();
    }
    assert_eq!(database.view::<ByAge>().query().unwrap().len(), 20);
    drop(database);
    let report = check(root.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);

    for (space, expected) in [
        (1, "entries of the document"),
        (4, "lacks an entry"),
        (5, "has not emitted"),
        (6, "not noted as its own"),
    ] {
        let store = rocks(&root.path().join("state"));
        let all = crate::store::everything(&store);
        let of_space = |(key, _): &&(Vec<u8>, Vec<u8>)| key[3] == 1 && key[6] == space;
        let (key, value) = all.iter().find(of_space).unwrap().clone();
        let mut batch = Batch::default();
        batch.delete(key.clone());
        store.write(&batch, Durability::Synced).unwrap();
        drop(store);
        let report = check(root.path(), None).unwrap();
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert!(
            faults
                .iter()
                .any(|fault| fault.contains(expected) && fault.contains("view")),
            "{faults:?}"
        );
        let mut batch = Batch::default();
        batch.put(key, value);
        rocks(&root.path().join("state"))
            .write(&batch, Durability::Synced)
            .unwrap();
        assert!(check(root.path(), None).unwrap().is_sound());
    }
}
