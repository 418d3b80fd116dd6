//! A disk that is really full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pliantdb_core::{
    Body, CollectionName, Connection, DatabaseName, DocumentId, FeedStart, Freshness, Number, Precondition,
    StorageConnection, TakeSnapshot, Transaction,
};
use pliantdb_storage::store::{Batch, Durability, OrderedStore, StoreError};
use pliantdb_storage::{Database, Error, Storage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::features_model::{ByGroups, ByWeight, Item, Stock};
use crate::store::Kind;

/// A small file system; gone when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// `None` without the right to mount.
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => None,
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn open(path: &Path) -> (Storage, Database) {
    let storage = Storage::open(path).unwrap();
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    (storage, database)
}

/// With default settings: writes are refused in time, the directory opens again as a crash leaves it, everything
/// acknowledged is there, deletes are taken, and after them writes are.
#[test]
fn starts_deletes_and_recovers() {
    let Some(disk) = Mounted::new("300m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here (that takes root)");
        return;
    };
    let collection: CollectionName = "c".parse().unwrap();
    for megabytes in [10, 1] {
        let data = disk.path().join(megabytes.to_string());
        let id = |n: usize| -> DocumentId { n.to_string().parse().unwrap() };
        // Not compressible: digits of a simple generator.
        let body = |n: usize| {
            let mut text = String::from("\"");
            let mut state = n as u64 + 1;
            while text.len() < megabytes << 20 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{:016x}", state ^ (state >> 29)));
            }
            text.push('"');
            Body::parse(text.into_bytes()).unwrap()
        };
        let (storage, database) = open(&data);
        let mut written = 0;
        let error = loop {
            match database.put(&collection, &id(written), body(written), Precondition::None) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
        assert!(written * megabytes > 80, "{written} of {megabytes} MiB");
        // Dropped without a flush, as a crash would.
        drop((storage, database));
        let (storage, database) = open(&data);
        for n in 0..written {
            assert!(
                database.get(&collection, &id(n)).unwrap().unwrap().body == body(n),
                "{n}"
            );
            database.delete(&collection, &id(n), Precondition::None).unwrap();
        }
        let start = Instant::now();
        while let Err(error) = database.put(&collection, &id(0), body(0), Precondition::None) {
            assert!(matches!(error, Error::DiskFull(_)), "{error}");
            assert!(start.elapsed() < Duration::from_secs(30), "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        drop((storage, database));
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// Transactions and keys are refused whole, reads of every kind go on, and when there is room again so do writes.
#[test]
fn refuses_every_write_and_answers_every_read() {
    let Some(disk) = Mounted::new("300m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here (that takes root)");
        return;
    };
    let data = disk.path().join("data");
    let item = |n: u32| Item {
        groups: vec![["even", "odd"][n as usize % 2].to_owned()],
        weight: n,
        name: n.to_string(),
    };
    let open = || {
        let storage = Storage::open(&data).unwrap();
        let database = storage.database::<Stock>("default").unwrap();
        (storage, database)
    };
    let (storage, database) = open();
    for n in 0..50 {
        database
            .collection::<Item>()
            .overwrite(&u64::from(n), item(n))
            .unwrap();
        if n == 48 {
            assert_eq!(database.view::<ByGroups>().reduce(), Ok(49));
        }
    }
    database.key_value("n").increment("k", 5).unwrap();

    // All but a little, so that nothing but the reserve keeps the disk from being full.
    let ballast = disk.path().join("ballast");
    let free = usize::try_from(storage.stats().unwrap().disk_free).unwrap();
    std::fs::write(&ballast, vec![1; free - (2 << 20)]).unwrap();

    let is_full =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::DiskFull(_))), "{result:?}");
    let refuses_and_reads = |storage: &Storage, database: &Database| {
        let transaction = Transaction::new()
            .delete_by_id::<Item>(&1)
            .overwrite(&2, &item(2000))
            .overwrite(&100, &item(100));
        is_full(transaction.apply(database).map(drop));
        is_full(database.key_value("n").increment("k", 1).map(drop));
        is_full(database.key_value("n").set("other", &1).map(drop));
        is_full(storage.create_database::<Stock>("other").map(drop));
        assert!(storage.writable().is_err());

        let items = database.collection::<Item>();
        let found = items.list().all().unwrap().into_iter().map(|item| item.contents);
        assert_eq!(found.collect::<Vec<_>>(), (0..50).map(item).collect::<Vec<_>>());
        let odd = "odd".to_owned();
        let lazy = || database.view::<ByGroups>().key(&odd);
        assert_eq!(
            lazy().freshness(Freshness::Stale).reduce(),
            Ok(24),
            "as it was when it was last asked"
        );
        // It is behind by a write, and there is no room to store that it caught up.
        assert_eq!(lazy().reduce(), Ok(25));
        assert_eq!(lazy().query_with_documents().unwrap().len(), 25);
        let groups = database.view::<ByGroups>().reduce_grouped().unwrap();
        assert_eq!(groups, [("even".to_owned(), 25), ("odd".to_owned(), 25)]);
        let snapshot = database.snapshot().unwrap();
        assert_eq!(snapshot.view::<ByGroups>().reduce(), Ok(50));
        assert_eq!(
            database.view::<ByWeight>().key_range(40..).reduce(),
            Ok((40..50).sum())
        );
        assert_eq!(database.key_value("n").get::<i64>("k"), Ok(Some(5)));
        let page = database.changes(FeedStart::Oldest, 100, Duration::ZERO).unwrap();
        assert_eq!(page.transactions.len(), 50);
        assert_eq!(storage.names().len(), 1);
    };
    refuses_and_reads(&storage, &database);
    // It opens as a crash leaves it, and is no different then.
    drop((storage, database));
    let (storage, database) = open();
    refuses_and_reads(&storage, &database);

    std::fs::remove_file(ballast).unwrap();
    let start = Instant::now();
    while let Err(error) = database.key_value("n").increment("k", 1) {
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30), "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Transaction::new()
        .delete_by_id::<Item>(&1)
        .overwrite(&100, &item(100))
        .apply(&database)
        .unwrap();
    assert_eq!(database.key_value("n").increment("k", 1), Ok(Number::from(7)));
    assert_eq!(database.view::<ByGroups>().reduce(), Ok(50));
}

/// The stores of a cluster's node: writes are refused while the disk is full, reads go on, and when there is room again
/// writes do, without anybody doing anything. Nothing that was synced is lost.
#[test]
fn stores_of_groups_recover() {
    for kind in [Kind::State, Kind::Log] {
        let Some(disk) = Mounted::new("64m") else {
            eprintln!("skipped: a tmpfs cannot be mounted here (that takes root)");
            return;
        };
        let (path, filler) = (disk.path().join("store"), disk.path().join("filler"));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(&filler, vec![0; 32 << 20]).unwrap();
        let store = kind.open(&path);
        let mut random = StdRng::seed_from_u64(7);
        let mut written = 0u32;
        // Not compressible.
        let mut write = |number: u32| {
            let mut value = vec![0; 100_000];
            random.fill(&mut value[..]);
            let mut batch = Batch::default();
            batch.put(number.to_be_bytes(), value);
            store.write(&batch, Durability::Buffered)?;
            // The first is safe.
            if number == 0 { store.sync() } else { Ok(0) }
        };
        let error = loop {
            match write(written) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 1000, "{kind:?} takes more than there is room for");
        };
        assert!(matches!(error, StoreError::NoSpace(_)), "{kind:?}: {error}");
        assert!(store.get(&0u32.to_be_bytes(), |_| ()).unwrap().is_some());
        std::fs::remove_file(&filler).unwrap();
        let start = Instant::now();
        while let Err(error) = write(written) {
            assert!(matches!(error, StoreError::NoSpace(_)), "{kind:?}: {error}");
            assert!(start.elapsed() < Duration::from_secs(20), "{kind:?}: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        store.sync().unwrap();
        eprintln!("{kind:?} took writes again after {:?}", start.elapsed());
        drop(store);
        let store = kind.open(&path);
        for number in 0..=written {
            assert!(
                store.get(&number.to_be_bytes(), |_| ()).unwrap().is_some(),
                "{kind:?}: {number}"
            );
        }
    }
}
