//! The store on RocksDB.

mod options;
mod snapshot;

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use options::{Kind, create, open, options};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, DB, ErrorKind, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions, properties};
pub use snapshot::{KeptRocksSnapshot, RocksSnapshot};

use super::wal::{self, SyncedFile, TornLog};
use super::{Batch, BatchNumber, Change, Durability, Holds, OrderedStore, StoreError};
use crate::memory::MemoryPlan;

/// An [`OrderedStore`] in a directory, on RocksDB.
///
/// There are three kinds, which differ in what makes a batch safe, and in nothing that is read:
/// - [`RocksStore::create`], [`RocksStore::open`]: everything of an embedded database, with a write-ahead log.
/// - [`RocksStore::create_state`], [`RocksStore::open_state`]: what the logs of consensus groups have changed. It has no
///   log of its own: batches are in memory until a sync, or RocksDB by itself, writes them to tables, in their order.
/// - [`RocksStore::create_log`], [`RocksStore::open_log`]: those logs. It has a write-ahead log, and little memory.
pub struct RocksStore {
    db: DB,
    kind: Kind,
    cache: Cache,
    /// How to read, and how to read what needs no disk: made once, for making them costs a tenth of a read.
    reading: ReadOptions,
    reading_cached: ReadOptions,
    /// The number of the last batch; locked while one is written, so numbers follow the log's order.
    written: Mutex<BatchNumber>,
    durable: AtomicU64,
    /// Up to which sequence number of RocksDB's the log is synced, and the file that says so.
    synced: AtomicU64,
    /// `None` when it is open for reading only.
    synced_file: Option<SyncedFile>,
    /// Counted here, for RocksDB's own statistics cost a fifth of a read.
    wal_syncs: AtomicU64,
    wal_bytes: AtomicU64,
    torn: Vec<TornLog>,
    /// Last, so that it is held until RocksDB is closed.
    held: Option<Arc<dyn Any + Send + Sync>>,
}

/// Sizes and counters of a [`RocksStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksStats {
    /// Bytes in table files.
    pub table_bytes: u64,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes in the block cache, memtables included.
    pub cache_bytes: u64,
    /// About how many keys there are.
    pub estimated_keys: u64,
    /// Times the write-ahead log was synced to disk since the store was opened.
    pub wal_syncs: u64,
    /// Bytes written to the write-ahead log since the store was opened.
    pub wal_bytes: u64,
    /// Failed flushes and compactions since the store was opened.
    pub background_errors: u64,
    /// About how many bytes compactions have yet to rewrite.
    pub pending_compaction_bytes: u64,
    /// Compactions that run.
    pub running_compactions: u64,
    /// Snapshots that somebody reads from.
    pub snapshots: u64,
    /// Flushes that run.
    pub running_flushes: u64,
    /// Whether no writes are taken until a compaction or flush has ended.
    pub is_stalled: bool,
}

impl RocksStats {
    /// Of a node's two stores together: these are of its state, those of its logs, whose keys do not count.
    #[must_use]
    pub(crate) fn with_logs(self, logs: Self) -> Self {
        Self {
            table_bytes: self.table_bytes + logs.table_bytes,
            memtable_bytes: self.memtable_bytes + logs.memtable_bytes,
            cache_bytes: self.cache_bytes + logs.cache_bytes,
            estimated_keys: self.estimated_keys,
            wal_syncs: self.wal_syncs + logs.wal_syncs,
            wal_bytes: self.wal_bytes + logs.wal_bytes,
            background_errors: self.background_errors + logs.background_errors,
            pending_compaction_bytes: self.pending_compaction_bytes + logs.pending_compaction_bytes,
            running_compactions: self.running_compactions + logs.running_compactions,
            snapshots: self.snapshots + logs.snapshots,
            running_flushes: self.running_flushes + logs.running_flushes,
            is_stalled: self.is_stalled || logs.is_stalled,
        }
    }
}

impl RocksStore {
    /// The most bytes that a memtable of logs has; there are two when one is being flushed.
    pub(crate) const LOG_BUFFER: usize = options::LOG_BUFFER;

    /// Creates a store in `path`.
    ///
    /// # Errors
    /// As [`RocksStore::open`], and [`StoreError::Engine`] when there is a store.
    pub fn create(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::Database, create)
    }

    /// Opens the store in `path`. It must be there: a store made in place of one that lost a file would be empty,
    /// and would delete what is left of the other.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what is there is damaged, [`StoreError::NoSpace`] on a full disk, and
    /// [`StoreError::Engine`] for the rest.
    pub fn open(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::Database, open)
    }

    /// Creates a store for the state of consensus groups in the directory `path`. A crash leaves some of the first batches, and at
    /// least those that were synced: a sync writes all that is in memory to tables, and so does a batch that is to be
    /// synced. If that fails the batch is visible all the same, and not safe.
    ///
    /// # Errors
    /// As [`RocksStore::create`].
    pub fn create_state(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::State, create)
    }

    /// Opens the store for the state of consensus groups in `path`; it must be there.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open_state(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::State, open)
    }

    /// Creates a store for the logs of consensus groups in the directory `path`, which are written at their ends and cut off at their
    /// beginnings: many ranges are deleted, and what is in memory is little and soon gone.
    ///
    /// # Errors
    /// As [`RocksStore::create`].
    pub fn create_log(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::Log, create)
    }

    /// Opens the store for the logs of consensus groups in `path`; it must be there.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open_log(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::Log, open)
    }

    /// Opens the store in `path` for reading; nothing in it is changed, and writes fail.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open_read_only(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Engine(format!("cannot use SYNCED in {}: {error}", path.display()));
        let acknowledged = SyncedFile::read(path).map_err(failed)?;
        let open = |options: &mut Options| DB::open_for_read_only(options, path, false);
        let store = Self::open_by(memory, Kind::Database, open)?;
        check_end(acknowledged, store.db.latest_sequence_number())?;
        Ok(store)
    }

    /// Opens a store that [`RocksStore::checkpoint`] has made in `path` of one without a log, as one with a log. Its files stay
    /// as they are: what is written comes into new ones.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub(crate) fn open_checkpoint(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, Kind::Database, |options| {
            open(options);
            options.set_disable_auto_compactions(true);
        })
    }

    fn open_with(
        path: &Path,
        memory: MemoryPlan,
        kind: Kind,
        how: fn(&mut Options),
    ) -> Result<Self, StoreError> {
        let open = |options: &mut Options| {
            how(options);
            DB::open(options, path)
        };
        if !kind.has_wal() {
            return Self::open_by(memory, kind, open);
        }
        let failed = |error| StoreError::Engine(format!("cannot use SYNCED in {}: {error}", path.display()));
        let acknowledged = SyncedFile::read(path).map_err(failed)?;
        let wal::Repaired { torn, end } = wal::repair(path, acknowledged, kind.recycles_wal())?;
        let mut store = Self::open_by(memory, kind, open)?;
        // What the log held is in tables now.
        let recovered = store.db.latest_sequence_number();
        // Of what is intact RocksDB must have read everything too. Where logs are not recycled it says what it cannot read.
        let end = if kind.recycles_wal() { end } else { 0 };
        check_end(acknowledged.max(end), recovered)?;
        let synced_file = SyncedFile::open(path).map_err(failed)?;
        synced_file.write(recovered);
        (store.synced_file, store.torn) = (Some(synced_file), torn);
        Ok(store)
    }

    fn open_by(
        memory: MemoryPlan,
        kind: Kind,
        open: impl FnOnce(&mut Options) -> Result<DB, rocksdb::Error>,
    ) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(memory.cache);
        let mut options = options(&cache, memory, kind).map_err(store_error)?;
        let db = open(&mut options).map_err(|error| explain_log(store_error(error)))?;
        let mut reading_cached = ReadOptions::default();
        reading_cached.set_read_tier(ReadTier::BlockCache);
        Ok(Self {
            synced: AtomicU64::new(db.latest_sequence_number()),
            db,
            kind,
            cache,
            reading: ReadOptions::default(),
            reading_cached,
            written: Mutex::new(0),
            durable: AtomicU64::new(0),
            synced_file: None,
            wal_syncs: AtomicU64::new(0),
            wal_bytes: AtomicU64::new(0),
            torn: Vec::new(),
            held: None,
        })
    }

    /// Holds something until it is closed, as the lock of its directory: a store lives as long as anybody reads from it.
    pub(crate) fn hold(&mut self, held: Arc<dyn Any + Send + Sync>) {
        self.held = Some(held);
    }

    /// What a crash tore of the logs and was cut off when the store was opened, newest first.
    #[must_use]
    pub fn torn(&self) -> &[TornLog] {
        &self.torn
    }

    /// Takes note that everything written so far is on the disk.
    fn note_synced(&self, written: BatchNumber) {
        let sequence = self.db.latest_sequence_number();
        if let Some(file) = &self.synced_file {
            file.write(sequence);
        }
        self.synced.store(sequence, Ordering::Release);
        self.wal_syncs.fetch_add(1, Ordering::Relaxed);
        self.durable.store(written, Ordering::Release);
    }

    /// Writes what is in memory to table files, of which at least the batches up to `number` are, and takes note.
    fn flush_up_to(&self, number: BatchNumber) -> Result<(), StoreError> {
        self.flush()?;
        self.durable.fetch_max(number, Ordering::AcqRel);
        Ok(())
    }

    /// Writes what is in memory to table files, so that the next start has no log to replay.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing is lost, the log still has everything.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(store_error)
    }

    /// The store as it is now, as a store in `path`, which must not exist and lie on the same file system: table
    /// files get a second name there. What is in memory is written to tables before.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        let checkpoint = Checkpoint::new(&self.db).map_err(store_error)?;
        checkpoint.create_checkpoint(path).map_err(store_error)
    }

    /// The first key of each table file.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn file_starts(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let files = self.db.live_files().map_err(store_error)?;
        Ok(files.into_iter().filter_map(|file| file.start_key).collect())
    }

    /// A key after `start` and every one that is stored or in `batch`; RocksDB knows no range without an end. While
    /// it is used, nothing else may be written.
    fn past_the_end(&self, batch: &Batch, start: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut iterator = self.db.raw_iterator();
        iterator.seek_to_last();
        iterator.status().map_err(store_error)?;
        let put = batch.changes().filter_map(|change| match change {
            Change::Put(key, _) => Some(key),
            Change::Delete(_) | Change::DeleteRange(..) => None,
        });
        let last = put.chain(iterator.key()).fold(start, Ord::max);
        Ok([last, &[0]].concat())
    }

    /// Sizes and counters as they are now.
    #[must_use]
    pub fn stats(&self) -> RocksStats {
        let property = |name| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        RocksStats {
            table_bytes: property(properties::TOTAL_SST_FILES_SIZE),
            memtable_bytes: property(properties::CUR_SIZE_ALL_MEM_TABLES),
            cache_bytes: u64::try_from(self.cache.get_usage()).unwrap_or(u64::MAX),
            estimated_keys: property(properties::ESTIMATE_NUM_KEYS),
            wal_syncs: self.wal_syncs.load(Ordering::Relaxed),
            wal_bytes: self.wal_bytes.load(Ordering::Relaxed),
            background_errors: property(properties::BACKGROUND_ERRORS),
            pending_compaction_bytes: property(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            running_compactions: property(properties::NUM_RUNNING_COMPACTIONS),
            snapshots: property(properties::NUM_SNAPSHOTS),
            running_flushes: property(properties::NUM_RUNNING_FLUSHES),
            is_stalled: property(properties::IS_WRITE_STOPPED) != 0,
        }
    }
}

/// Refuses a store that has less than was acknowledged: a log was cut short, or is gone.
fn check_end(acknowledged: u64, recovered: u64) -> Result<(), StoreError> {
    if recovered >= acknowledged {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "acknowledged writes are missing: the log of the last writes was safe on the disk up to sequence number \
         {acknowledged}, and now ends with {recovered}. It was cut short, or an older copy was put in its place. Keep \
         a copy of the whole data directory, check the disk, and restore a backup"
    )))
}

/// Says what a damaged log means, for nobody can tell from RocksDB's words, which name every file but that one.
fn explain_log(error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(text)
            if !["MANIFEST", ".sst", ".blob"]
                .iter()
                .any(|file| text.contains(file)) =>
        {
            StoreError::Corrupt(format!(
                "{text}. As no file is named, the log of the last writes cannot be read to its end. If the machine lost power, it may be its last \
             write, torn, which was never acknowledged; otherwise the disk has damaged acknowledged writes. Nothing \
             was dropped, for this cannot be told apart here. Keep a copy of the whole data directory, check the \
             disk, and restore a backup"
            ))
        }
        error => error,
    }
}

/// Sorts RocksDB's errors, which carry their kind in the text only.
fn store_error(error: rocksdb::Error) -> StoreError {
    let kind = error.kind();
    let text = error.into_string();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        StoreError::NoSpace(text)
    } else if kind == ErrorKind::Corruption {
        StoreError::Corrupt(text)
    } else {
        StoreError::Engine(text)
    }
}

impl OrderedStore for RocksStore {
    type Snapshot<'a> = RocksSnapshot<'a>;
    type Kept = KeptRocksSnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        let value = self.db.get_pinned_opt(key, &self.reading).map_err(store_error)?;
        Ok(value.map(|value| read(&value)))
    }

    fn get_cached<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<Option<T>>, StoreError> {
        match self.db.get_pinned_opt(key, &self.reading_cached) {
            Ok(value) => Ok(Some(value.map(|value| read(&value)))),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    fn snapshot(&self) -> RocksSnapshot<'_> {
        RocksSnapshot {
            snapshot: self.db.snapshot(),
            tier: ReadTier::All,
        }
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> KeptRocksSnapshot {
        KeptRocksSnapshot::take(holder)
    }

    fn snapshot_cached(&self) -> RocksSnapshot<'_> {
        RocksSnapshot {
            snapshot: self.db.snapshot(),
            tier: ReadTier::BlockCache,
        }
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // With the room it needs, for it would grow by doubling; 32 bytes are ample for the rest of a change.
        let mut rocks = WriteBatch::with_capacity_bytes(batch.size() + 32 * batch.len() + 64);
        if self.kind.has_wal() {
            rocks.put_log_data(wal::synced_note(self.synced.load(Ordering::Acquire)));
        }
        for change in batch.changes() {
            match change {
                Change::Put(key, value) => rocks.put(key, value),
                Change::Delete(key) => rocks.delete(key),
                Change::DeleteRange(start, Some(end)) => rocks.delete_range(start, end),
                Change::DeleteRange(start, None) => {
                    rocks.delete_range(start, &self.past_the_end(batch, start)?);
                }
            }
        }
        let mut options = WriteOptions::default();
        if !self.kind.has_wal() {
            options.disable_wal(true);
            self.db.write_opt(rocks, &options).map_err(store_error)?;
            *written += 1;
            let number = *written;
            drop(written);
            if durability == Durability::Synced {
                self.flush_up_to(number)?;
            }
            return Ok(number);
        }
        rocks.put_log_data(wal::checksum_note(rocks.data()));
        // RocksDB syncs the log before it shows a batch to readers, so nobody reads what a crash can undo.
        options.set_sync(durability == Durability::Synced);
        let logged = rocks.size_in_bytes() as u64;
        self.db.write_opt(rocks, &options).map_err(store_error)?;
        self.wal_bytes.fetch_add(logged, Ordering::Relaxed);
        *written += 1;
        if durability == Durability::Synced {
            self.note_synced(*written);
        }
        Ok(*written)
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.kind.has_wal() {
            let number = *written;
            // Others go on writing meanwhile.
            drop(written);
            return self.flush_up_to(number).map(|()| number);
        }
        self.db.flush_wal(true).map_err(store_error)?;
        self.note_synced(*written);
        Ok(*written)
    }

    fn unflushed(&self) -> u64 {
        let property = self.db.property_int_value(properties::CUR_SIZE_ALL_MEM_TABLES);
        property.ok().flatten().unwrap_or(0)
    }

    /// A flush frees the log, and lets compaction see what was deleted.
    fn make_room(&self) -> Result<(), StoreError> {
        self.flush()
    }

    fn written(&self) -> BatchNumber {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> BatchNumber {
        self.durable.load(Ordering::Acquire)
    }
}
