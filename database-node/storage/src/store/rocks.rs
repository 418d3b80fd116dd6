//! The store on RocksDB.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pliantdb_core::Order;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, DBRecoveryMode, ErrorKind, LogLevel,
    Options, ReadOptions, ReadTier, WriteBatch, WriteBufferManager, WriteOptions, properties,
};

use super::wal::{self, SyncedFile, TornLog};
use super::{Batch, BatchNumber, Change, Cursor, Durability, KeyRange, OrderedStore, Snapshot, StoreError};
use crate::memory::MemoryPlan;

/// An [`OrderedStore`] in a directory, on RocksDB with its write-ahead log.
pub struct RocksStore {
    db: DB,
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

impl RocksStore {
    /// Creates a store in `path`.
    ///
    /// # Errors
    /// As [`RocksStore::open`], and [`StoreError::Engine`] when there is a store.
    pub fn create(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, |options| {
            options.create_if_missing(true);
            options.set_error_if_exists(true);
        })
    }

    /// Opens the store in `path`. It must be there: a store made in place of one that lost a file would be empty,
    /// and would delete what is left of the other.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what is there is damaged, [`StoreError::NoSpace`] on a full disk, and
    /// [`StoreError::Engine`] for the rest.
    pub fn open(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        Self::open_with(path, memory, |options| options.create_if_missing(false))
    }

    /// Opens the store in `path` for reading; nothing in it is changed, and writes fail.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open_read_only(path: &Path, memory: MemoryPlan) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Engine(format!("cannot use SYNCED in {}: {error}", path.display()));
        let acknowledged = SyncedFile::read(path).map_err(failed)?;
        let store = Self::open_by(memory, |options| DB::open_for_read_only(options, path, false))?;
        check_end(acknowledged, store.db.latest_sequence_number())?;
        Ok(store)
    }

    fn open_with(path: &Path, memory: MemoryPlan, how: impl Fn(&mut Options)) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Engine(format!("cannot use SYNCED in {}: {error}", path.display()));
        let acknowledged = SyncedFile::read(path).map_err(failed)?;
        let torn = wal::repair(path, acknowledged)?;
        let mut store = Self::open_by(memory, |options| {
            how(options);
            DB::open(options, path)
        })?;
        // What the log held is in tables now.
        let recovered = store.db.latest_sequence_number();
        check_end(acknowledged, recovered)?;
        let synced_file = SyncedFile::open(path).map_err(failed)?;
        synced_file.write(recovered);
        (store.synced_file, store.torn) = (Some(synced_file), torn);
        Ok(store)
    }

    fn open_by(
        memory: MemoryPlan,
        open: impl FnOnce(&mut Options) -> Result<DB, rocksdb::Error>,
    ) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(memory.cache);
        let mut options = options(&cache, memory).map_err(store_error)?;
        let db = open(&mut options).map_err(|error| explain_log(store_error(error)))?;
        let mut reading_cached = ReadOptions::default();
        reading_cached.set_read_tier(ReadTier::BlockCache);
        Ok(Self {
            synced: AtomicU64::new(db.latest_sequence_number()),
            db,
            cache,
            reading: ReadOptions::default(),
            reading_cached,
            written: Mutex::new(0),
            durable: AtomicU64::new(0),
            synced_file: None,
            wal_syncs: AtomicU64::new(0),
            wal_bytes: AtomicU64::new(0),
            torn: Vec::new(),
        })
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

fn options(cache: &Cache, memory: MemoryPlan) -> Result<Options, rocksdb::Error> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(16 * 1024);
    blocks.set_format_version(6);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_optimize_filters_for_memory(true);
    // Indexes and filters count against the cache, so that it bounds memory.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);

    // A memtable looks for the place of a key beside the last one of the same slot and space (its first seven bytes), for
    // the log of changes and generated ids grow with time. There is no method for this option.
    let mut options = Options::default()
        .get_options_from_string("memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.7")?;
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(512);
    options.set_bytes_per_sync(1 << 20);

    // Large bodies lie in files of their own: compaction moves only where they are, and a block, which a cursor
    // holds, stays small.
    options.set_enable_blob_files(true);
    options.set_min_blob_size(64 * 1024);
    options.set_blob_file_size(memory.table_file as u64);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_enable_blob_gc(true);
    // Compaction copies what lives in the oldest of them, garbage or not: of few, for that takes room. When half of
    // those is garbage, it is done without waiting for a compaction.
    options.set_blob_gc_age_cutoff(0.05);
    options.set_blob_gc_force_threshold(0.5);
    options.set_target_file_size_base(memory.table_file as u64);
    options.set_max_bytes_for_level_base(4 * memory.table_file as u64);
    // A table of which half is deletions is compacted soon, for they free room only then.
    options.add_compact_on_deletion_collector_factory(1024, 512, 0.5);

    // Also a memtable says quickly that it does not have a key: every insert asks, and so does every read of what lies in
    // tables. A hundredth of it are ten bits or more for a key.
    options.set_memtable_prefix_bloom_ratio(0.01);
    options.set_memtable_whole_key_filtering(true);
    options.set_write_buffer_size(memory.write_buffer);
    // One is filled while the other is flushed; then writes wait, so that memory stays within the plan.
    options.set_max_write_buffer_number(2);
    let all_buffers = 2 * memory.write_buffer;
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        all_buffers,
        false,
        cache.clone(),
    ));

    // A torn record at the end of the log is a write that was never acknowledged. Damage anywhere else is
    // refused: the default mode would silently drop acknowledged writes that follow it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Finds a log file that is missing or cut short, which no checksum within it can tell.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);

    options.set_stats_dump_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    Ok(options)
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
        rocks.put_log_data(wal::synced_note(self.synced.load(Ordering::Acquire)));
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
        rocks.put_log_data(wal::checksum_note(rocks.data()));
        let mut options = WriteOptions::default();
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

    fn durable(&self) -> BatchNumber {
        self.durable.load(Ordering::Acquire)
    }
}

/// A [`RocksStore`] as it was.
pub struct RocksSnapshot<'a> {
    snapshot: rocksdb::Snapshot<'a>,
    /// How far down it reads.
    tier: ReadTier,
}

impl RocksSnapshot<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_read_tier(self.tier);
        options
    }
}

impl Snapshot for RocksSnapshot<'_> {
    type Cursor<'a>
        = RocksCursor<'a>
    where
        Self: 'a;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        let value = self.snapshot.get_pinned_opt(key, self.options());
        Ok(value.map_err(store_error)?.map(|value| read(&value)))
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<RocksCursor<'_>, StoreError> {
        // RocksDB gives nothing, not an error, when the upper bound lies below the start.
        let mut options = self.options();
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end);
        }
        if order == Order::Descending {
            options.set_iterate_lower_bound(range.start.as_slice());
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        match order {
            Order::Ascending => iterator.seek(&range.start),
            // To the last key below the upper bound.
            Order::Descending => iterator.seek_to_last(),
        }
        iterator.status().map_err(store_error)?;
        Ok(RocksCursor { iterator, order })
    }
}

/// A position in a [`RocksSnapshot`].
pub struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
    order: Order,
}

impl Cursor for RocksCursor<'_> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        if self.iterator.valid() {
            match self.order {
                Order::Ascending => self.iterator.next(),
                Order::Descending => self.iterator.prev(),
            }
        }
        // One that has failed is not valid.
        match self.iterator.valid() {
            true => Ok(()),
            false => self.iterator.status().map_err(store_error),
        }
    }
}
