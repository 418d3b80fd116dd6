//! What tests start: an authority, nodes' certificates, networks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use pliantdb_cluster::wire::raft::{Body, RaftMessage, WireEntry};
use pliantdb_cluster::wire::{Beat, Envelope, FetchedChunk, Message, Peer, SentChunk};
use pliantdb_cluster::{Incarnation, LogPoint, NodeId, ReplicaId};
use pliantdb_cluster_transport::{Authority, CertificateFiles, Credentials, Hooks, Network, Options};
use pliantdb_core::GroupId;
use tempfile::TempDir;

/// The cluster of all tests.
pub const CLUSTER: u128 = 7;
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority, and a folder for what it issues.
pub struct Machines {
    pub folder: TempDir,
    pub authority: Arc<Authority>,
}

impl Machines {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            Authority::create(&folder.path().join("authority"), "test", SystemTime::now()).unwrap();
        Self {
            folder,
            authority: Arc::new(authority),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate of a node.
    pub fn credentials(&self, node: u32) -> Credentials {
        let files = CertificateFiles::within(&self.path().join(format!("node-{node}")));
        match files.certificate.exists() {
            true => Credentials::open(files).unwrap(),
            false => self.issue(&files),
        }
    }

    /// Issues a certificate into files, with the key that is there or a new one.
    pub fn issue(&self, files: &CertificateFiles) -> Credentials {
        let certified = self.authority.certify(files.clone(), DAY, SystemTime::now());
        certified.unwrap()
    }

    /// The network of a node on any port.
    pub fn network(&self, node: u32) -> Network {
        self.network_with(node, Options::default())
    }

    pub fn network_with(&self, node: u32, options: Options) -> Network {
        let network = Network::bind(any(), self.credentials(node), options).unwrap();
        network.set_identity(CLUSTER, id(node));
        network
    }
}

/// Any port.
pub fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn id(node: u32) -> NodeId {
    NodeId::new(node)
}

pub fn peer(node: u32) -> Peer {
    Peer::Node(id(node))
}

/// The network of a node at an address where another was just closed.
pub async fn network_at(address: SocketAddr, credentials: &Credentials) -> Network {
    let began = Instant::now();
    loop {
        match Network::bind(address, credentials.clone(), Options::default()) {
            Ok(network) => return network,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts a network whose envelopes come out of what this returns.
pub fn hear(network: &Network) -> Receiver<(Instant, Envelope)> {
    let (sender, receiver) = channel();
    network.start(Hooks::new(receive(sender)));
    receiver
}

pub fn receive(sender: Sender<(Instant, Envelope)>) -> impl Fn(Envelope, usize) + Send + Sync + 'static {
    let sender = std::sync::Mutex::new(sender);
    move |envelope, _| {
        // Fails only when the test is over.
        let _ = sender.lock().unwrap().send((Instant::now(), envelope));
    }
}

/// Tells one where the other is.
pub fn tell(network: &Network, node: u32, other: &Network) {
    assert!(network.set_address(id(node), &other.local_address().to_string()));
}

pub fn envelope(from: u32, to: u32, messages: Vec<Message>) -> Envelope {
    Envelope {
        cluster: CLUSTER,
        from: peer(from),
        to: peer(to),
        messages,
    }
}

/// A small message with a number.
pub fn beat(number: u64) -> Message {
    Message::Beat(Beat {
        process: 0,
        lost: number,
    })
}

/// The numbers of those in envelopes.
pub fn beats(envelopes: impl IntoIterator<Item = Envelope>) -> Vec<u64> {
    let messages = envelopes.into_iter().flat_map(|envelope| envelope.messages);
    let numbers = messages.filter_map(|message| match message {
        Message::Beat(beat) => Some(beat.lost),
        _ => None,
    });
    numbers.collect()
}

/// A large one.
pub fn chunk(number: u32, bytes: usize) -> Message {
    Message::Chunk(FetchedChunk {
        group: GroupId::new(1),
        snapshot: 1,
        number,
        chunk: Some(SentChunk {
            bytes: vec![7; bytes],
            next: None,
        }),
    })
}

/// What replicates a log, of so many bytes.
pub fn append(from: u32, to: u32, bytes: usize) -> Message {
    let entry = WireEntry {
        term: 1,
        is_membership: false,
        payload: vec![7; bytes],
    };
    Message::Raft(RaftMessage {
        group: GroupId::new(1),
        incarnation: Incarnation::FIRST,
        from: ReplicaId::new(id(from), 1),
        to: ReplicaId::new(id(to), 1),
        term: 1,
        stamp: None,
        body: Body::Append {
            previous: LogPoint::default(),
            entries: vec![entry],
            commit: 0,
        },
    })
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it did not become so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
