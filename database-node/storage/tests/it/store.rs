//! What every store must do, over each of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pliantdb_core::Order;
use pliantdb_storage::encryption::SecretKey;
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{
    Batch, Counters, Cursor, Durability, EncryptedStore, Fault, KeyRange, MemoryStore, OrderedStore,
    RocksStore, Snapshot, StoreError,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn plan() -> MemoryPlan {
    MemoryPlan::for_limit(16 << 20)
}

/// What a store on RocksDB is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Database,
    State,
    Log,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Database, Self::State, Self::Log];

    /// Opens the store in `path`, or creates it.
    pub(crate) fn open(self, path: &Path) -> RocksStore {
        self.try_open(path).unwrap()
    }

    fn try_open(self, path: &Path) -> Result<RocksStore, StoreError> {
        match (self, path.join("CURRENT").exists()) {
            (Self::Database, true) => RocksStore::open(path, plan()),
            (Self::Database, false) => RocksStore::create(path, plan()),
            (Self::State, true) => RocksStore::open_state(path, plan()),
            (Self::State, false) => RocksStore::create_state(path, plan()),
            (Self::Log, true) => RocksStore::open_log(path, plan()),
            (Self::Log, false) => RocksStore::create_log(path, plan()),
        }
    }
}

pub(crate) fn rocks(path: &Path) -> RocksStore {
    Kind::Database.open(path)
}

pub(crate) fn encrypted<S: OrderedStore>(store: S) -> EncryptedStore<S> {
    EncryptedStore::open(store, SecretKey::generate().unwrap()).unwrap()
}

pub(crate) fn entries(snapshot: &impl Snapshot, range: KeyRange) -> Entries {
    let mut cursor = snapshot.scan(range, Order::Ascending).unwrap();
    let mut entries = Vec::new();
    while let Some((key, value)) = cursor.entry() {
        entries.push((key.to_vec(), value.to_vec()));
        cursor.advance().unwrap();
    }
    cursor.advance().unwrap();
    assert_eq!(cursor.entry(), None, "past the end it stays past the end");
    entries
}

pub(crate) fn everything(store: &impl OrderedStore) -> Entries {
    entries(&store.snapshot(), KeyRange::prefixed(b""))
}

fn put(pairs: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    batch
}

fn get(store: &impl OrderedStore, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key, <[u8]>::to_vec).unwrap()
}

fn conforms(store: &impl OrderedStore) {
    assert_eq!((get(store, b"a"), everything(store)), (None, vec![]));
    assert_eq!(store.durable(), 0);

    let first = store.write(
        &put(&[(b"b", b"2"), (b"a", b"1"), (b"a\0", b""), (b"\xff\xff", b"9")]),
        Durability::Buffered,
    );
    assert_eq!(first, Ok(1));
    assert_eq!(
        get(store, b"a"),
        Some(b"1".to_vec()),
        "a buffered write is visible"
    );
    assert_eq!(store.sync(), Ok(1));
    assert_eq!(store.durable(), 1);

    let before = store.snapshot();
    let mut batch = put(&[(b"a", b"x"), (b"c", b"3")]);
    batch.delete(*b"b");
    batch.delete(*b"not there");
    batch.put(*b"a", *b"y");
    batch.put(*b"d", *b"4");
    batch.delete(*b"d");
    assert_eq!(store.write(&batch, Durability::Synced), Ok(2));
    assert_eq!(store.durable(), 2);

    let keys = |entries: Entries| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(
        keys(entries(&before, KeyRange::prefixed(b""))),
        [&b"a"[..], b"a\0", b"b", b"\xff\xff"]
    );
    assert_eq!(keys(everything(store)), [&b"a"[..], b"a\0", b"c", b"\xff\xff"]);
    assert_eq!(get(store, b"a"), Some(b"y".to_vec()), "the last of a batch wins");
    assert_eq!(get(store, b"d"), None);

    let range = |start: &[u8], end: Option<&[u8]>| KeyRange {
        start: start.to_vec(),
        end: end.map(<[u8]>::to_vec),
    };
    for (start, end, expected) in [
        (&b"a"[..], Some(&b"a\0"[..]), &[&b"a"[..]][..]),
        (b"a\0", Some(b"c"), &[b"a\0"]),
        (b"b", None, &[b"c", b"\xff\xff"]),
        (b"c", Some(b"c"), &[]),
        (b"d", Some(b"a"), &[]),
        (b"d", Some(b"e"), &[]),
    ] {
        assert_eq!(
            keys(entries(&store.snapshot(), range(start, end))),
            expected,
            "{start:?} to {end:?}"
        );
    }
    assert_eq!(
        keys(entries(&store.snapshot(), KeyRange::prefixed(b"\xff"))),
        [b"\xff\xff"]
    );

    let large = vec![7; 3 << 20];
    store
        .write(
            &put(&[(b"large", &large), (b"", b"the empty key")]),
            Durability::Synced,
        )
        .unwrap();
    assert_eq!(get(store, b"large"), Some(large));
    assert_eq!(get(store, b""), Some(b"the empty key".to_vec()));
}

/// The keys `from..to` of two bytes, and one before and behind them that stays.
fn fill(store: &impl OrderedStore, from: u8, to: u8) {
    let mut batch = put(&[(b"k", b"before"), (b"l", b"behind")]);
    for n in from..to {
        batch.put([b'k', n], [n]);
    }
    store.write(&batch, Durability::Synced).unwrap();
}

fn keys_of(entries: Entries) -> Vec<Vec<u8>> {
    entries.into_iter().map(|(key, _)| key).collect()
}

fn deletes_ranges(store: &impl OrderedStore) {
    fill(store, 0, 100);
    let before = store.snapshot();
    let range = |start: &[u8], end: &[u8]| KeyRange {
        start: start.to_vec(),
        end: Some(end.to_vec()),
    };

    let mut batch = put(&[(b"k\x14", b"put before"), (b"k\x15", b"put before")]);
    batch.delete_range(range(b"k\x01", b"k\x62"));
    batch.put(*b"k\x15", *b"put after");
    batch.put(*b"k\x16", *b"deleted after");
    batch.delete(*b"k\x16");
    // Nothing lies in these.
    batch.delete_range(range(b"k", b"k"));
    batch.delete_range(range(b"l", b"k"));
    assert_eq!(store.write(&batch, Durability::Synced), Ok(2));
    let left = [&b"k"[..], b"k\0", b"k\x15", b"k\x62", b"k\x63", b"l"];
    assert_eq!(keys_of(everything(store)), left);
    assert_eq!(get(store, b"k\x15"), Some(b"put after".to_vec()));
    assert_eq!(get(store, b"k\x14"), None);
    assert_eq!(
        entries(&before, KeyRange::prefixed(b"")).len(),
        102,
        "a snapshot stays"
    );

    // A range that begins in the middle of a deleted one, and one within another of the same batch.
    fill(store, 10, 20);
    let mut batch = Batch::default();
    batch.delete_range(range(b"k\x0c", b"k\x80"));
    batch.put(*b"k\x0d", *b"again");
    batch.delete_range(range(b"k\x0e", b"k\x10"));
    store.write(&batch, Durability::Synced).unwrap();
    let left = [&b"k"[..], b"k\0", b"k\x0a", b"k\x0b", b"k\x0d", b"l"];
    assert_eq!(keys_of(everything(store)), left);

    // Without an end, over what the batch itself adds at the end too.
    let mut batch = put(&[(b"\xff\xff\xff", b"1")]);
    batch.delete_range(KeyRange {
        start: b"k\0".to_vec(),
        end: None,
    });
    batch.put(*b"z", *b"1");
    store.write(&batch, Durability::Synced).unwrap();
    assert_eq!(keys_of(everything(store)), [&b"k"[..], b"z"]);
    let mut batch = Batch::default();
    batch.delete_range(KeyRange::prefixed(b""));
    store.write(&batch, Durability::Synced).unwrap();
    assert_eq!(everything(store), []);
    // Behind everything that there is.
    let mut batch = Batch::default();
    batch.delete_range(KeyRange::prefixed(b"\xff"));
    store.write(&batch, Durability::Synced).unwrap();
    assert_eq!(everything(store), []);
}

#[test]
fn memory_conforms() {
    deletes_ranges(&MemoryStore::default());
    conforms(&MemoryStore::default());
}

#[test]
fn rocks_conforms() {
    for kind in Kind::ALL {
        let directory = tempfile::tempdir().unwrap();
        conforms(&kind.open(directory.path()));
        let directory = tempfile::tempdir().unwrap();
        deletes_ranges(&kind.open(directory.path()));
    }
}

#[test]
fn encrypted_stores_conform() {
    conforms(&EncryptedStore::plain(MemoryStore::default()));
    deletes_ranges(&EncryptedStore::plain(MemoryStore::default()));
    conforms(&encrypted(MemoryStore::default()));
    deletes_ranges(&encrypted(MemoryStore::default()));
    let directory = tempfile::tempdir().unwrap();
    conforms(&encrypted(rocks(directory.path())));
    let directory = tempfile::tempdir().unwrap();
    deletes_ranges(&encrypted(rocks(directory.path())));
}

/// `crash` gives the store as it is found afterwards.
fn loses_in_a_crash_what_was_not_synced<S: OrderedStore>(store: S, crash: impl Fn(S) -> S) {
    store.write(&put(&[(b"a", b"1")]), Durability::Buffered).unwrap();
    store.write(&put(&[(b"b", b"1")]), Durability::Synced).unwrap();
    store
        .write(&put(&[(b"c", b"1"), (b"a", b"2")]), Durability::Buffered)
        .unwrap();
    let store = crash(store);
    assert_eq!(
        everything(&store),
        [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]
    );
    assert_eq!(store.write(&put(&[]), Durability::Buffered), Ok(3));
}

#[test]
fn memory_loses_in_a_crash_what_was_not_synced() {
    let crash = |store: MemoryStore| {
        store.crash();
        store
    };
    loses_in_a_crash_what_was_not_synced(MemoryStore::default(), crash);
    let key = SecretKey::generate().unwrap();
    let open = |store| EncryptedStore::open(store, key.clone()).unwrap();
    loses_in_a_crash_what_was_not_synced(open(MemoryStore::default()), |store| {
        open(crash(store.into_inner()))
    });
}

/// What a disk had written by itself before the crash: the first of the batches, each whole.
#[test]
fn memory_keeps_in_a_crash_as_many_batches_as_it_is_told() {
    for kept in 0..=4 {
        let store = MemoryStore::default();
        store.write(&put(&[(b"a", b"0")]), Durability::Synced).unwrap();
        for n in 1..=3u8 {
            store
                .write(&put(&[(b"a", &[n]), (&[b'b', n], b"")]), Durability::Buffered)
                .unwrap();
        }
        let before = store.snapshot();
        store.crash_keeping(kept);
        let found = kept.min(3) as u8;
        assert_eq!(keys_of(everything(&store)).len(), 1 + usize::from(found));
        let last = if found == 0 { b'0' } else { found };
        assert_eq!(get(&store, b"a"), Some(vec![last]));
        let number = 1 + u64::from(found);
        assert_eq!(
            (store.written(), store.durable(), store.unsynced()),
            (number, number, 0)
        );
        store.crash();
        assert_eq!(
            get(&store, b"a"),
            Some(vec![last]),
            "what survived one crash survives the next"
        );
        assert_eq!(
            entries(&before, KeyRange::prefixed(b"")).len(),
            4,
            "a snapshot stays"
        );
    }
}

#[test]
fn memory_fails_as_it_is_told_and_counts() {
    let store = MemoryStore::default();
    let batch = put(&[(b"a1", b"1"), (b"b1", b"2")]);
    store.write(&batch, Durability::Buffered).unwrap();
    let snapshot = store.snapshot();
    store.set_fault(Fault::NoSpace);
    let full = |result| matches!(result, Err(StoreError::NoSpace(_)));
    assert!(full(store.write(&put(&[(b"c", b"3")]), Durability::Buffered)) && full(store.sync()));
    assert_eq!((store.written(), store.durable()), (1, 0));
    assert_eq!(everything(&store).len(), 2);
    store.set_fault(Fault::Corrupt {
        prefix: b"b".to_vec(),
    });
    let corrupt = |error| matches!(error, Some(StoreError::Corrupt(_)));
    assert_eq!(get(&store, b"a1"), Some(b"1".to_vec()));
    assert!(corrupt(store.get(b"b1", |_| ()).err()) && corrupt(snapshot.get(b"b1", |_| ()).err()));
    for (order, is_first) in [(Order::Ascending, false), (Order::Descending, true)] {
        match snapshot.scan(KeyRange::prefixed(b""), order) {
            Ok(mut cursor) => assert!(!is_first && corrupt(cursor.advance().err())),
            Err(error) => assert!(is_first && corrupt(Some(error))),
        }
    }
    store.set_fault(Fault::None);
    assert_eq!(store.sync(), Ok(1));
    let expected = Counters {
        reads: 2,
        batches: 1,
        bytes: 6,
        syncs: 1,
    };
    assert_eq!(store.counters(), expected);
}

/// A snapshot may outlive whoever opened the store.
#[test]
fn a_kept_snapshot_keeps_its_store_open() {
    fn check<S: OrderedStore>(store: S) {
        store
            .write(&put(&[(b"a", b"1"), (b"b", b"2")]), Durability::Buffered)
            .unwrap();
        let store = Arc::new(store);
        let kept = S::keep(Arc::clone(&store) as _);
        store
            .write(&put(&[(b"a", b"2"), (b"c", b"3")]), Durability::Buffered)
            .unwrap();
        drop(store);
        let found = std::thread::spawn(move || {
            (
                kept.get(b"a", <[u8]>::to_vec).unwrap(),
                keys_of(entries(&kept, KeyRange::prefixed(b""))),
            )
        });
        let (a, keys) = found.join().unwrap();
        assert_eq!(
            (a, keys),
            (Some(b"1".to_vec()), vec![b"a".to_vec(), b"b".to_vec()])
        );
    }
    check(MemoryStore::default());
    check(EncryptedStore::plain(MemoryStore::default()));
    check(encrypted(MemoryStore::default()));
    for kind in Kind::ALL {
        let directory = tempfile::tempdir().unwrap();
        check(kind.open(directory.path()));
        let directory = tempfile::tempdir().unwrap();
        check(encrypted(kind.open(directory.path())));
    }
}

#[test]
fn memory_takes_back_the_deletion_of_a_range_that_was_not_synced() {
    let store = MemoryStore::default();
    fill(&store, 0, 10);
    let mut batch = Batch::default();
    batch.delete_range(KeyRange::prefixed(b"k"));
    store.write(&batch, Durability::Buffered).unwrap();
    assert_eq!(keys_of(everything(&store)), [b"l"]);
    store.crash();
    assert_eq!(everything(&store).len(), 12);
    store.write(&batch, Durability::Synced).unwrap();
    store.crash();
    assert_eq!(keys_of(everything(&store)), [b"l"]);
}

/// From the log, and from tables.
#[test]
fn rocks_keeps_the_deletion_of_a_range() {
    for (flush, kind) in [false, true]
        .into_iter()
        .flat_map(|flush| Kind::ALL.map(|kind| (flush, kind)))
    {
        let directory = tempfile::tempdir().unwrap();
        let store = kind.open(directory.path());
        fill(&store, 0, 10);
        if flush {
            store.flush().unwrap();
        }
        let mut batch = Batch::default();
        batch.delete_range(KeyRange::prefixed(b"k"));
        batch.put(*b"k\x05", *b"later");
        store.write(&batch, Durability::Synced).unwrap();
        if flush {
            store.flush().unwrap();
        }
        drop(store);
        assert_eq!(
            keys_of(everything(&kind.open(directory.path()))),
            [&b"k\x05"[..], b"l"]
        );
    }
}

#[test]
fn rocks_keeps_what_was_synced() {
    for (kind, syncs_per_batch) in Kind::ALL.into_iter().zip([1, 0, 1]) {
        let directory = tempfile::tempdir().unwrap();
        let store = kind.open(directory.path());
        store.write(&put(&[(b"a", b"1")]), Durability::Synced).unwrap();
        let syncs = store.stats().wal_syncs;
        store.write(&put(&[(b"b", b"1")]), Durability::Synced).unwrap();
        assert_eq!(store.stats().wal_syncs, syncs + syncs_per_batch);
        drop(store);
        assert_eq!(everything(&kind.open(directory.path())).len(), 2);
    }
}

/// Its batches are safe when they are in tables.
#[test]
fn the_state_has_no_log_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = Kind::State.open(directory.path());
    let tables = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        names
            .filter(|name| name.to_str().is_some_and(|name| name.ends_with(".sst")))
            .count()
    };
    for n in 1..=3 {
        assert_eq!(
            store.write(&put(&[(b"a", &[n])]), Durability::Buffered),
            Ok(n.into())
        );
    }
    assert_eq!((store.written(), store.durable(), tables()), (3, 0, 0));
    assert_eq!(store.sync(), Ok(3));
    assert_eq!((store.durable(), tables()), (3, 1));
    store.write(&put(&[(b"b", b"1")]), Durability::Buffered).unwrap();
    assert_eq!((store.written(), store.durable()), (4, 3));
    assert_eq!(store.stats().wal_bytes, 0);
    let logs: u64 = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(logs, 0);
}

#[test]
fn rocks_names_damage_in_a_table_and_in_the_log() {
    let cases = [
        ("sst", true, Kind::Database),
        ("log", false, Kind::Database),
        ("sst", true, Kind::State),
        ("sst", true, Kind::Log),
        ("log", false, Kind::Log),
    ];
    for (extension, flush, kind) in cases {
        let directory = tempfile::tempdir().unwrap();
        let store = kind.open(directory.path());
        for n in 0..200u32 {
            store
                .write(&put(&[(&n.to_be_bytes(), &[b'x'; 500])]), Durability::Buffered)
                .unwrap();
        }
        store.sync().unwrap();
        if flush {
            store.flush().unwrap();
        }
        drop(store);
        let largest = largest(directory.path(), extension);
        let mut bytes = std::fs::read(&largest).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0x40;
        std::fs::write(&largest, bytes).unwrap();

        let error = kind
            .try_open(directory.path())
            .map(|store| (0..200u32).find_map(|n| store.get(&n.to_be_bytes(), |_| ()).err()));
        let error = match error {
            Ok(found) => found.expect("reading a damaged block fails"),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Corrupt(_)), "{extension}: {error}");
    }
}

pub(crate) fn largest(directory: &std::path::Path, extension: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == extension));
    files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..4)
}

/// A change to make.
#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(KeyRange),
}

fn batch() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(key, value)| Change::Put(key, value)),
        1 => key().prop_map(Change::Delete),
        1 => (key(), prop::option::of(key())).prop_map(|(start, end)| Change::DeleteRange(KeyRange { start, end })),
    ];
    prop::collection::vec(change, 0..6)
}

fn behaves_like_a_map(
    store: &impl OrderedStore,
    batches: &[Vec<Change>],
    ranges: &[(Vec<u8>, Option<Vec<u8>>)],
) {
    let mut model = BTreeMap::new();
    for changes in batches {
        let mut batch = Batch::default();
        for change in changes {
            match change.clone() {
                Change::Put(key, value) => {
                    batch.put(key.clone(), value.clone());
                    model.insert(key, value);
                }
                Change::Delete(key) => {
                    batch.delete(key.clone());
                    model.remove(&key);
                }
                Change::DeleteRange(KeyRange { start, end }) => {
                    batch.delete_range(KeyRange {
                        start: start.clone(),
                        end: end.clone(),
                    });
                    model.retain(|key, _| *key < start || end.as_ref().is_some_and(|end| *key >= *end));
                }
            }
        }
        store.write(&batch, Durability::Buffered).unwrap();
    }
    let snapshot = store.snapshot();
    for (start, end) in ranges {
        let expected = model
            .iter()
            .filter(|(key, _)| *key >= start && end.as_ref().is_none_or(|end| *key < end))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Entries>();
        assert_eq!(
            entries(
                &snapshot,
                KeyRange {
                    start: start.clone(),
                    end: end.clone()
                }
            ),
            expected
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_behave_like_a_map(
        batches in prop::collection::vec(batch(), 0..12),
        ranges in prop::collection::vec((key(), prop::option::of(key())), 1..6),
    ) {
        behaves_like_a_map(&MemoryStore::default(), &batches, &ranges);
        for kind in Kind::ALL {
            let directory = tempfile::tempdir().unwrap();
            behaves_like_a_map(&kind.open(directory.path()), &batches, &ranges);
        }
        behaves_like_a_map(&encrypted(MemoryStore::default()), &batches, &ranges);
        let directory = tempfile::tempdir().unwrap();
        behaves_like_a_map(&encrypted(rocks(directory.path())), &batches, &ranges);
    }
}

/// What is in memory is read without a disk; what is not is an error, and not nothing.
#[test]
fn a_cached_snapshot_reads_what_is_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = rocks(directory.path());
    store.write(&put(&[(b"a", b"1")]), Durability::Synced).unwrap();
    let read = |store: &RocksStore| {
        let snapshot = store.snapshot_cached();
        let all = KeyRange::prefixed(b"");
        let first = snapshot.scan(all, Order::Ascending).map(|cursor| {
            let entry = cursor.entry();
            entry.map(|(key, value)| (key.to_vec(), value.to_vec()))
        });
        (snapshot.get(b"a", <[u8]>::to_vec), first)
    };
    let found = (Ok(Some(b"1".to_vec())), Ok(Some((b"a".to_vec(), b"1".to_vec()))));
    assert_eq!(read(&store), found, "from the memtable");
    store.flush().unwrap();
    drop(store);
    let store = rocks(directory.path());
    let (got, scanned) = read(&store);
    assert!(got.is_err() && scanned.is_err(), "{got:?} {scanned:?}");
    assert_eq!(everything(&store).len(), 1);
    assert_eq!(read(&store), found, "from the block cache");
}
