//! Metrics, in the OpenMetrics text format.

mod cluster;
mod observed;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pliantdb_core::protocol::Ask;
use pliantdb_core::{Error, Request};
use pliantdb_storage::{Commit, Storage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::VERSION;
use crate::databases::Clustered;
use observed::{Observed, Source};

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

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Door {
    /// QUIC.
    Quic,
    /// WebSocket.
    WebSocket,
    /// HTTP.
    Http,
}

impl Door {
    /// Its name in spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabels {
    door: Door,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    door: Door,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    door: Door,
    operation: &'static str,
    error: &'static str,
}

type OperationHistograms = Family<OperationLabels, Histogram, fn() -> Histogram>;

type Histograms = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// Counts what happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms,
    in_flight: Gauge,
    operation_seconds: OperationHistograms,
    operation_errors: Family<ErrorLabels, Counter>,
    questions: Family<DoorLabels, Gauge>,
    connections: Family<DoorLabels, Gauge>,
    connections_refused: Family<DoorLabels, Counter>,
    logins_refused: Counter,
    writes_waiting: Gauge,
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
        let operation_seconds =
            OperationHistograms::new_with_constructor(|| Histogram::new(exponential_buckets(1e-5, 4.0, 12)));
        registry.register_with_unit(
            "operation_duration",
            "Time from a question to its answer, by door and operation",
            Unit::Seconds,
            operation_seconds.clone(),
        );
        let operation_errors = Family::<ErrorLabels, Counter>::default();
        let help = "Questions that were answered with an error, or that nobody waited for any longer, by door, operation and kind";
        registry.register("operation_errors", help, operation_errors.clone());
        let questions = Family::<DoorLabels, Gauge>::default();
        let help = "Questions being answered, by door";
        registry.register("operations_in_flight", help, questions.clone());
        let connections = Family::<DoorLabels, Gauge>::default();
        registry.register("connections", "Open connections, by door", connections.clone());
        let connections_refused = Family::<DoorLabels, Counter>::default();
        let help = "Connections refused because there were as many as there may be, by door";
        registry.register("connections_refused", help, connections_refused.clone());
        let logins_refused: Counter<u64, AtomicU64> = Counter::default();
        let help = "Times that credentials were not taken";
        registry.register("logins_refused", help, logins_refused.clone());
        let writes_waiting = Gauge::default();
        let help = "Writes that wait to be committed, and those that are being";
        registry.register("writes_waiting", help, writes_waiting.clone());
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
            operation_seconds,
            operation_errors,
            questions,
            connections,
            connections_refused,
            logins_refused,
            writes_waiting,
            documents_written,
            batch_size,
            commit_seconds,
        }
    }
}

impl Metrics {
    /// Also shows sizes and counters of `storage` and the process from now on.
    pub(crate) fn watch_storage(&self, storage: &Storage) {
        self.register(Observed::new(Source::Storage(storage.clone())));
    }

    /// Also shows what the node does for its cluster, and sizes and counters of its stores and the process, from now on.
    pub(crate) fn watch_cluster(&self, cluster: &Arc<Clustered>) {
        self.register(cluster::Watched::new(cluster.cluster()));
        self.register(Observed::new(Source::Node(Arc::downgrade(cluster))));
    }

    fn register(&self, collector: impl Collector) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(collector));
    }

    /// Counts a commit.
    pub(crate) fn commit(&self, commit: Commit) {
        self.documents_written.inc_by(commit.changes as u64);
        self.batch_size.observe(commit.commands as f64);
        self.commit_seconds.observe(commit.duration.as_secs_f64());
    }

    /// Counts a request that begins; it ends when the guard is dropped.
    pub(crate) fn request_begins(&self) -> InFlight {
        InFlight::count(&self.in_flight)
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

    /// Counts a question that came by a door, until the guard is told the answer, or dropped without one.
    pub(crate) fn asked(&self, door: Door, operation: &'static str) -> Asked<'_> {
        Asked {
            metrics: self,
            door,
            operation,
            start: Instant::now(),
            _in_flight: InFlight::count(&self.questions.get_or_create(&DoorLabels { door })),
            is_answered: false,
        }
    }

    fn failed(&self, door: Door, operation: &'static str, error: &'static str) {
        let labels = ErrorLabels {
            door,
            operation,
            error,
        };
        self.operation_errors.get_or_create(&labels).inc();
    }

    /// Counts a write that waits for its commit; it ends when the guard is dropped.
    pub(crate) fn write_waits(&self) -> InFlight {
        InFlight::count(&self.writes_waiting)
    }

    /// Counts credentials that were not taken.
    pub(crate) fn login_refused(&self) {
        self.logins_refused.inc();
    }

    /// Counts a connection of a door; it ends when the guard is dropped.
    pub(crate) fn connection_opens(&self, door: Door) -> InFlight {
        InFlight::count(&self.connections.get_or_create(&DoorLabels { door }))
    }

    /// Counts a connection that a door has no place for.
    pub(crate) fn refused(&self, door: Door) {
        self.connections_refused.get_or_create(&DoorLabels { door }).inc();
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

/// A question that is being answered.
pub(crate) struct Asked<'a> {
    metrics: &'a Metrics,
    door: Door,
    operation: &'static str,
    start: Instant,
    _in_flight: InFlight,
    is_answered: bool,
}

impl Asked<'_> {
    /// Counts what came of it.
    pub(crate) fn answered(mut self, error: Option<&Error>) {
        self.is_answered = true;
        let (door, operation) = (self.door, self.operation);
        let labels = OperationLabels { door, operation };
        let histogram = self.metrics.operation_seconds.get_or_create(&labels);
        histogram.observe(self.start.elapsed().as_secs_f64());
        if let Some(error) = error {
            self.metrics.failed(door, operation, kind(error));
        }
    }

    /// Counts what comes of it.
    pub(crate) async fn when<T>(self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let result = answer.await;
        self.answered(result.as_ref().err());
        result
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.metrics.failed(self.door, self.operation, "abandoned");
        }
    }
}

/// Something that goes on.
pub(crate) struct InFlight(Gauge);

impl InFlight {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is asked, as a label, of which there must not be many.
pub(crate) fn operation(ask: &Ask) -> &'static str {
    match ask {
        Ask::Databases => "databases",
        Ask::CreateDatabase { .. } => "create_database",
        Ask::OpenDatabase { .. } => "open_database",
        Ask::DeleteDatabase { .. } => "delete_database",
        Ask::Subscribe { .. } => "subscribe",
        Ask::Snapshot { .. } => "snapshot",
        Ask::Backup { .. } => "backup",
        Ask::Nodes { .. } => "nodes",
        Ask::Accounts(_) => "accounts",
        Ask::Request { request, .. } | Ask::RequestAt { request, .. } => match request {
            Request::Get { .. } => "get",
            Request::List { .. } => "list",
            Request::Count { .. } => "count",
            Request::Transact(_) => "transact",
            Request::Query { .. } => "query",
            Request::Reduce(_) => "reduce",
            Request::ReduceGrouped(_) => "reduce_grouped",
            Request::DeleteMatching(_) => "delete_matching",
            Request::ViewStatus { .. } => "view_status",
            Request::GetKey { .. } => "get_key",
            Request::ListKeys { .. } => "list_keys",
            Request::ChangeKey { .. } => "change_key",
            Request::Publish(_) => "publish",
            Request::Changes { .. } => "changes",
            Request::Call { .. } => "call",
        },
    }
}

/// What went wrong, as a label.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error {
        Error::Rejected(_) => "rejected",
        Error::UnknownDatabase(_) => "unknown_database",
        Error::UnknownView { .. } => "unknown_view",
        Error::UnknownApi(_) => "unknown_api",
        Error::Invalid(_) => "invalid",
        Error::OtherType { .. } | Error::OtherNaturalId { .. } => "other_type",
        Error::View { .. } => "view",
        Error::CursorExpired => "cursor_expired",
        Error::Lagged(_) => "lagged",
        Error::Api { .. } => "api",
        Error::ReadOnlySnapshot(_) => "read_only_snapshot",
        Error::SnapshotExpired { .. } => "snapshot_expired",
        Error::Busy => "busy",
        Error::Unauthenticated(_) => "unauthenticated",
        Error::Denied(_) => "denied",
        Error::UnknownOutcome(_) => "unknown_outcome",
        Error::Corrupt(_) => "corrupt",
        Error::TimedOut => "timed_out",
        Error::Unreachable(_) | Error::Disconnected(_) => "disconnected",
        Error::Unavailable(_) => "unavailable",
        Error::Closed => "closed",
        Error::DiskFull(_) => "disk_full",
        Error::Storage(_) => "storage",
        Error::AnswerTooLarge { .. } => "answer_too_large",
    }
}
