//! How RocksDB is set up for what a store is for.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteBufferManager,
};

use crate::memory::MemoryPlan;

/// The most bytes that a memtable of logs has.
pub(super) const LOG_BUFFER: usize = 8 << 20;
/// The most ranges that are deleted in a memtable of logs.
const LOG_RANGES: usize = 1000;

/// What a store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Database,
    State,
    Log,
}

impl Kind {
    /// Whether files of its write-ahead log are used again: a sync then has no new size of a file to write down, which
    /// makes it about half as long.
    pub(super) fn recycles_wal(self) -> bool {
        self == Self::Log
    }

    /// Whether it has a write-ahead log.
    pub(super) fn has_wal(self) -> bool {
        self != Self::State
    }
}

/// For a store that must not be there.
pub(super) fn create(options: &mut Options) {
    options.create_if_missing(true);
    options.set_error_if_exists(true);
}

/// For a store that must be there.
pub(super) fn open(options: &mut Options) {
    options.create_if_missing(false);
}

/// The options of a store of that kind.
pub(super) fn options(cache: &Cache, memory: MemoryPlan, kind: Kind) -> Result<Options, rocksdb::Error> {
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
    let mut by_name = "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.7".to_owned();
    if kind == Kind::Log {
        // Reading in a memtable looks at all ranges that were deleted in it.
        by_name.push_str(&format!(";memtable_max_range_deletions={LOG_RANGES}"));
    }
    let mut options = Options::default().get_options_from_string(by_name)?;
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
    let write_buffer = match kind {
        Kind::Database | Kind::State => memory.write_buffer,
        // What is in it can soon be cut off, and must be read anew after a crash.
        Kind::Log => memory.write_buffer.min(LOG_BUFFER),
    };
    options.set_write_buffer_size(write_buffer);
    // One is filled while the other is flushed; then writes wait, so that memory stays within the plan.
    options.set_max_write_buffer_number(2);
    let all_buffers = 2 * write_buffer;
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        all_buffers,
        false,
        cache.clone(),
    ));

    // A torn record at the end of the log is a write that was never acknowledged. Damage anywhere else is
    // refused: the default mode would silently drop acknowledged writes that follow it.
    options.set_wal_recovery_mode(match kind.recycles_wal() {
        false => DBRecoveryMode::TolerateCorruptedTailRecords,
        // Without this RocksDB does not recycle. What it drops by it was cut off before, or is found to be missing.
        true => DBRecoveryMode::PointInTime,
    });
    if kind.recycles_wal() {
        // More than there can be at once: between logs that are kept, none is removed, so their batches follow each
        // other.
        options.set_recycle_log_file_num(16);
    }
    // Finds a log file that is missing or cut short, which no checksum within it can tell.
    options.set_track_and_verify_wals_in_manifest(kind.has_wal());
    options.set_paranoid_checks(true);

    options.set_stats_dump_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    Ok(options)
}
