//! Nodes as a server is to start them: a store, a driver and a network each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pliantdb_cluster::meta::{MetaCommand, MetaOutcome};
use pliantdb_cluster::node::{Answer, Ask, Event, Freshness, Limits, Mark};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{META, Meta, Mode, NodeId, Settings, Timing};
use pliantdb_cluster_driver::{Driver, Handle, Options as DriverOptions, Transport};
use pliantdb_cluster_transport::{Hooks, Network, Sender};
use pliantdb_core::{
    Body, DatabaseName, Expiry, GroupId, KeyAction, KeyCondition, KeyName, NamespaceName, Operation, Request,
    Response, SlotCount, WriteAction,
};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{MemoryStore, OrderedStore, RocksStore};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::machines::{CLUSTER, Machines, any, network_at};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The attribute of a node that says where it is.
const ADDRESS: &str = "address";

/// Sends over the network that a node has at the time.
type Through = Arc<Mutex<Option<Sender>>>;

struct Running<S: OrderedStore> {
    driver: Option<Driver<S>>,
    handle: Handle<S>,
    network: Option<Arc<Network>>,
    through: Through,
    address: SocketAddr,
    events: Arc<Mutex<Vec<Event>>>,
    following: JoinHandle<()>,
}

impl<S: OrderedStore> Running<S> {
    /// Starts a node on its stores, at an address.
    async fn start(
        machines: &Machines,
        node: u32,
        stores: (Arc<S>, Arc<S>),
        address: SocketAddr,
        limits: Limits,
    ) -> Self {
        let network = network_at(address, &machines.credentials(node)).await;
        let address = network.local_address();
        let settings = Settings {
            name: format!("node-{node}"),
            attributes: BTreeMap::from([(ADDRESS.to_owned(), address.to_string())]),
            apply_version: pliantdb_core::APPLY_VERSION,
            seed: rand_seed(),
            timing: Timing::default(),
            limits,
        };
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (telling, through) = (Arc::clone(&events), Through::default());
        let sending = Arc::clone(&through);
        let send = move |to: Peer, envelope: Envelope| {
            if let Some(sender) = sending.lock().unwrap().as_mut() {
                sender.send(to, envelope);
            }
        };
        let driver = Driver::open(
            settings,
            DriverOptions::default(),
            stores.0,
            stores.1,
            send,
            (),
            move |event| {
                telling.lock().unwrap().push(event);
            },
        );
        let driver = driver.unwrap();
        let handle = driver.handle().clone();
        let mut running = Self {
            driver: Some(driver),
            handle,
            network: None,
            through,
            address,
            events,
            following: tokio::spawn(async {}),
        };
        running.open(network);
        running
    }

    /// Uses a network from now on.
    fn open(&mut self, network: Network) {
        let network = Arc::new(network);
        *self.through.lock().unwrap() = Some(network.sender());
        let receiver = self.handle.clone();
        network.start(Hooks::new(move |envelope, bytes| {
            receiver.receive_sized(envelope, bytes);
        }));
        self.following.abort();
        self.following = tokio::spawn(follow(self.handle.clone(), Arc::clone(&network)));
        self.network = Some(network);
    }

    /// Closes its network, so that nobody hears of it any more.
    async fn close(&mut self) {
        *self.through.lock().unwrap() = None;
        self.following.abort();
        let _ = (&mut self.following).await;
        if let Some(network) = self.network.take() {
            Arc::into_inner(network).unwrap().close().await;
        }
    }

    async fn reopen(&mut self, machines: &Machines, node: u32) {
        let network = network_at(self.address, &machines.credentials(node)).await;
        self.open(network);
    }

    async fn stop(mut self) {
        self.close().await;
        let driver = self.driver.take().unwrap();
        spawn_blocking(move || driver.stop().unwrap()).await.unwrap();
    }

    fn network(&self) -> &Network {
        self.network.as_ref().unwrap()
    }

    async fn found(&self) {
        let handle = self.handle.clone();
        spawn_blocking(move || handle.found(CLUSTER, 1).unwrap().unwrap())
            .await
            .unwrap();
        self.network().set_identity(CLUSTER, NodeId::FIRST);
    }

    /// Joins by way of the nodes at some addresses.
    fn join(&self, token: u128, seeds: Vec<String>) {
        let (network, handle) = (Arc::clone(self.network.as_ref().unwrap()), self.handle.clone());
        tokio::spawn(async move {
            network
                .join(token, &seeds, |peers| handle.join(token, peers).unwrap())
                .await;
        });
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&pliantdb_cluster::Node<S>) -> T + Send + 'static,
    ) -> T {
        let handle = self.handle.clone();
        spawn_blocking(move || handle.look(look).unwrap()).await.unwrap()
    }

    /// How often its replicas have come to lead since these events were counted.
    fn elections(&self) -> usize {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| matches!(event, Event::BecameLeader { .. }))
            .count()
    }
}

/// Tells a network who the node is and where others are, as the node knows it.
async fn follow<S: OrderedStore>(handle: Handle<S>, network: Arc<Network>) {
    loop {
        let looking = handle.clone();
        let looked = spawn_blocking(move || {
            looking.look(|node| {
                let nodes = node.meta().into_iter().flat_map(|meta| meta.nodes());
                let places =
                    nodes.filter_map(|(id, record)| Some((*id, record.attributes.get(ADDRESS)?.clone())));
                (node.id().zip(node.cluster()), places.collect::<Vec<_>>())
            })
        });
        let Ok(Ok((identity, places))) = looked.await else {
            return;
        };
        if let Some((node, cluster)) = identity {
            network.set_identity(cluster, node);
            for (other, address) in places.into_iter().filter(|(other, _)| *other != node) {
                network.set_address(other, &address);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_nanos() % (1 << 60)).unwrap()
}

struct Cluster<S: OrderedStore> {
    machines: Machines,
    nodes: Vec<Running<S>>,
}

impl<S: OrderedStore> Cluster<S> {
    /// Three nodes, of which the last knows only the second.
    async fn form(stores: impl Fn(&Machines, u32) -> (Arc<S>, Arc<S>), limits: Limits) -> Self {
        let machines = Machines::new();
        let mut nodes: Vec<Running<S>> = Vec::new();
        for number in 1..=3_u32 {
            let stores = stores(&machines, number);
            let node = Running::start(&machines, number, stores, any(), limits).await;
            match nodes.last() {
                None => node.found().await,
                Some(last) => node.join(u128::from(number), vec![last.address.to_string()]),
            }
            nodes.push(node);
        }
        let cluster = Self { machines, nodes };
        cluster
            .until_all(|meta| {
                meta.nodes().len() == 3 && meta.groups().values().all(|group| group.is_settled())
            })
            .await;
        cluster
    }

    async fn until_all(&self, is_so: fn(&Meta) -> bool) {
        for node in &self.nodes {
            let began = Instant::now();
            while !node.look(move |node| node.meta().is_some_and(is_so)).await {
                assert!(began.elapsed() < PATIENCE, "it did not become so");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn change(&self, command: MetaCommand) -> MetaOutcome {
        let began = Instant::now();
        loop {
            for node in &self.nodes {
                if let Answer::Changed(result) =
                    node.handle.ask_async(Ask::Change(command.clone())).await.unwrap()
                {
                    return result.unwrap();
                }
            }
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn database(&self) -> GroupId {
        let (name, slots) = (database(), SlotCount::try_from(4).unwrap());
        match self.change(MetaCommand::CreateDatabase { name, slots }).await {
            MetaOutcome::Group(group) => group,
            outcome => panic!("{outcome:?}"),
        }
    }

    async fn be_a_quorum(&self) {
        self.change(MetaCommand::Switch { to: Mode::Quorum }).await;
        self.until_all(|meta| meta.mode() == Mode::Quorum && meta.switch().is_none())
            .await;
    }

    /// Sets a key by whoever leads.
    async fn set(&self, group: GroupId, key: &str, value: &str) -> Mark {
        let began = Instant::now();
        loop {
            for node in &self.nodes {
                match node.handle.ask_async(setting(group, key, value)).await.unwrap() {
                    Answer::Written { at, result } => {
                        result.unwrap();
                        return at;
                    }
                    Answer::Refused(_) => {}
                    answer => panic!("{answer:?}"),
                }
            }
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads a key at each node, as of a mark.
    async fn is_everywhere(&self, group: GroupId, key: &str, value: &str, at: Mark) {
        for node in &self.nodes {
            let began = Instant::now();
            loop {
                let ask = Ask::Read {
                    group,
                    request: Request::GetKey {
                        namespace: namespace(),
                        key: key.parse().unwrap(),
                    },
                    freshness: Freshness::AtLeast(at),
                };
                match node.handle.ask_async(ask).await.unwrap() {
                    Answer::Read {
                        result: Ok(Response::Value(read)),
                        ..
                    } => {
                        assert_eq!(read.unwrap(), Body::of(&value).unwrap());
                        break;
                    }
                    Answer::Refused(_) => {}
                    answer => panic!("{answer:?}"),
                }
                assert!(began.elapsed() < PATIENCE);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn leader(&self, group: GroupId) -> usize {
        let began = Instant::now();
        loop {
            let mut leaders = BTreeSet::new();
            for (number, node) in self.nodes.iter().enumerate() {
                if node.look(move |node| node.leads(group)).await {
                    leaders.insert(number);
                }
            }
            if leaders.len() == 1 {
                return *leaders.first().unwrap();
            }
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn database() -> DatabaseName {
    "first".parse().unwrap()
}

fn namespace() -> NamespaceName {
    "test".parse().unwrap()
}

fn setting(group: GroupId, key: &str, value: &str) -> Ask {
    let key: KeyName = key.parse().unwrap();
    let action = WriteAction::ChangeKey {
        namespace: namespace(),
        key,
        action: KeyAction::Set {
            value: Body::of(&value).unwrap(),
            expiry: Expiry::Never,
            condition: KeyCondition::Always,
        },
    };
    let operation = Operation::write(database(), action, None);
    Ask::Write { group, operation }
}

fn rocks(machines: &Machines, node: u32) -> (Arc<RocksStore>, Arc<RocksStore>) {
    let folder = |name: &str| -> PathBuf {
        let folder = machines.path().join(format!("data-{node}")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let plan = MemoryPlan::for_limit(256 << 20);
    let log = RocksStore::create_log(&folder("log"), plan).unwrap();
    let state = RocksStore::create_state(&folder("state"), plan).unwrap();
    (Arc::new(log), Arc::new(state))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_go_on_when_a_connection_is_lost_and_made_again() {
    let mut cluster = Cluster::form(rocks, Limits::default()).await;
    let group = cluster.database().await;
    let at = cluster.set(group, "before", "1").await;
    cluster.is_everywhere(group, "before", "1", at).await;
    cluster.be_a_quorum().await;

    // A follower is not reached for a while; then the leader.
    let leader = cluster.leader(group).await;
    for gone in [(leader + 1) % 3, leader] {
        cluster.nodes[gone].close().await;
        let without = cluster.set(group, "without", "2").await;
        let node = u32::try_from(gone).unwrap() + 1;
        cluster.nodes[gone].reopen(&cluster.machines, node).await;
        cluster.is_everywhere(group, "without", "2", without).await;
    }
    let last = cluster.set(group, "last", "3").await;
    cluster.is_everywhere(group, "last", "3", last).await;
    for node in &cluster.nodes {
        let peers = node.network().peers();
        assert_eq!(peers.len(), 2, "{peers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_streams_while_heartbeats_keep_their_pace() {
    let limits = Limits {
        flush_entries: 32,
        tail_entries: 8,
        ..Limits::default()
    };
    let memory: Vec<(Arc<MemoryStore>, Arc<MemoryStore>)> = (0..3).map(|_| Default::default()).collect();
    let stores = |_: &Machines, node: u32| memory[node as usize - 1].clone();
    let mut cluster = Cluster::form(stores, limits).await;
    let group = cluster.database().await;
    cluster.be_a_quorum().await;
    // One that follows both groups.
    let (leader, of_meta) = (cluster.leader(group).await, cluster.leader(META).await);
    let gone = (0..3).find(|node| ![leader, of_meta].contains(node)).unwrap();
    let node = u32::try_from(gone).unwrap() + 1;
    let (address, stopped) = {
        let stopped = cluster.nodes.remove(gone);
        (stopped.address, stopped)
    };
    stopped.stop().await;
    let value = "x".repeat(64 << 10);
    for number in 0..256 {
        cluster.set(group, &format!("{number}"), &value).await;
    }
    let before: Vec<_> = cluster.nodes.iter().map(Running::elections).collect();
    let began = Instant::now();
    let back = Running::start(&cluster.machines, node, memory[gone].clone(), address, limits).await;
    cluster.nodes.insert(gone, back);
    let last = cluster.set(group, "last", "3").await;
    cluster.is_everywhere(group, "last", "3", last).await;
    cluster.is_everywhere(group, "77", &value, last).await;
    let took = began.elapsed();
    let back = &cluster.nodes[gone];
    let events = back.events.lock().unwrap().clone();
    let is_installed = |event: &Event| matches!(event, Event::Installed { group: of, .. } if *of == group);
    assert!(events.iter().any(is_installed), "{events:?}");
    let received = back.network().counters().bytes_received;
    assert!(received > 16 << 20, "{received}");
    // Nobody has missed a leader.
    assert_eq!(back.elections(), 0);
    let others = (0..3).filter(|node| *node != gone);
    let after: Vec<_> = others.map(|node| cluster.nodes[node].elections()).collect();
    assert_eq!(after, before);
    println!("{} MiB in {took:?}", received >> 20);
}
