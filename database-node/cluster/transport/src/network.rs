//! A node's place on the network between the nodes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster_driver::Transport;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use quinn_proto::RandomConnectionIdGenerator;

use crate::certificates::{CertificateError, Credentials};
use crate::counters::{Counters, Dropped};
use crate::hello::Identity;
use crate::hooks::Hooks;
use crate::joining::Giver;
use crate::outbox::Bounds;
use crate::requests::{self, RequestError};
use crate::shared::{Parts, Shared};
use crate::streaming::{self, Answers};
use crate::{listening, seeds, tls};

/// The bytes of a connection's id, all of them random.
const CONNECTION_ID: usize = 12;
/// How long others have to hear that this node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much a transport takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// So many bytes of messages that replicate logs may wait for one peer; what does not fit is dropped, but for the first
    /// that waits.
    pub max_waiting: usize,
    /// So many bytes of all other messages of consensus, likewise.
    pub max_waiting_control: usize,
    /// So many bytes of chunks of snapshots, likewise.
    pub max_waiting_bulk: usize,
    /// So many connections of others there may be.
    pub max_connections: usize,
    /// So many bytes may requests of others have together that are being answered. At least twice
    /// [`crate::MAX_REQUEST`] should fit.
    pub max_request_memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_waiting: 32 << 20,
            max_waiting_control: 4 << 20,
            max_waiting_bulk: 4 << 20,
            max_connections: 4096,
            max_request_memory: 128 << 20,
        }
    }
}

impl Options {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            control: self.max_waiting_control,
            log: self.max_waiting,
            bulk: self.max_waiting_bulk,
        }
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket cannot be opened.
    #[error("nodes cannot listen on {address} (UDP): {reason}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// How the way to another node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Where it is to be, as it was told.
    pub address: String,
    /// Over how long a round trip the connection to it goes; `None` when there is none.
    pub round_trip: Option<Duration>,
    /// Where the connection to it goes.
    pub connected_to: Option<SocketAddr>,
    /// How often no connection could be made.
    pub failures: u64,
    /// Why there is none; empty when there is, or none was needed.
    pub reason: String,
    /// How many bytes wait to be sent to it.
    pub waiting: usize,
}

/// A node's place on the network between the nodes, until it is closed or dropped.
pub struct Network {
    shared: Arc<Shared>,
}

impl Network {
    /// Opens the socket, which is to be called within a runtime of tokio. Nothing is taken from others before
    /// [`Network::start`].
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: SocketAddr, credentials: Credentials, options: Options) -> Result<Self, BindError> {
        let failed = |reason| BindError::Socket { address, reason };
        let socket = UdpSocket::bind(address).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let server = tls::server(&credentials)?;
        // The same after a restart, so that other nodes learn at once that their connections are gone (RFC 9000, section
        // 10.3); for that, any id is answered.
        let reset = hmac::Key::new(hmac::HMAC_SHA256, &credentials.current().secret);
        let mut config = EndpointConfig::new(Arc::new(reset));
        config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID)));
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).map_err(failed)?;
        let mut process = [0; 8];
        rand::fill(&mut process).map_err(|_| CertificateError::making("no randomness"))?;
        let parts = Parts {
            options,
            endpoint,
            local,
            credentials,
            process: u64::from_ne_bytes(process),
            runtime: tokio::runtime::Handle::current(),
        };
        Ok(Self {
            shared: Arc::new(Shared::new(parts)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// What a [`pliantdb_cluster_driver::Driver`] is opened with.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender {
            shared: Arc::clone(&self.shared),
            last: None,
        }
    }

    /// Takes connections of others from now on. The second time it changes nothing.
    pub fn start(&self, hooks: Hooks) {
        if self.shared.hooks.set(hooks).is_ok() {
            self.shared
                .runtime
                .spawn(listening::listen(Arc::clone(&self.shared)));
        }
    }

    /// Says who this node is: after a start as part of a cluster, after founding one, and after joining. Other nodes take no
    /// one for a node that has not said it.
    pub fn set_identity(&self, cluster: u128, node: NodeId) {
        self.shared.set_identity(Identity {
            cluster,
            peer: Peer::Node(node),
        });
    }

    /// The node that this one is to others, once it has said so: [`Network::set_identity`].
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.shared.identity.borrow().and_then(|identity| identity.node())
    }

    /// Says where a node is, `host:port`, also when that has changed. It is looked up anew for each connection. One of more
    /// than 261 bytes is none: then this is `false`.
    pub fn set_address(&self, node: NodeId, address: &str) -> bool {
        self.shared.set_address(node, address.to_owned(), true)
    }

    /// Forgets a node that has left the cluster.
    pub fn remove_address(&self, node: NodeId) {
        self.shared.remove_address(node);
    }

    /// Gives certificates to nodes that join, from now on or not any more.
    pub fn set_giver(&self, giver: Option<Giver>) {
        self.shared.set_giver(giver.map(Arc::new));
    }

    /// Looks for the cluster that this node is to join, at addresses (`host:port`) of some of its nodes. `ask` is called
    /// with the nodes that were found, whenever there are more of them, and is to call `pliantdb_cluster_driver::Handle::join`
    /// with the same token. It ends when this node has its identity, or the network is closed.
    ///
    /// Each node that answers names all others that it knows: a joiner asks all, for the leader of the meta group answers by
    /// the connection over which it was asked itself.
    pub async fn join(&self, token: u128, seeds: &[String], ask: impl FnMut(Vec<Peer>)) {
        let joined = seeds::join(&self.shared, token, seeds, ask);
        self.shared.stop.run_until_cancelled(joined).await;
    }

    /// Asks another node something, beside consensus, and waits for the answer for so long.
    ///
    /// # Errors
    /// [`RequestError`]; after [`RequestError::Unknown`] it may have been done, and in some other cases it was not.
    pub async fn request(
        &self,
        node: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        requests::ask(&self.shared, node, request, deadline, |remote| &remote.places).await
    }

    /// [`Network::request`] for what is small, soon answered, and not to wait for those that are neither: it has places of its
    /// own.
    ///
    /// # Errors
    /// As [`Network::request`].
    pub async fn inquire(
        &self,
        node: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        requests::ask(&self.shared, node, request, deadline, |remote| {
            &remote.urgent_places
        })
        .await
    }

    /// Asks another node something that is answered by many messages. The first sign of the node is waited for so long.
    ///
    /// # Errors
    /// As [`Network::request`].
    pub async fn stream(
        &self,
        node: NodeId,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Answers, RequestError> {
        streaming::ask(&self.shared, node, request, deadline).await
    }

    /// What was sent, received and dropped so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counting.counters()
    }

    /// How the ways to other nodes are.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |remote: Arc<crate::remote::Remote>| {
            let link = remote.link.borrow().clone();
            let open = link
                .connection
                .filter(|connection| connection.close_reason().is_none());
            PeerStatus {
                node: remote.node,
                address: remote.address(),
                round_trip: open.as_ref().map(quinn::Connection::rtt),
                connected_to: open.as_ref().map(quinn::Connection::remote_address),
                failures: link.failures,
                reason: link.reason,
                waiting: remote.outbox.bytes(),
            }
        };
        self.shared.remotes().into_iter().map(status).collect()
    }

    /// Closes all connections, and waits a moment for others to hear of it. The socket is closed soon after, when the tasks
    /// have ended.
    pub async fn close(&self) {
        if let Some(endpoint) = self.shared.end() {
            // Whoever does not hear of it finds out by itself.
            let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Sends a node's envelopes. It does not keep the network open.
pub struct Sender {
    shared: Arc<Shared>,
    last: Option<Identity>,
}

impl Transport for Sender {
    fn send(&mut self, to: Peer, envelope: Envelope) {
        let identity = Identity {
            cluster: envelope.cluster,
            peer: envelope.from,
        };
        if self.last != Some(identity) {
            self.last = Some(identity);
            self.shared.set_identity(identity);
        }
        let counting = &self.shared.counting;
        let messages = envelope.messages;
        let unknown = match to {
            Peer::Node(node) => match self.shared.remote(node) {
                Some(remote) => return remote.outbox.put(messages, counting),
                None => messages,
            },
            Peer::Joiner(token) => match self.shared.joiner(token) {
                Some(outbox) => return outbox.put(messages, counting),
                None => messages,
            },
        };
        counting.dropped(Dropped::NoAddress, unknown.len());
    }
}
