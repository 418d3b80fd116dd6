//! Three servers in this process, which are one cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pliantdb_cluster::Mode;
use pliantdb_cluster::meta::MetaCommand;
use pliantdb_cluster_member::{DatabaseStatus, Member, Status};
use pliantdb_conformance::{feed, schema};
use pliantdb_core::{Schema, StorageConnection};
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Addresses, Builder, Local, Server};
use tempfile::TempDir;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How many there are.
pub const NODES: usize = 3;

/// How long a cluster may take to be as it is to be.
const SETTLING: Duration = Duration::from_secs(60);

/// Whether writes are acknowledged by one node or by most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    OneLeader,
    Quorum,
}

/// A node that runs.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    addresses: Addresses,
    nodes_address: SocketAddr,
    fingerprint: String,
    databases: Local,
    member: Arc<Member>,
}

/// Three nodes, with their data.
pub struct Nodes {
    directory: TempDir,
    runtime: Runtime,
    running: Vec<Running>,
}

struct Registering(Builder);

impl schema::Register for Registering {
    fn schema<S: Schema>(self) -> Self {
        Self(self.0.schema::<S>())
    }
}

impl Nodes {
    /// A new cluster, of which the first founds it and the others join.
    pub fn start(kind: Kind) -> Self {
        let runtime = RuntimeBuilder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut nodes = Self {
            directory: tempfile::tempdir().unwrap(),
            runtime,
            running: Vec::new(),
        };
        for number in 0..NODES {
            let running = nodes.run(number, None);
            nodes.running.push(running);
        }
        if kind == Kind::Quorum {
            let first = Arc::clone(&nodes.running[0].member);
            let change = first.change(MetaCommand::Switch { to: Mode::Quorum });
            nodes.runtime.block_on(change).unwrap();
        }
        nodes.wait_until_settled(kind);
        nodes
    }

    fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("node-{number}"))
    }

    fn run(&self, number: usize, again_at: Option<(Addresses, SocketAddr)>) -> Running {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, quic, nodes_address) = match &again_at {
            Some((addresses, nodes)) => (addresses.http, addresses.quic, *nodes),
            None => (any, any, any),
        };
        let mut inputs = Inputs {
            data: Some(self.data(number)),
            listen: Some(http.to_string()),
            quic_listen: Some(quic.to_string()),
            admin_listen: Some("127.0.0.1:0".to_owned()),
            max_body_size: Some("64Mi".parse().unwrap()),
            nodes_listen: Some(nodes_address.to_string()),
            node_name: Some(format!("node-{number}")),
            ..Inputs::default()
        };
        if let (Some(first), None) = (self.running.first(), again_at) {
            let token = first.member.make_join_token(SETTLING);
            let (token, _) = self.runtime.block_on(token).unwrap();
            let file = self.directory.path().join(format!("token-{number}"));
            std::fs::write(&file, token.reveal()).unwrap();
            inputs.join = Some(vec![first.nodes_address.to_string()]);
            inputs.join_token_file = Some(file);
        }
        let settings = Settings::load(inputs, None).unwrap();
        let builder = Server::builder(settings)
            .change_retention(feed::RETENTION)
            // Many of these are in one process.
            .memory_limit(256 << 20)
            .api(|_, request: schema::Greet| schema::greet(&request));
        let Registering(builder) = schema::register(Registering(builder));
        let server = self.runtime.block_on(builder.start()).unwrap();
        let member = server.member().unwrap();
        let (stop, stopped) = oneshot::channel();
        Running {
            stop,
            addresses: server.addresses(),
            nodes_address: member.network().local_address(),
            fingerprint: server.fingerprint(),
            databases: server.databases(),
            member,
            task: self.runtime.spawn(async move {
                let stop = async {
                    let _ = stopped.await;
                };
                server.run(stop).await.unwrap();
            }),
        }
    }

    fn wait_until_settled(&self, kind: Kind) {
        let member = Arc::clone(&self.running[0].member);
        self.runtime.block_on(async {
            let until = Instant::now() + SETTLING;
            loop {
                let status = member.status().await;
                if status.as_ref().is_ok_and(|status| is_settled(status, kind)) {
                    return;
                }
                assert!(
                    Instant::now() < until,
                    "the cluster is not as it is to be: {status:?}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Ends all nodes, and starts them again at the same addresses.
    pub fn restart(&mut self) {
        let ended = self.end();
        self.running = Vec::new();
        for (number, at) in ended.into_iter().enumerate() {
            let running = self.run(number, Some(at));
            self.running.push(running);
        }
    }

    fn end(&mut self) -> Vec<(Addresses, SocketAddr)> {
        let mut ended = Vec::new();
        for running in self.running.drain(..) {
            let _ = running.stop.send(());
            self.runtime.block_on(running.task).unwrap();
            ended.push((running.addresses, running.nodes_address));
        }
        ended
    }

    /// Ends one node. The cluster is for no other test then, and the later nodes have another number.
    pub fn stop(&mut self, number: usize) {
        let running = self.running.remove(number);
        let _ = running.stop.send(());
        self.runtime.block_on(running.task).unwrap();
    }

    /// Makes it as a new one: without databases but an empty `default`.
    pub fn clear(&self) {
        let databases = &self.running[0].databases;
        self.runtime.block_on(async {
            for name in databases.databases().await.unwrap() {
                databases.delete_database(name.as_str()).await.unwrap();
            }
            databases.create_database::<()>("default").await.unwrap();
        });
    }

    /// The addresses of the nodes for QUIC.
    pub fn quic(&self) -> Vec<String> {
        let address = |running: &Running| {
            let Running {
                addresses,
                fingerprint,
                ..
            } = running;
            format!("pliant://{}?fingerprint={fingerprint}", addresses.quic)
        };
        self.running.iter().map(address).collect()
    }

    /// The addresses of the nodes for HTTP.
    pub fn http(&self) -> Vec<SocketAddr> {
        self.running
            .iter()
            .map(|running| running.addresses.http)
            .collect()
    }

    /// Runs what is asynchronous.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_settled(status: &Status, kind: Kind) -> bool {
    let is_whole = |database: &DatabaseStatus| {
        database.is_settled && database.voters.len() + database.learners.len() == NODES
    };
    (status.mode == Mode::Quorum) == (kind == Kind::Quorum)
        && status.switch.is_none()
        && status.nodes.len() == NODES
        && !status.databases.is_empty()
        && status.databases.iter().all(is_whole)
}

/// Some node, another each time.
pub fn any() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    // By a walk that visits the nodes in no order that a test could go by.
    let step = LAST.fetch_add(1, Ordering::Relaxed);
    (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % NODES
}
