//! Sizes and counters of the stores, the disk and the process.

use std::fmt;
use std::sync::Weak;
use std::time::Instant;

use pliantdb_storage::{Stats, Storage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::databases::Clustered;

/// What the sizes are of.
pub(super) enum Source {
    Storage(Storage),
    /// It is not kept by this.
    Node(Weak<Clustered>),
}

impl Source {
    /// Its sizes, and whether it takes writes; `None` when they cannot be measured.
    fn look(&self) -> Option<(Stats, bool)> {
        match self {
            Self::Storage(storage) => Some((storage.stats().ok()?, storage.writable().is_ok())),
            Self::Node(cluster) => {
                let cluster = cluster.upgrade()?;
                Some((cluster.stats().ok()?, cluster.writable().is_ok()))
            }
        }
    }
}

/// What is looked up when someone asks.
pub(super) struct Observed {
    source: Source,
    start: Instant,
}

impl Observed {
    pub(super) fn new(source: Source) -> Self {
        let start = Instant::now();
        Self { source, start }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
        };
        gauge(
            "uptime",
            "Time since the start",
            Some(Unit::Seconds),
            self.start.elapsed().as_secs_f64(),
        )?;
        if let Some(bytes) = resident_bytes() {
            gauge(
                "process_resident_memory",
                "Memory of the process (RSS)",
                Some(Unit::Bytes),
                bytes as f64,
            )?;
        }
        if let Some(files) = open_files() {
            gauge("process_open_fds", "Open file descriptors", None, files as f64)?;
        }
        let Some((stats, is_writable)) = self.source.look() else {
            return Ok(());
        };
        let bytes = Some(Unit::Bytes);
        gauge(
            "disk_free",
            "Free on the disk of the data directory",
            bytes.clone(),
            stats.disk_free as f64,
        )?;
        gauge(
            "disk_reserve",
            "Below this much free, writes are refused",
            bytes.clone(),
            stats.disk_reserve as f64,
        )?;
        gauge(
            "subscriptions",
            "Subscriptions to messages",
            None,
            stats.subscriptions as f64,
        )?;
        let store = stats.store;
        gauge(
            "snapshots",
            "Snapshots of databases, also those that one read has for itself",
            None,
            store.snapshots as f64,
        )?;
        gauge(
            "store_tables",
            "In RocksDB's table files",
            bytes.clone(),
            store.table_bytes as f64,
        )?;
        gauge(
            "store_memtables",
            "In RocksDB's memtables",
            bytes.clone(),
            store.memtable_bytes as f64,
        )?;
        gauge(
            "store_cache",
            "In RocksDB's block cache, memtables included",
            bytes,
            store.cache_bytes as f64,
        )?;
        gauge(
            "store_pending_compaction",
            "About what RocksDB's compactions have yet to rewrite",
            Some(Unit::Bytes),
            store.pending_compaction_bytes as f64,
        )?;
        gauge(
            "store_running_compactions",
            "Compactions of RocksDB that run",
            None,
            store.running_compactions as f64,
        )?;
        gauge(
            "store_running_flushes",
            "Flushes of memtables that run",
            None,
            store.running_flushes as f64,
        )?;
        gauge(
            "store_stalled",
            "Whether RocksDB takes no writes until a compaction or flush has ended: 1 or 0",
            None,
            f64::from(u8::from(store.is_stalled)),
        )?;
        gauge(
            "store_keys",
            "About how many keys the store has",
            None,
            store.estimated_keys as f64,
        )?;
        let writable = f64::from(u8::from(is_writable));
        gauge(
            "store_writable",
            "Whether writes are taken: 1 or 0",
            None,
            writable,
        )?;
        let mut counter = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
        };
        counter(
            "store_wal_syncs",
            "Syncs of the write-ahead log to disk",
            None,
            store.wal_syncs,
        )?;
        counter(
            "store_wal_written",
            "Written to the write-ahead log",
            Some(Unit::Bytes),
            store.wal_bytes,
        )?;
        counter(
            "store_background_errors",
            "Failed flushes and compactions",
            None,
            store.background_errors,
        )
    }
}

/// The resident set of this process, where there is a /proc.
fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm")
        .ok()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// How many file descriptors this process has, where there is a /proc. Without the one that is open for counting.
fn open_files() -> Option<usize> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?;
    files.count().checked_sub(1)
}
