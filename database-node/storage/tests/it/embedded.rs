//! The embedded interface.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use pliantdb_core::{
    Body, Change, ChangeAction, CollectionName, DatabaseName, DocumentId, Error, Precondition, Rejection,
    Request, SlotCount,
};
use pliantdb_storage::{Database, Options, Storage, StorageError};

fn body(text: &str) -> Body {
    Body::parse(text.as_bytes().to_vec()).unwrap()
}

fn default(storage: &Storage) -> (Database, CollectionName, DocumentId) {
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    (database, "users".parse().unwrap(), "ada".parse().unwrap())
}

#[test]
fn writes_reads_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let (database, users, ada) = default(&storage);

    assert_eq!(database.get(&users, &ada), Ok(None));
    let (first, created) = database
        .put(&users, &ada, body("1"), Precondition::Absent)
        .unwrap();
    assert!(created);
    let (second, created) = database
        .put(&users, &ada, body("2"), Precondition::Revision(first))
        .unwrap();
    assert!(!created && second > first);
    let error = database
        .put(&users, &ada, body("3"), Precondition::Revision(first))
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::PreconditionFailed { current, .. }) if current == Some(second)),
    );
    let found = database.get(&users, &ada).unwrap().unwrap();
    assert_eq!((found.revision, found.body), (second, body("2")));

    database.delete(&users, &ada, Precondition::None).unwrap();
    let error = database.delete(&users, &ada, Precondition::None).unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::UnknownDocument { .. })),
        "{error}"
    );
    let (third, _) = database.put(&users, &ada, body("1"), Precondition::None).unwrap();
    assert!(third > second, "a revision never comes back");

    let (one, _) = database.push(&users, body("[]")).unwrap();
    let (other, _) = database.push(&users, body("[]")).unwrap();
    assert!(one < other && one.as_str().len() == 36);
}

#[test]
fn keeps_databases_apart_and_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let (database, users, ada) = default(&storage);
    let other: DatabaseName = "other".parse().unwrap();
    assert!(matches!(storage.get(&other), Err(StorageError::UnknownDatabase(name)) if name == other));
    let second = storage
        .create(&other, SlotCount::try_from(4096).unwrap())
        .unwrap();
    let error = storage
        .create(&other, SlotCount::default())
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(error, StorageError::Rejected(Rejection::DatabaseExists { .. })),
        "{error}"
    );
    let (revision, _) = database.put(&users, &ada, body("1"), Precondition::None).unwrap();
    assert_eq!(second.get(&users, &ada), Ok(None));
    second.put(&users, &ada, body("2"), Precondition::None).unwrap();

    assert!(matches!(
        Storage::open(directory.path()),
        Err(StorageError::DirectoryInUse { .. })
    ));
    storage.close().unwrap();
    assert_eq!(
        database.put(&users, &ada, body("9"), Precondition::None),
        Err(Error::Closed)
    );
    assert_eq!(
        database.get(&users, &ada).unwrap().unwrap().body,
        body("1"),
        "reads go on"
    );
    drop((storage, database, second));

    let storage = Storage::open(directory.path()).unwrap();
    assert_eq!(storage.names(), [DatabaseName::default_database(), other.clone()]);
    let (database, ..) = default(&storage);
    assert_eq!(database.get(&users, &ada).unwrap().unwrap().revision, revision);
    assert_eq!(
        storage
            .get(&other)
            .unwrap()
            .get(&users, &ada)
            .unwrap()
            .unwrap()
            .body,
        body("2")
    );
    let (next, _) = database.put(&users, &ada, body("1"), Precondition::None).unwrap();
    assert!(next > revision);
}

#[test]
fn groups_waiting_writes_into_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let commits = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&commits);
    let observer = Box::new(move |commit| seen.lock().unwrap().push(commit));
    let options = Options {
        observer: Some(observer),
        ..Options::default()
    };
    let storage = Storage::open_with(directory.path(), options).unwrap();
    let (database, ..) = default(&storage);
    let syncs = storage.stats().unwrap().store.wal_syncs;
    let (answers, answered) = channel();
    for n in 0..500 {
        let insert = Change {
            collection: "c".parse().unwrap(),
            action: ChangeAction::Insert {
                id: Some(n.to_string().parse().unwrap()),
                body: body("1"),
            },
        };
        let operation = database.operation(Request::Transact(vec![insert])).unwrap();
        let answers = answers.clone();
        storage
            .submit(operation, move |result| answers.send(result.is_ok()).unwrap())
            .unwrap();
    }
    drop(answers);
    assert_eq!(answered.iter().filter(|ok| *ok).count(), 500);
    let batches = commits.lock().unwrap()[1..].to_vec();
    assert_eq!(batches.iter().map(|commit| commit.commands).sum::<usize>(), 500);
    assert!(batches.len() < 100, "{} batches", batches.len());
    let synced = storage.stats().unwrap().store.wal_syncs - syncs;
    assert_eq!(synced, batches.len() as u64, "one sync a batch");
}

#[test]
fn refuses_writes_without_room_and_goes_on_reading() {
    let directory = tempfile::tempdir().unwrap();
    let (users, ada) = ("users".parse().unwrap(), "ada".parse().unwrap());
    let open = |min_free_space| {
        Storage::open_with(
            directory.path(),
            Options {
                min_free_space,
                ..Options::default()
            },
        )
        .unwrap()
    };
    let storage = open(Some(0));
    let (database, ..) = default(&storage);
    database.put(&users, &ada, body("1"), Precondition::None).unwrap();
    let free = storage.stats().unwrap().disk_free;
    drop((storage, database));

    let storage = open(Some(free * 2));
    let (database, ..) = default(&storage);
    let error = database
        .put(&users, &ada, body("2"), Precondition::None)
        .unwrap_err();
    assert!(matches!(error, Error::DiskFull(_)), "{error}");
    assert!(matches!(storage.writable(), Err(StorageError::DiskFull { .. })));
    assert_eq!(database.get(&users, &ada).unwrap().unwrap().body, body("1"));
    database
        .delete(&users, &ada, Precondition::None)
        .expect("deletes make room");
    drop((storage, database));

    let storage = open(None);
    assert_eq!(storage.writable(), Ok(()));
}

/// A lost file is an error, twice: RocksDB itself would start empty and delete the rest.
#[test]
fn a_lost_file_is_never_an_empty_database() {
    for name in ["state", "CURRENT", "MANIFEST-"] {
        let (directory, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage = Storage::open(directory.path()).unwrap();
        let (database, users, ada) = default(&storage);
        database.put(&users, &ada, body("1"), Precondition::None).unwrap();
        drop((storage, database));
        let paths = [directory.path().to_owned(), directory.path().join("state")];
        let lost = paths
            .iter()
            .flat_map(|path| std::fs::read_dir(path).unwrap())
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(name))
            .unwrap();
        let moved = aside.path().join("moved");
        std::fs::rename(&lost, &moved).unwrap();
        for _ in 0..2 {
            let error = Storage::open(directory.path()).map(|_| ()).unwrap_err();
            assert!(
                matches!(&error, StorageError::Incomplete { missing, .. } if *missing == lost),
                "{name}: {error}"
            );
        }
        std::fs::rename(&moved, &lost).unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let (database, ..) = default(&storage);
        assert_eq!(
            database.get(&users, &ada).unwrap().unwrap().body,
            body("1"),
            "nothing was touched"
        );
    }
}

#[test]
fn rejections_need_no_sync() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let (database, users, ada) = default(&storage);
    let (first, _) = database.put(&users, &ada, body("1"), Precondition::None).unwrap();
    let syncs = || storage.stats().unwrap().store.wal_syncs;
    let before = syncs();
    for _ in 0..10 {
        let again = database.put(&users, &ada, body("2"), Precondition::Absent);
        assert!(matches!(again, Err(Error::Rejected(_))));
    }
    assert_eq!(syncs(), before);
    let (second, _) = database.put(&users, &ada, body("3"), Precondition::None).unwrap();
    assert!(second > first);
    assert_eq!(syncs(), before + 1);
}
