//! Logs as a power failure leaves them, and logs that the disk has damaged: the ones come up again with everything
//! that was acknowledged, the others are an error; docs/decisions/0006-torn-log.md.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pliantdb_core::{Body, DatabaseName, Precondition};
use pliantdb_storage::Storage;
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{Batch, Durability, OrderedStore, RocksStore, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::store::{Entries, everything, largest};

/// Which log is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Database,
    /// Of consensus groups, in a new file.
    Log,
    /// The same, in a file that was another log before.
    Recycled,
}

/// A log as it is on the disk after some writes, of which the last may not have been acknowledged.
struct Written {
    of: Use,
    directory: TempDir,
    path: PathBuf,
    /// After each batch: the length of the log, what the store holds, and the file SYNCED.
    after: Vec<(usize, Entries, Vec<u8>)>,
    durabilities: Vec<Durability>,
    /// The log after each batch, if it does not only grow.
    logs: Vec<Vec<u8>>,
    log: Vec<u8>,
}

impl Written {
    /// Batches of these sizes; the first is always synced.
    fn new(of: Use, batches: &[(usize, bool)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = match of {
            Use::Database => RocksStore::create(directory.path(), plan()).unwrap(),
            Use::Log => RocksStore::create_log(directory.path(), plan()).unwrap(),
            Use::Recycled => RocksStore::create_log(directory.path(), small()).unwrap(),
        };
        if of == Use::Recycled {
            use_up_a_log(&store, directory.path());
        }
        let path = newest_log(directory.path());
        let (mut after, mut durabilities, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for (n, (size, is_synced)) in batches.iter().enumerate() {
            let mut batch = Batch::default();
            batch.put(format!("{n:04}-first"), filler(n, *size));
            batch.put(format!("{n:04}-last"), filler(n + 1000, size / 2));
            let durability = match *is_synced || n == 0 {
                true => Durability::Synced,
                false => Durability::Buffered,
            };
            store.write(&batch, durability).unwrap();
            let length = match of {
                Use::Recycled => {
                    logs.push(fs::read(&path).unwrap());
                    end_of_log(&logs[n], &path)
                }
                Use::Database | Use::Log => usize::try_from(fs::metadata(&path).unwrap().len()).unwrap(),
            };
            let synced = fs::read(directory.path().join("SYNCED")).unwrap();
            after.push((length, everything(&store), synced));
            durabilities.push(durability);
        }
        assert_eq!(newest_log(directory.path()), path, "all is in one log");
        drop(store);
        let log = match of {
            Use::Recycled => logs[batches.len() - 1].clone(),
            Use::Database | Use::Log => fs::read(&path).unwrap(),
        };
        Self {
            of,
            directory,
            path,
            after,
            durabilities,
            logs,
            log,
        }
    }

    /// Goes back to the moment when the batch of that number was written and not acknowledged; returns the last
    /// that was.
    fn crash_in(&mut self, batch: usize) -> usize {
        let acknowledged = (0..batch)
            .rev()
            .find(|n| self.durabilities[*n] == Durability::Synced);
        let acknowledged = acknowledged.expect("the first is synced");
        match self.of {
            Use::Recycled => self.log.clone_from(&self.logs[batch]),
            Use::Database | Use::Log => self.log.truncate(self.after[batch].0),
        }
        self.set_synced(Some(acknowledged));
        self.after.truncate(batch + 1);
        acknowledged
    }

    /// SYNCED as it was after that batch.
    fn set_synced(&self, batch: Option<usize>) {
        let path = self.directory.path().join("SYNCED");
        match batch {
            Some(batch) => fs::write(path, &self.after[batch].2).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    fn open(&self) -> Result<RocksStore, StoreError> {
        fs::write(&self.path, &self.log).unwrap();
        self.open_again()
    }

    fn open_again(&self) -> Result<RocksStore, StoreError> {
        match self.of {
            Use::Database => RocksStore::open(self.directory.path(), plan()),
            Use::Log | Use::Recycled => RocksStore::open_log(self.directory.path(), plan()),
        }
    }

    /// How many batches the store holds: all of the first ones, whole and right.
    fn held(&self, store: &RocksStore) -> usize {
        let found = everything(store);
        if found.is_empty() {
            return 0;
        }
        let held = self.after.iter().position(|(_, entries, _)| *entries == found);
        held.expect("batches are whole, right, and the first ones") + 1
    }
}

/// Enough that nothing is flushed, so all is in one log.
fn plan() -> MemoryPlan {
    MemoryPlan::for_limit(1 << 30)
}

/// Enough for one test, and soon used up.
fn small() -> MemoryPlan {
    MemoryPlan {
        write_buffer: 5 << 20,
        ..plan()
    }
}

fn log(directory: &TempDir) -> PathBuf {
    largest(directory.path(), "log")
}

fn number(log: &Path) -> u32 {
    log.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn newest_log(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|log| number(log)).unwrap()
}

/// Writes until the newest log lies in a file that was another log before, full of what was there then.
fn use_up_a_log(store: &RocksStore, directory: &Path) {
    let mut log = newest_log(directory);
    for n in 0..10_000 {
        let mut batch = Batch::default();
        // Gone again, so that the store is empty.
        batch.put(*b"filler", filler(n, 3000 + n % 7 * 10_000));
        batch.delete(*b"filler");
        store.write(&batch, Durability::Buffered).unwrap();
        let newest = newest_log(directory);
        if newest != log {
            log = newest;
            // Of a new file, what was written is all.
            if fs::metadata(&log).unwrap().len() > 4 << 20 {
                store.sync().unwrap();
                return;
            }
        }
    }
    panic!("no log was recycled");
}

/// Where the log ends in a file that has had another.
fn end_of_log(bytes: &[u8], log: &Path) -> usize {
    let number = number(log).to_le_bytes();
    let mut at = 0;
    loop {
        let left = 32_768 - at % 32_768;
        let start = if left < 11 { at + left } else { at };
        let is_own = bytes.len() >= start + 11
            && matches!(bytes[start + 6], 5..=8)
            && bytes[start + 7..start + 11] == number;
        if !is_own {
            return at;
        }
        at = start + 11 + usize::from(u16::from_le_bytes([bytes[start + 4], bytes[start + 5]]));
    }
}

fn any_use() -> impl Strategy<Value = Use> {
    prop_oneof![Just(Use::Database), Just(Use::Log), Just(Use::Recycled)]
}

/// Not compressible, and different for every batch.
fn filler(n: usize, size: usize) -> Vec<u8> {
    let mut state = n as u64 + 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes
}

/// What happens to a part of a log. Places are fractions of the part.
#[derive(Debug, Clone)]
enum Damage {
    Cut(f64),
    Zeroed(f64, usize),
    /// Pages as they were in an earlier use: what lies so many bytes before.
    Stale(f64, usize, usize),
    Flipped(f64, u8),
    Random(f64, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = || prop_oneof![Just(1usize), Just(512), Just(4096), Just(32768), 1..100_000usize];
    prop_oneof![
        3 => (0.0..1.0).prop_map(Damage::Cut),
        3 => (0.0..1.0, length()).prop_map(|(at, length)| Damage::Zeroed(at, length)),
        3 => (0.0..1.0, length(), prop_oneof![Just(4096usize), Just(32768), Just(65536), 1..100_000usize])
            .prop_map(|(at, length, before)| Damage::Stale(at, length, before)),
        3 => (0.0..1.0, 0..8u8).prop_map(|(at, bit)| Damage::Flipped(at, bit)),
        1 => (0.0..1.0, prop::collection::vec(any::<u8>(), 1..300)).prop_map(|(at, bytes)| Damage::Random(at, bytes)),
    ]
}

impl Damage {
    /// Where, in whole pages of the disk for what comes in pages.
    fn place(at: f64, part: &Range<usize>, length: usize, page: usize) -> Range<usize> {
        let start = part.start + (at * part.len() as f64) as usize;
        let aligned = if length >= page {
            start / page * page
        } else {
            start
        };
        aligned.max(part.start)..(aligned.max(part.start) + length).min(part.end)
    }

    fn apply(&self, log: &mut Vec<u8>, part: &Range<usize>) {
        let part = part.start.min(log.len())..part.end.min(log.len());
        if part.is_empty() {
            return;
        }
        match self {
            Self::Cut(at) => log.truncate(Self::place(*at, &part, 1, 2).start),
            Self::Zeroed(at, length) => log[Self::place(*at, &part, *length, 512)].fill(0),
            Self::Stale(at, length, before) => {
                let place = Self::place(*at, &part, *length, 512);
                for at in place {
                    log[at] = at.checked_sub(*before).map_or(0, |from| log[from]);
                }
            }
            Self::Flipped(at, bit) => log[Self::place(*at, &part, 1, 2).start] ^= 1 << bit,
            Self::Random(at, bytes) => {
                let place = Self::place(*at, &part, bytes.len(), 512);
                log[place.clone()].copy_from_slice(&bytes[..place.len()]);
            }
        }
    }
}

fn batches() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let size = prop_oneof![6 => 0..2000usize, 2 => 10_000..70_000usize, 1 => 70_000..200_000usize];
    prop::collection::vec((size, prop::bool::weighted(0.7)), 2..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a power failure makes of the bytes that were not synced, the store opens with all that was.
    #[test]
    fn a_torn_end_costs_nothing_acknowledged(
        of in any_use(),
        batches in batches(),
        crash in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 0..4),
        known in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut written = Written::new(of, &batches);
        let last = 1 + crash.index(batches.len() - 1);
        let acknowledged = written.crash_in(last);
        // After a power failure SYNCED may be as old as it likes.
        written.set_synced(known.map(|known| known.index(acknowledged + 1)));
        let torn = written.after[acknowledged].0..written.after[last].0;
        for damage in &damages {
            damage.apply(&mut written.log, &torn);
        }
        let store = written.open().unwrap();
        let held = written.held(&store);
        prop_assert!(held > acknowledged, "{} of {}", held, acknowledged + 1);
        let is_left = held <= last && written.log.len() > written.after[held - 1].0;
        // Behind the end of a recycled log there is always something.
        if is_left && (of != Use::Recycled || !store.torn().is_empty()) {
            prop_assert_eq!(store.torn().len(), 1);
            let torn = &store.torn()[0];
            let kept = fs::read(&torn.kept).unwrap();
            prop_assert!(written.log.ends_with(&kept) && torn.length == kept.len() as u64 && !kept.is_empty());
        }
        // It goes on, and what is written now is there the next time.
        let mut batch = Batch::default();
        batch.put(*b"after", *b"the crash");
        store.write(&batch, Durability::Synced).unwrap();
        let after = everything(&store);
        drop(store);
        let store = written.open_again().unwrap();
        prop_assert!(everything(&store) == after && store.torn().is_empty());
    }

    /// Damage to what was acknowledged is an error, or does no harm.
    #[test]
    fn damage_is_never_silent(
        of in any_use(),
        batches in batches(),
        damages in prop::collection::vec(damage(), 1..3),
    ) {
        let mut written = Written::new(of, &batches);
        let acknowledged = written.durabilities.iter().rposition(|d| *d == Durability::Synced).unwrap();
        let part = 0..written.after[acknowledged].0;
        for damage in &damages {
            damage.apply(&mut written.log, &part);
        }
        match written.open() {
            Ok(store) => prop_assert!(written.held(&store) > acknowledged),
            Err(error) => prop_assert!(matches!(error, StoreError::Corrupt(_)), "{}", error),
        }
    }

    /// Without SYNCED the last writes of a log, if none behind them is intact, cannot be told from torn ones: what is
    /// cut off is told and kept. Where one behind is intact it is an error. What was cut off between two writes leaves
    /// no trace.
    #[test]
    fn damage_is_never_silent_without_the_file(
        of in any_use(),
        batches in batches(),
        damage in damage().prop_filter("leaves a trace", |damage| !matches!(damage, Damage::Cut(_))),
    ) {
        let batches = batches.iter().map(|(size, _)| (*size, true)).collect::<Vec<_>>();
        let mut written = Written::new(of, &batches);
        let part = 0..written.log.len();
        damage.apply(&mut written.log, &part);
        written.set_synced(None);
        match written.open() {
            Ok(store) => {
                let held = written.held(&store);
                // Behind the end of a recycled log there is always something, which is kept, but nobody is told.
                let is_told = match of {
                    Use::Recycled => written.directory.path().join("torn").exists(),
                    Use::Database | Use::Log => store.torn().len() == 1,
                };
                prop_assert!(held == batches.len() || is_told);
                let is_small = matches!(damage, Damage::Flipped(..) | Damage::Zeroed(_, 1) | Damage::Stale(_, 1, _));
                prop_assert!(!is_small || held >= batches.len() - 1, "only the last can be taken for torn");
            }
            Err(error) => prop_assert!(matches!(error, StoreError::Corrupt(_)), "{}", error),
        }
    }
}

/// A page in the middle of a large last write never came to the disk, though its end did.
#[test]
fn a_hole_in_the_last_write_is_cut_off_and_kept() {
    let mut written = Written::new(Use::Database, &[(10, true), (300_000, true)]);
    written.crash_in(1);
    written.log[100_000..104_096].fill(0);
    let store = written.open().unwrap();
    assert_eq!(written.held(&store), 1);
    let [torn] = store.torn() else {
        panic!("{:?}", store.torn())
    };
    assert_eq!(torn.from, written.after[0].0 as u64);
    assert_eq!(fs::read(&torn.kept).unwrap(), written.log[written.after[0].0..]);
}

/// The same, but the write was acknowledged.
#[test]
fn a_hole_in_an_acknowledged_write_is_an_error_and_nothing_is_dropped() {
    let mut written = Written::new(Use::Database, &[(10, true), (300_000, true)]);
    written.log[100_000..104_096].fill(0);
    for _ in 0..2 {
        let error = written.open().map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        let log = log(&written.directory);
        for part in [log.to_str().unwrap(), "acknowledged", "backup"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(fs::read(log).unwrap() == written.log, "nothing was dropped");
    }
    assert!(!written.directory.path().join("torn").exists());
}

/// RocksDB itself skips a block of zeroes without a word, and the writes in it, if no record spans its borders.
#[test]
fn a_zeroed_block_is_an_error() {
    let write = |directory: &TempDir, sizes: &[usize]| {
        let store = RocksStore::create(directory.path(), plan()).unwrap();
        for (n, size) in sizes.iter().enumerate() {
            let mut batch = Batch::default();
            batch.put([n as u8], vec![b'x'; *size]);
            store.write(&batch, Durability::Synced).unwrap();
        }
        fs::read(log(directory)).unwrap()
    };
    let overhead = write(&tempfile::tempdir().unwrap(), &[30_000]).len() - 30_000;
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = write(&directory, &[32_768 - overhead; 4]);
    assert_eq!(bytes.len(), 4 * 32_768, "each write is one block");
    bytes[32_768..65_536].fill(0);
    fs::write(log(&directory), bytes).unwrap();
    fs::remove_file(directory.path().join("SYNCED")).unwrap();
    let error = RocksStore::open(directory.path(), plan())
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

/// A log that lost its end, or is gone, is shorter than what was acknowledged.
#[test]
fn a_log_cut_between_two_writes_is_an_error() {
    let mut written = Written::new(Use::Database, &[(100, true); 5]);
    written.log.truncate(written.after[2].0);
    for _ in 0..2 {
        let error = written.open().map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

/// A write that was not synced lies before one that is whole, and both were torn by the same power failure.
#[test]
fn writes_that_wait_for_a_sync_are_torn_together() {
    let mut written = Written::new(Use::Database, &[(100, true), (5000, false), (100, true)]);
    assert_eq!(written.crash_in(2), 0);
    written.log[written.after[0].0..][..4096].fill(0);
    let store = written.open().unwrap();
    assert_eq!((written.held(&store), store.torn().len()), (1, 1));
}

/// A process that was killed while it opened a torn log.
#[test]
fn an_interrupted_cut_is_done_again() {
    let mut written = Written::new(Use::Database, &[(100, true), (300_000, true)]);
    written.crash_in(1);
    written.log.truncate(200_000);
    let torn = written.directory.path().join("torn");
    fs::create_dir(&torn).unwrap();
    fs::write(
        torn.join(kept_name(&log(&written.directory), written.after[0].0)),
        "half",
    )
    .unwrap();
    let store = written.open().unwrap();
    assert_eq!(
        fs::read(&store.torn()[0].kept).unwrap(),
        written.log[written.after[0].0..]
    );
}

fn kept_name(log: &Path, from: usize) -> String {
    format!("{}-{from}", log.file_stem().unwrap().to_str().unwrap())
}

/// Only the newest of what was torn is kept, and nothing else that lies there is touched.
#[test]
fn what_was_torn_long_ago_is_removed() {
    let mut written = Written::new(Use::Database, &[(100, true), (300_000, true)]);
    written.crash_in(1);
    written.log.truncate(200_000);
    let torn = written.directory.path().join("torn");
    fs::create_dir(&torn).unwrap();
    let newest = kept_name(&log(&written.directory), written.after[0].0);
    for old in ["000000-5", "000000-10", "000001-0", "000001-7", "a note"] {
        fs::write(torn.join(old), "old").unwrap();
    }
    for before in 1..=6 {
        fs::write(torn.join(format!("000002-{before}")), "old").unwrap();
    }
    let store = written.open().unwrap();
    assert_eq!(
        fs::read(&store.torn()[0].kept).unwrap(),
        written.log[written.after[0].0..]
    );
    let pieces = fs::read_dir(&torn)
        .unwrap()
        .map(|piece| piece.unwrap().file_name());
    let mut kept: Vec<_> = pieces.map(|name| name.into_string().unwrap()).collect();
    kept.sort();
    let mut expected: Vec<_> = (1..=6).map(|before| format!("000002-{before}")).collect();
    expected.extend(["000001-7".to_owned(), newest, "a note".to_owned()]);
    expected.sort();
    assert_eq!(kept, expected);
}

/// Room that was taken for the log and never written.
#[test]
fn zeroes_behind_the_last_write_do_no_harm() {
    for length in [1, 6, 7, 5000, 100_000] {
        let mut written = Written::new(Use::Database, &[(500, true); 20]);
        written.log.extend(vec![0; length]);
        let store = written.open().unwrap();
        assert_eq!(written.held(&store), 20, "{length} zeroes");
    }
}

/// Whoever opens a storage is told.
#[test]
fn a_storage_tells_what_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let storage = Storage::open(directory.path()).unwrap();
        let database = storage.get(&DatabaseName::default_database()).unwrap();
        (storage, database)
    };
    let (collection, id) = ("c".parse().unwrap(), "1".parse().unwrap());
    let body = Body::parse(b"1".to_vec()).unwrap();
    let (storage, database) = open();
    assert_eq!(storage.torn_logs(), []);
    database.put(&collection, &id, body, Precondition::None).unwrap();
    drop((storage, database));
    let log = largest(&directory.path().join("state"), "log");
    let mut bytes = fs::read(&log).unwrap();
    let whole = bytes.len() as u64;
    bytes.extend_from_within(..100);
    fs::write(&log, bytes).unwrap();
    let (storage, database) = open();
    let [torn] = storage.torn_logs() else {
        panic!("{:?}", storage.torn_logs())
    };
    assert_eq!((torn.from, torn.length), (whole, 100));
    assert!(database.get(&collection, &id).unwrap().is_some());
}
