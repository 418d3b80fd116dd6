//! What the operator counts, in the OpenMetrics text format.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<ResultLabel, Counter>,
    reconciliation_time: Histogram,
    writes: Family<WriteLabels, Counter>,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: Outcome,
}

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// It came to its end.
    Success,
    /// It failed, and is tried again after a pause.
    Error,
    /// Nothing was tried, since the pause after a failure is not over.
    Pause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: Verb,
    kind: String,
}

/// What was asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verb {
    /// An object was created or changed by server-side apply, or changed by a patch.
    Patch,
    /// An object was created.
    Create,
    /// An object was deleted.
    Delete,
}

impl Metrics {
    /// Metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pliant_operator");
        let reconciliations = Family::default();
        registry.register(
            "reconciliations",
            "Reconciliations of PliantClusters",
            reconciliations.clone(),
        );
        let reconciliation_time = Histogram::new(exponential_buckets(0.005, 2.0, 12));
        registry.register_with_unit(
            "reconciliation_duration",
            "Time that a reconciliation took",
            Unit::Seconds,
            reconciliation_time.clone(),
        );
        let writes = Family::default();
        registry.register(
            "api_writes",
            "Requests that change something on the API server",
            writes.clone(),
        );
        let leader = Gauge::<i64>::default();
        registry.register(
            "leader",
            "1 on the replica that acts, 0 on those that stand by",
            leader.clone(),
        );
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry,
            reconciliations,
            reconciliation_time,
            writes,
            leader,
        }
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, result: Outcome, took: Duration) {
        self.reconciliations.get_or_create(&ResultLabel { result }).inc();
        self.reconciliation_time.observe(took.as_secs_f64());
    }

    /// Counts a request that changes an object of `kind`.
    pub fn wrote(&self, verb: Verb, kind: &str) {
        self.writes
            .get_or_create(&WriteLabels {
                verb,
                kind: kind.into(),
            })
            .inc();
    }

    /// Notes whether this replica acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(_) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
