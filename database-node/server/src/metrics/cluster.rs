//! What is shown of the cluster that the node is of.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use pliantdb_cluster::group::Role;
use pliantdb_cluster::wire::ReplicaReport;
use pliantdb_cluster::{META, Meta, NodeId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Unit;

use crate::cluster::Cluster;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    node: String,
    database: String,
}

type NodeGauges = Family<NodeLabels, Gauge<f64, std::sync::atomic::AtomicU64>>;
type ReplicaGauges = Family<ReplicaLabels, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// A cluster that is looked at when someone asks. It is not kept by this.
pub(super) struct Watched(Weak<Cluster>);

impl Watched {
    pub(super) fn new(cluster: &Arc<Cluster>) -> Self {
        Self(Arc::downgrade(cluster))
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

/// What the node knows by itself, and what it sees of the others when it leads the group that knows about the cluster.
struct Looked {
    meta: Arc<Meta>,
    own: Vec<ReplicaReport>,
    supervises: bool,
    seen: Vec<(NodeId, Duration, Vec<ReplicaReport>)>,
}

fn look(cluster: &Cluster) -> Option<Looked> {
    let handle = cluster.member().handle();
    let looked = handle.look(|node| {
        let seen = node.overview();
        Some(Looked {
            meta: node.shared_meta()?,
            own: node.replicas(),
            supervises: seen.is_some(),
            seen: seen
                .into_iter()
                .flatten()
                .map(|(node, (silent, replicas))| (node, silent, replicas))
                .collect(),
        })
    });
    looked.ok().flatten()
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(cluster) = self.0.upgrade() else {
            return Ok(());
        };
        counters(&cluster, &mut encoder)?;
        match look(&cluster) {
            Some(looked) => replicas(&looked, &mut encoder),
            // It has not joined yet, or has stopped.
            None => Ok(()),
        }
    }
}

fn counters(cluster: &Cluster, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let expires = cluster
        .member()
        .certificate_expires()
        .duration_since(SystemTime::now());
    let metric = ConstGauge::new(expires.unwrap_or_default().as_secs_f64());
    let help = "Time until the certificate expires that the node shows other nodes";
    let (name, unit) = ("cluster_certificate_expires", Some(Unit::Seconds));
    metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)?;
    let mut counter = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
        let metric = ConstCounter::new(value);
        metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
    };
    let log = cluster.member().handle().log_counters();
    let help = "Syncs of the log of all groups to disk";
    counter("cluster_log_syncs", help, None, log.syncs)?;
    let help = "Writes to the log of all groups: what waited together is one";
    counter("cluster_log_writes", help, None, log.writes)?;
    let help = "Written to the log of all groups";
    counter("cluster_log_written", help, Some(Unit::Bytes), log.bytes)?;
    let network = cluster.member().network().counters();
    let help = "Envelopes sent to other nodes";
    counter("cluster_envelopes_sent", help, None, network.envelopes_sent)?;
    let help = "Envelopes received from other nodes";
    counter(
        "cluster_envelopes_received",
        help,
        None,
        network.envelopes_received,
    )?;
    let help = "Envelopes sent to other nodes";
    counter("cluster_sent", help, Some(Unit::Bytes), network.bytes_sent)?;
    let help = "Envelopes received from other nodes";
    counter(
        "cluster_received",
        help,
        Some(Unit::Bytes),
        network.bytes_received,
    )?;
    let dropped = [
        network.dropped_full,
        network.dropped_no_address,
        network.dropped_no_connection,
        network.dropped_too_large,
    ];
    let help = "Messages to other nodes that were dropped: too many waited, or there was no way";
    counter("cluster_messages_dropped", help, None, dropped.iter().sum())?;
    let help = "Envelopes of other nodes that came while too many waited, and were dropped";
    let dropped = cluster.member().handle().turn_counters().dropped;
    counter("cluster_envelopes_dropped", help, None, dropped)?;
    let help = "Connections to other nodes that could not be made";
    counter(
        "cluster_connections_failed",
        help,
        None,
        network.connections_failed,
    )?;
    let help = "Connections of others that were refused";
    counter(
        "cluster_connections_refused",
        help,
        None,
        network.connections_refused,
    )?;
    let events = cluster.member().events();
    let help = "Times that this node became the leader of a group";
    counter("cluster_leaderships", help, None, events.leaderships)?;
    let help = "Replicas of this node that had to stop";
    counter("cluster_halts", help, None, events.halted)?;
    let help = "Groups that were forced to go on with the replica of this node alone";
    counter("cluster_forced", help, None, events.forced)?;
    let help = "Entries that only this node had, and that are lost since others went on without it";
    counter("cluster_entries_lost", help, None, events.entries_lost)?;
    let help = "Replicas of this node that were brought by a snapshot";
    counter(
        "cluster_snapshots_installed",
        help,
        None,
        events.snapshots_installed,
    )?;
    let help = "Times that the clock of another node was found to run out of bound";
    counter("cluster_clock_drifts", help, None, events.clock_drifts)
}

fn replicas(looked: &Looked, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut gauge = |name: &str, help: &str, value: usize| {
        let metric = ConstGauge::new(value as f64);
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    };
    let help = "Whether this node decides about the cluster: 1 or 0";
    gauge("cluster_supervises", help, usize::from(looked.supervises))?;
    let leads = looked
        .own
        .iter()
        .filter(|replica| is_leader(replica) && replica.group != META);
    let help = "Databases that this node leads";
    gauge("cluster_databases_led", help, leads.count())?;
    let held = looked.own.iter().filter(|replica| replica.group != META);
    let help = "Databases of which this node has a replica";
    gauge("cluster_replicas", help, held.count())?;
    let halted = looked.own.iter().filter(|replica| replica.halted.is_some());
    let help = "Replicas of this node that have stopped";
    gauge("cluster_replicas_halted", help, halted.count())?;
    gauge("cluster_nodes", "Nodes of the cluster", looked.meta.nodes().len())?;
    let settled = looked.meta.groups().values().filter(|group| !group.is_settled());
    let help = "Groups that are not yet where they are to be";
    gauge("cluster_groups_unsettled", help, settled.count())?;
    let help = "Whether a change of mode or leader is under way: 1 or 0";
    gauge(
        "cluster_switching",
        help,
        usize::from(looked.meta.switch().is_some()),
    )?;
    if !looked.supervises {
        return Ok(());
    }
    let (silent, lag) = (NodeGauges::default(), ReplicaGauges::default());
    for (node, since, replicas) in &looked.seen {
        let Some(record) = looked.meta.nodes().get(node) else {
            continue;
        };
        let labels = NodeLabels {
            node: record.name.clone(),
        };
        silent.get_or_create(&labels).set(since.as_secs_f64());
        for replica in replicas {
            let group = looked.meta.group(replica.group);
            // Of one that the node has no more, the last report stays.
            let group = group.filter(|group| group.replicas.get(node) == Some(&replica.replica));
            if let Some(shard) = group.and_then(|group| group.shard.as_ref()) {
                let labels = ReplicaLabels {
                    node: record.name.clone(),
                    database: shard.database.to_string(),
                };
                lag.get_or_create(&labels).set(behind(looked, replica) as f64);
            }
        }
    }
    let help = "Time since a node was heard by this one, which decides about the cluster";
    let unit = Some(Unit::Seconds);
    let descriptor =
        encoder.encode_descriptor("cluster_node_silent", help, unit.as_ref(), silent.metric_type())?;
    silent.encode(descriptor)?;
    let help = "Entries by which a node's replica of a database is behind the leader, as this node has heard, which decides \
                about the cluster";
    let descriptor =
        encoder.encode_descriptor("cluster_replica_lag_entries", help, None, lag.metric_type())?;
    lag.encode(descriptor)
}

fn is_leader(replica: &ReplicaReport) -> bool {
    replica.role == Role::Leader && replica.halted.is_none()
}

fn behind(looked: &Looked, replica: &ReplicaReport) -> u64 {
    let all = looked.seen.iter().flat_map(|(_, _, replicas)| replicas);
    let leaders = all.filter(|other| {
        other.group == replica.group && other.incarnation == replica.incarnation && is_leader(other)
    });
    let leader = leaders.max_by_key(|leader| leader.term);
    leader.map_or(0, |leader| leader.last.index.saturating_sub(replica.applied))
}
