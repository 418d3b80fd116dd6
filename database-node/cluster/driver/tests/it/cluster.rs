//! Nodes, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pliantdb_cluster::meta::{MetaCommand, MetaOutcome};
use pliantdb_cluster::node::{Answer, Ask, Event, Freshness, Limits, Mark, Refusal};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{Meta, Settings, Timing};
use pliantdb_cluster_driver::{Driver, Failure, Handle, Options, Stopped};
use pliantdb_core::{
    Body, DatabaseName, Expiry, GroupId, KeyAction, KeyCondition, KeyName, NamespaceName, Operation, Request,
    Response, SlotCount, WriteAction,
};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{MemoryStore, OrderedStore, RocksStore};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the nodes have their stores.
pub trait Disks: Sync {
    type Store: OrderedStore;

    /// Opens the log and the state of a node, as they are after the last time.
    fn open(&mut self, node: usize) -> Stores<Self::Store>;
}

/// A log and a state.
type Stores<S> = (Arc<S>, Arc<S>);

/// In memory: what was not synced is lost when a node stops.
#[derive(Default)]
pub struct Memory(BTreeMap<usize, Stores<MemoryStore>>);

impl Memory {
    /// The stores of a node as they are.
    pub fn stores(&self, node: usize) -> Stores<MemoryStore> {
        self.0[&node].clone()
    }
}

impl Disks for Memory {
    type Store = MemoryStore;

    fn open(&mut self, node: usize) -> Stores<MemoryStore> {
        let (log, state) = self.0.entry(node).or_default();
        log.crash();
        state.crash();
        (Arc::clone(log), Arc::clone(state))
    }
}

/// In a directory.
pub struct Rocks(pub PathBuf);

impl Disks for Rocks {
    type Store = RocksStore;

    fn open(&mut self, node: usize) -> Stores<RocksStore> {
        let directory = self.0.join(node.to_string());
        let is_new = !directory.exists();
        let (log, state) = (directory.join("log"), directory.join("state"));
        for directory in [&log, &state] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let plan = MemoryPlan::for_limit(256 << 20);
        let (log, state) = match is_new {
            true => (
                RocksStore::create_log(&log, plan),
                RocksStore::create_state(&state, plan),
            ),
            false => (
                RocksStore::open_log(&log, plan),
                RocksStore::open_state(&state, plan),
            ),
        };
        (Arc::new(log.unwrap()), Arc::new(state.unwrap()))
    }
}

/// Who is where.
struct Network<S: OrderedStore> {
    places: Mutex<BTreeMap<Peer, usize>>,
    handles: Mutex<BTreeMap<usize, Handle<S>>>,
}

impl<S: OrderedStore> Network<S> {
    fn send(&self, to: Peer, envelope: &Envelope) {
        let Some(place) = self.places.lock().unwrap().get(&to).copied() else {
            return;
        };
        let handle = self.handles.lock().unwrap().get(&place).cloned();
        // As bytes, as on a network.
        let bytes = envelope.encode().unwrap();
        if let Some(handle) = handle {
            handle.receive(Envelope::decode(&bytes).unwrap());
        }
    }
}

/// Some nodes.
pub struct Cluster<D: Disks> {
    pub disks: D,
    network: Arc<Network<D::Store>>,
    drivers: BTreeMap<usize, Driver<D::Store>>,
    pub options: Options,
}

impl<D: Disks> Cluster<D> {
    pub fn new(disks: D) -> Self {
        let network = Network {
            places: Mutex::default(),
            handles: Mutex::default(),
        };
        Self {
            disks,
            network: Arc::new(network),
            drivers: BTreeMap::new(),
            options: Options::default(),
        }
    }

    pub fn start(&mut self, node: usize) {
        let (log, state) = self.disks.open(node);
        let settings = Settings {
            name: format!("node-{node}"),
            attributes: BTreeMap::new(),
            apply_version: pliantdb_core::APPLY_VERSION,
            seed: node as u64,
            timing: Timing::default(),
            limits: Limits::default(),
        };
        let (network, told) = (Arc::clone(&self.network), Arc::clone(&self.network));
        let send = move |to: Peer, envelope: Envelope| network.send(to, &envelope);
        let on_event = move |event| {
            if let Event::Joined(id) = event {
                told.places.lock().unwrap().insert(Peer::Node(id), node);
            }
        };
        let driver = Driver::open(settings, self.options, log, state, send, (), on_event).unwrap();
        let mut handles = self.network.handles.lock().unwrap();
        handles.insert(node, driver.handle().clone());
        self.drivers.insert(node, driver);
    }

    /// Starts nodes from 0, which make one cluster.
    pub fn form(&mut self, nodes: usize) {
        self.start(0);
        self.handle(0).found(7, 0).unwrap().unwrap();
        for node in 1..nodes {
            self.start(node);
            let token = node as u128;
            let mut places = self.network.places.lock().unwrap();
            let seeds = places
                .keys()
                .filter(|peer| matches!(peer, Peer::Node(_)))
                .copied()
                .collect();
            places.insert(Peer::Joiner(token), node);
            drop(places);
            self.handle(node).join(token, seeds).unwrap();
        }
        let is_whole = move |meta: &Meta| {
            meta.nodes().len() == nodes && meta.groups().values().all(|group| group.is_settled())
        };
        self.wait_for_meta(nodes, is_whole);
    }

    /// Stops a node.
    pub fn stop(&mut self, node: usize) -> Result<(), Failure> {
        self.network.handles.lock().unwrap().remove(&node);
        self.drivers.remove(&node).unwrap().stop()
    }

    pub fn handle(&self, node: usize) -> Handle<D::Store> {
        self.drivers[&node].handle().clone()
    }

    /// Until the first nodes know that something is so.
    pub fn wait_for_meta(&self, nodes: usize, is_so: impl Fn(&Meta) -> bool + Clone + Send + 'static) {
        for node in 0..nodes {
            let is_so = is_so.clone();
            wait_until(|| {
                let is_so = is_so.clone();
                let seen = self.handle(node).look(move |node| node.meta().is_some_and(is_so));
                seen.unwrap()
            });
        }
    }

    /// Asks one node after the other to change the cluster, until one has.
    pub fn change(&self, command: &MetaCommand) -> MetaOutcome {
        let mut changed = None;
        wait_until(|| {
            for driver in self.drivers.values() {
                match driver.handle().ask(Ask::Change(command.clone())).unwrap() {
                    Answer::Changed(Ok(outcome)) => changed = Some(outcome),
                    Answer::Changed(Err(rejection)) => panic!("{rejection}"),
                    _ => continue,
                }
                return true;
            }
            false
        });
        changed.unwrap()
    }

    pub fn create_database(&self, name: &str) -> GroupId {
        let (name, slots) = (name.parse().unwrap(), SlotCount::try_from(4).unwrap());
        match self.change(&MetaCommand::CreateDatabase { name, slots }) {
            MetaOutcome::Group(group) => group,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Sets a key by asking one node after the other, until one has.
    pub fn set(&self, group: GroupId, database: &str, key: &str, value: u64) -> Mark {
        let mut set = None;
        wait_until(|| {
            for driver in self.drivers.values() {
                if let Ok(Some(mark)) = set_by(driver.handle(), group, database, key, value) {
                    set = Some(mark);
                    return true;
                }
            }
            false
        });
        set.unwrap()
    }
}

/// Waits until something is so.
pub fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it did not become so");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What sets a key.
pub fn setting(group: GroupId, database: &str, key: &str, value: u64) -> Ask {
    let database: DatabaseName = database.parse().unwrap();
    let action = WriteAction::ChangeKey {
        namespace: namespace(),
        key: key.parse().unwrap(),
        action: KeyAction::Set {
            value: Body::of(&value).unwrap(),
            expiry: Expiry::Never,
            condition: KeyCondition::Always,
        },
    };
    let operation = Operation::write(database, action, None);
    Ask::Write { group, operation }
}

fn namespace() -> NamespaceName {
    "test".parse().unwrap()
}

/// Sets a key by asking one node; `None` when it refuses.
pub fn set_by<S: OrderedStore>(
    handle: &Handle<S>,
    group: GroupId,
    database: &str,
    key: &str,
    value: u64,
) -> Result<Option<Mark>, Stopped> {
    match handle.ask(setting(group, database, key, value))? {
        Answer::Written { at, result } => {
            result.unwrap();
            Ok(Some(at))
        }
        Answer::Refused(_) => Ok(None),
        answer => panic!("{answer:?}"),
    }
}

/// Reads a key at one node.
pub fn get<S: OrderedStore>(
    handle: &Handle<S>,
    group: GroupId,
    key: &str,
    freshness: Freshness,
) -> Result<Option<u64>, Refusal> {
    let key: KeyName = key.parse().unwrap();
    let request = Request::GetKey {
        namespace: namespace(),
        key,
    };
    let ask = Ask::Read {
        group,
        request,
        freshness,
    };
    match handle.ask(ask).unwrap() {
        Answer::Read {
            result: Ok(Response::Value(value)),
            ..
        } => Ok(value.map(|value| value.as_str().parse().unwrap())),
        Answer::Refused(refusal) => Err(refusal),
        answer => panic!("{answer:?}"),
    }
}

/// The nodes, of some, that lead a group.
pub fn leaders<D: Disks>(cluster: &Cluster<D>, nodes: usize, group: GroupId) -> BTreeSet<usize> {
    (0..nodes)
        .filter(|node| {
            let leads = cluster.handle(*node).look(move |node| node.leads(group));
            leads.unwrap()
        })
        .collect()
}
