//! The node as a member of a cluster.

mod changes;
mod joining;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::Timing;
use pliantdb_cluster::node::Limits;
use pliantdb_cluster_driver::Failure;
use pliantdb_cluster_member::{Certificates, Formation, Member, Options, StartError};
use pliantdb_cluster_transport::CertificateFiles;
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::{Options as StorageOptions, StorageError};
use tokio::sync::oneshot;

pub(crate) use changes::AdminError;
pub use joining::{JoinTokenError, VARIABLE as JOIN_TOKEN_VARIABLE};

use crate::access::Sessions;
use crate::certificate::{self, Certificate};
use crate::config::{Clustering, Host, NodeCertificate, Settings};
use crate::databases::{Clustered, Foundation};
use crate::encryption::{self, KeyError};
use crate::executor::Executor;
use crate::schemas::Schemas;

/// For how long certificates are good that nodes get from the cluster's own authority.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The attribute of a node that says where clients reach it by HTTP.
pub(crate) const HTTP: &str = "http";
/// That says where clients reach it by QUIC.
pub(crate) const QUIC: &str = "quic";
/// That says what they know its certificate by, if it has made that itself.
pub(crate) const FINGERPRINT: &str = "fingerprint";
/// The version that it runs.
const VERSION: &str = "version";

/// Why the node cannot be a member of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// What it is to join with cannot be used.
    #[error(transparent)]
    Token(#[from] JoinTokenError),
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It has no master key where there should be one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It has stopped at once.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Where a node serves its clients.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    /// HTTP, where the server serves it itself, and whether by TLS.
    pub(crate) http: Option<(SocketAddr, bool)>,
    /// QUIC.
    pub(crate) quic: SocketAddr,
    /// The SHA-256 of the certificate for clients, if the node has made it itself.
    pub(crate) fingerprint: Option<String>,
}

/// What the databases of a cluster are served with.
pub(crate) struct Serving {
    /// Who answers custom APIs, and for how long changes are kept.
    pub(crate) options: StorageOptions,
    /// The schemas whose code is here.
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) executor: Arc<Executor>,
    /// Who has logged in.
    pub(crate) sessions: Arc<Sessions>,
    /// What the two stores take.
    pub(crate) memory: MemoryPlan,
    /// Is told when the node cannot go on.
    pub(crate) failure: oneshot::Sender<StorageError>,
}

/// Opens the data directory as that of a member, and gives the databases of its cluster when it is part of one.
///
/// # Errors
/// [`ClusterError`].
pub(crate) async fn open(
    settings: &Settings,
    clustering: &Clustering,
    doors: &Doors,
    serving: Serving,
) -> Result<Arc<Clustered>, ClusterError> {
    let Serving {
        options,
        schemas,
        executor,
        sessions,
        memory,
        failure,
    } = serving;
    let foundation = Foundation::new(options.apis, schemas);
    let cluster = Cluster::start(settings, clustering, doors, memory, &foundation).await?;
    let nodes_address = cluster.member().network().local_address();
    tracing::info!(%nodes_address, name = clustering.name, "listening to other nodes");
    let retention = options
        .change_retention
        .unwrap_or(pliantdb_storage::CHANGE_RETENTION);
    let clustered = Clustered::start(
        foundation,
        Arc::new(cluster),
        executor,
        sessions,
        retention,
        settings.snapshot_lifetime,
    )
    .await?;
    tokio::spawn(clustered.clone().watch_failure(failure));
    Ok(clustered)
}

/// The node as a member of a cluster, until it is stopped.
pub(crate) struct Cluster {
    member: Arc<Member>,
}

impl Cluster {
    /// Opens the data directory as that of a member, founds a cluster or joins one; a joiner without a certificate waits
    /// here until a node gives it one. The two stores take what `memory` says.
    pub(crate) async fn start(
        settings: &Settings,
        clustering: &Clustering,
        doors: &Doors,
        memory: MemoryPlan,
        foundation: &Foundation,
    ) -> Result<Self, ClusterError> {
        let certificates = match &clustering.certificate {
            NodeCertificate::Own { .. } => Certificates::Own {
                lifetime: CERTIFICATE_LIFETIME,
            },
            NodeCertificate::Files {
                certificate,
                key,
                authority,
            } => Certificates::Files(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: authority.clone(),
            }),
        };
        let options = Options {
            directory: settings.data.clone(),
            name: clustering.name.clone(),
            attributes: attributes(clustering, doors),
            listen: clustering.listen,
            // The port may be any free one, which is known when it listens.
            advertise: match clustering.listen.port() {
                0 => None,
                port => Some(clustering.advertise.with_port(port)),
            },
            formation: formation(settings, clustering)?,
            certificates,
            memory,
            min_free_space: settings.min_free_space,
            encryption: encryption::master_key(settings.master_key_file.as_deref())?,
            watch: foundation.watch(),
            services: Some(foundation.services()),
            timing: Timing::default(),
            limits: Limits::default(),
        };
        Ok(Self {
            member: Arc::new(Member::start(options).await?),
        })
    }

    /// The member.
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn shared_member(&self) -> Arc<Member> {
        Arc::clone(&self.member)
    }

    /// Tells the others what the node's certificate for clients is known by, when that changes, for ever.
    pub(crate) async fn follow_certificate(self: Arc<Self>, certificate: Certificate) {
        loop {
            tokio::time::sleep(certificate::INTERVAL).await;
            self.member.set_attribute(FINGERPRINT, certificate.fingerprint());
        }
    }

    /// Says goodbye to the other nodes, and stops.
    ///
    /// # Errors
    /// [`Failure`], when the node had stopped by itself before.
    pub(crate) async fn stop(&self) -> Result<(), Failure> {
        self.member.stop().await
    }
}

fn formation(settings: &Settings, clustering: &Clustering) -> Result<Formation, ClusterError> {
    if clustering.join.is_empty() {
        return Ok(Formation::Found {
            cluster: clustering.cluster.clone(),
        });
    }
    let token = match &clustering.certificate {
        NodeCertificate::Own { token_file } => joining::token(&settings.data, token_file.as_deref())?,
        NodeCertificate::Files { .. } => None,
    };
    Ok(Formation::Join {
        seeds: clustering.join.clone(),
        token,
    })
}

/// What the other nodes and clients are told of the node, besides its address for nodes.
fn attributes(clustering: &Clustering, doors: &Doors) -> BTreeMap<String, String> {
    let at = |address: SocketAddr| {
        // What only this machine can reach has no other name.
        let host = match address.ip().is_loopback() {
            true => Host::from(address.ip()),
            false => clustering.advertise.clone(),
        };
        host.with_port(address.port())
    };
    let mut attributes = clustering.attributes.clone();
    if let Some((address, is_tls)) = doors.http {
        let scheme = if is_tls { "https" } else { "http" };
        attributes.insert(HTTP.to_owned(), format!("{scheme}://{}", at(address)));
    }
    attributes.insert(QUIC.to_owned(), at(doors.quic));
    if let Some(fingerprint) = &doors.fingerprint {
        attributes.insert(FINGERPRINT.to_owned(), fingerprint.clone());
    }
    attributes.insert(VERSION.to_owned(), crate::VERSION.to_owned());
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_where_clients_reach_it() {
        let clustering = Clustering {
            listen: "0.0.0.0:6482".parse().unwrap(),
            advertise: "db-1".parse().unwrap(),
            name: "one".to_owned(),
            attributes: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            join: Vec::new(),
            cluster: "test".to_owned(),
            certificate: NodeCertificate::Own { token_file: None },
        };
        let doors = Doors {
            http: Some(("0.0.0.0:6480".parse().unwrap(), true)),
            quic: "[::1]:6481".parse().unwrap(),
            fingerprint: Some("ab".to_owned()),
        };
        let told = attributes(&clustering, &doors);
        let told: Vec<_> = told
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let version = format!("version={}", crate::VERSION);
        let wanted = [
            "fingerprint=ab",
            "http=https://db-1:6480",
            "quic=[::1]:6481",
            &version,
            "zone=a",
        ];
        assert_eq!(told, wanted);
    }
}
