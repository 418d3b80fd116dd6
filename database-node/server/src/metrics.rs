//! Metrics, in the OpenMetrics text format.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pliantdb_storage::{Commit, Storage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::VERSION;

/// The content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

type Histograms = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// Counts what happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms,
    in_flight: Gauge,
    documents_written: Counter,
    batch_size: Histogram,
    commit_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pliantdb");
        let requests = Family::<RequestLabels, Counter>::default();
        let help = "Requests answered, by route template, method and status";
        registry.register("http_requests", help, requests.clone());
        // 0.1 ms to 26 s. Without the status, which would multiply the series.
        let request_seconds =
            Histograms::new_with_constructor(|| Histogram::new(exponential_buckets(1e-4, 4.0, 10)));
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's headers to its answer, by route template and method",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            "http_requests_in_flight",
            "Requests being handled",
            in_flight.clone(),
        );
        let documents_written: Counter<u64, AtomicU64> = Counter::default();
        registry.register(
            "documents_written",
            "Documents written or deleted",
            documents_written.clone(),
        );
        let batch_size = Histogram::new(exponential_buckets(1.0, 2.0, 11));
        registry.register(
            "commit_batch_size",
            "Commands committed together, with one sync",
            batch_size.clone(),
        );
        let commit_seconds = Histogram::new(exponential_buckets(1e-4, 4.0, 10));
        let help = "Time to apply and sync a batch";
        registry.register_with_unit("commit_duration", help, Unit::Seconds, commit_seconds.clone());
        registry.register("build", "The build", Info::new(vec![("version", VERSION)]));
        Self {
            registry: Mutex::new(registry),
            requests,
            request_seconds,
            in_flight,
            documents_written,
            batch_size,
            commit_seconds,
        }
    }
}

impl Metrics {
    /// Also shows sizes and counters of `storage` and the process from now on.
    pub(crate) fn watch_storage(&self, storage: &Storage) {
        let collector = Box::new(Observed {
            storage: storage.clone(),
            start: Instant::now(),
        });
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .register_collector(collector);
    }

    /// Counts a commit.
    pub(crate) fn commit(&self, commit: Commit) {
        self.documents_written.inc_by(commit.changes as u64);
        self.batch_size.observe(commit.commands as f64);
        self.commit_seconds.observe(commit.duration.as_secs_f64());
    }

    /// Counts a request that begins; it ends when the guard is dropped.
    pub(crate) fn request_begins(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight {
            gauge: &self.in_flight,
        }
    }

    /// Counts a request that was answered.
    pub(crate) fn request(&self, route: &str, method: &'static str, status: u16, duration: Duration) {
        let labels = RouteLabels {
            route: route.to_owned(),
            method,
        };
        self.request_seconds
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                route: labels.route,
                method,
                status,
            })
            .inc();
    }

    /// All of it. Asks the storage for its sizes, so it may wait for the disk.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut output = String::new();
        text::encode(
            &mut output,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(output)
    }
}

/// A request that is being handled.
pub(crate) struct InFlight<'a> {
    gauge: &'a Gauge,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// What is looked up when someone asks.
struct Observed {
    storage: Storage,
    start: Instant,
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
        let Ok(stats) = self.storage.stats() else {
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
        let store = stats.store;
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
            "store_keys",
            "About how many keys the store has",
            None,
            store.estimated_keys as f64,
        )?;
        let writable = f64::from(u8::from(self.storage.writable().is_ok()));
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
