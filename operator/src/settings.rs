//! Flags and environment variables of the operator.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// The PliantDB operator: turns PliantCluster resources into running databases.
#[derive(Clone, Debug, Parser)]
#[command(name = "pliant-operator", version)]
pub struct Settings {
    /// Look after the PliantClusters of this namespace only. Left out: of all namespaces.
    #[arg(long, env = "PLIANT_OPERATOR_NAMESPACE", value_parser = non_empty)]
    pub namespace: Option<String>,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "PLIANT_OPERATOR_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The image of database nodes, without a tag; a PliantCluster's version becomes the tag.
    #[arg(
        long,
        env = "PLIANT_OPERATOR_NODE_IMAGE",
        default_value = "docker.io/pliantdb/pliant-node"
    )]
    pub node_image: String,

    /// The version of the nodes of a PliantCluster that names neither a version nor an image.
    #[arg(long, env = "PLIANT_OPERATOR_NODE_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub node_version: String,

    /// The DNS domain of the Kubernetes cluster, for the address in a PliantCluster's status.
    #[arg(long, env = "PLIANT_OPERATOR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// The name of this replica, unique among the operator's replicas; on Kubernetes, the pod's name.
    #[arg(long, env = "PLIANT_OPERATOR_IDENTITY", default_value_t = default_identity())]
    pub identity: String,

    /// The name of the Lease that the operator's replicas compete for.
    #[arg(long, env = "PLIANT_OPERATOR_LEASE", default_value = "pliant-operator")]
    pub lease: String,

    /// How log lines are written.
    #[arg(long, env = "PLIANT_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug, trace, or a filter such as
    /// pliant_operator=debug,kube=info.
    #[arg(long, env = "PLIANT_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = filter)]
    pub log_level: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Unique as long as no identity is given by hand: the process id tells apart two on one machine.
fn default_identity() -> String {
    format!(
        "pliant-operator-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    )
}

fn non_empty(text: &str) -> Result<String, String> {
    match text {
        "" => Err("is empty; name a namespace, or leave it out for all namespaces".into()),
        _ => Ok(text.into()),
    }
}

fn filter(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::EnvFilter>()
        .map(|_| text.into())
        .map_err(|error| error.to_string())
}
