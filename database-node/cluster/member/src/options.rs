//! What a member is started with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::Timing;
use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::node::Limits;
use pliantdb_cluster_transport::{CertificateFiles, JoinToken};
use pliantdb_storage::StateStore;
use pliantdb_storage::encryption::KeyVault;
use pliantdb_storage::memory::MemoryPlan;

use crate::services::Services;

/// The attribute of a node that says where others reach it, as `host:port`.
pub const ADDRESS: &str = "address";

/// What a member is started with.
pub struct Options {
    /// Its directory, which is made when there is none.
    pub directory: PathBuf,
    /// Its name; no two nodes of a cluster have the same.
    pub name: String,
    /// Its attributes besides [`ADDRESS`]: zone, region and what else its owner chose.
    pub attributes: BTreeMap<String, String>,
    /// Where it listens to other nodes (UDP).
    pub listen: SocketAddr,
    /// Where others reach it, as `host:port`; by default where it listens.
    pub advertise: Option<String>,
    /// How it becomes part of a cluster. Of no account once its directory is of one.
    pub formation: Formation,
    /// Where its certificate comes from.
    pub certificates: Certificates,
    /// How much memory its two stores take together.
    pub memory: MemoryPlan,
    /// How many bytes must stay free on the disk for writes to be taken, as [`pliantdb_storage::Options::min_free_space`].
    pub min_free_space: Option<u64>,
    /// The master key that its stores are encrypted with, or are to be when they are made; `None` for no encryption.
    pub encryption: Option<Arc<dyn KeyVault>>,
    /// Hears which states of shards it has, so that each can be given a database; `Box::new(())` for nobody.
    pub watch: Box<dyn Watch<StateStore>>,
    /// What answers what servers of other nodes ask; `None` where nobody does.
    pub services: Option<Services>,
    /// How long things may take; the same on all nodes.
    pub timing: Timing,
    /// How much is kept and sent.
    pub limits: Limits,
}

/// How a node becomes part of a cluster.
#[derive(Debug, Clone)]
pub enum Formation {
    /// It founds one of itself.
    Found {
        /// The name of the cluster, in its certificates.
        cluster: String,
    },
    /// It joins one.
    Join {
        /// Where some of its nodes are, as `host:port`; one that answers will do.
        seeds: Vec<String>,
        /// What a certificate is given for; of no account when there is one.
        token: Option<JoinToken>,
    },
}

/// Where a node's certificate comes from.
#[derive(Debug, Clone)]
pub enum Certificates {
    /// From the cluster's own authority, which the founder makes and keeps; those who join get theirs for a token.
    Own {
        /// For how long those that this node issues are good.
        lifetime: Duration,
    },
    /// From its owner. They are read anew when they change.
    Files(CertificateFiles),
}
