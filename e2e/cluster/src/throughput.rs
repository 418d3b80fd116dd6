//! Small commands to three nodes in one process, on stores in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::stream::{FuturesUnordered, StreamExt as _};
use load::process::Process;
use load::{Failure, number};
use pliantdb_cluster::meta::MetaCommand;
use pliantdb_cluster::node::{Answer, Ask};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{Mode, NodeId};
use pliantdb_cluster_driver::{Driver, Handle, Options};
use pliantdb_core::{DatabaseName, GroupId, SlotCount};
use pliantdb_storage::store::MemoryStore;

use crate::NODES;
use crate::figures::{Goal, tell};
use crate::work::{Setting, database, is_written, settings};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

type Node = Handle<MemoryStore>;

/// The nodes of this process.
struct Cluster {
    drivers: Vec<Driver<MemoryStore>>,
    handles: Arc<Vec<OnceLock<Node>>>,
}

impl Cluster {
    fn form(groups: usize, is_encoded: bool) -> Result<Self, Failure> {
        let handles: Arc<Vec<OnceLock<Node>>> = Arc::new((0..NODES).map(|_| OnceLock::new()).collect());
        let mut cluster = Self {
            drivers: Vec::new(),
            handles,
        };
        for index in 0..NODES {
            let handles = Arc::clone(&cluster.handles);
            let send = move |to: Peer, envelope: Envelope| {
                let place = match to {
                    Peer::Node(node) => node.get() as usize - 1,
                    Peer::Joiner(token) => token as usize,
                };
                let Some(to) = handles.get(place).and_then(OnceLock::get) else {
                    return;
                };
                match is_encoded {
                    false => to.receive(envelope),
                    true => {
                        if let Ok(Ok(envelope)) = envelope.encode().map(|bytes| Envelope::decode(&bytes)) {
                            to.receive(envelope);
                        }
                    }
                }
            };
            let (log, state) = (Arc::<MemoryStore>::default(), Arc::<MemoryStore>::default());
            let driver = Driver::open(settings(index), Options::default(), log, state, send, (), |_| {})?;
            let handle = driver.handle().clone();
            cluster.handles.get(index).map(|place| place.set(handle.clone()));
            cluster.drivers.push(driver);
            match index {
                0 => handle.found(1, 0)??,
                _ => handle.join(index as u128, vec![Peer::Node(NodeId::new(1))])?,
            }
            cluster.wait(move |node| node.meta().is_some_and(|meta| meta.nodes().len() == index + 1))?;
        }
        cluster.change(&MetaCommand::Switch { to: Mode::Quorum })?;
        cluster.wait(|node| {
            node.meta()
                .is_some_and(|meta| meta.mode() == Mode::Quorum && meta.switch().is_none())
        })?;
        for number in 0..groups {
            let (name, slots) = (database(number)?, SlotCount::try_from(4)?);
            cluster.change(&MetaCommand::CreateDatabase { name, slots })?;
        }
        cluster.wait(move |node| {
            node.meta().is_some_and(|meta| {
                let all = meta.groups();
                all.len() == groups + 1
                    && all.values().all(|record| record.is_settled())
                    && all
                        .iter()
                        .all(|(group, record)| node.leader(*group) == Some(record.leader))
            })
        })?;
        Ok(cluster)
    }

    fn wait(
        &self,
        is_so: impl Fn(&pliantdb_cluster::Node<MemoryStore>) -> bool + Clone + Send + 'static,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        for driver in &self.drivers {
            while !driver.handle().look(is_so.clone())? {
                if began.elapsed() > PATIENCE {
                    return Err("the cluster did not come to where it was to be".into());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn change(&self, command: &MetaCommand) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for driver in &self.drivers {
                match driver.handle().ask(Ask::Change(command.clone()))? {
                    Answer::Changed(Ok(_)) => return Ok(()),
                    Answer::Changed(Err(rejection)) => return Err(rejection.into()),
                    _ => {}
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err("nobody leads".into())
    }

    /// The shards of each node that leads some.
    fn led(&self) -> Result<BTreeMap<usize, Vec<(GroupId, DatabaseName)>>, Failure> {
        let mut led = BTreeMap::new();
        for (index, driver) in self.drivers.iter().enumerate() {
            let here: Vec<(GroupId, DatabaseName)> = driver.handle().look(|node| {
                let meta = node.meta().into_iter();
                let groups = meta.flat_map(|meta| meta.groups());
                let led = groups.filter_map(|(group, record)| {
                    let name = record.shard.as_ref()?.database.clone();
                    node.leads(*group).then_some((*group, name))
                });
                led.collect()
            })?;
            if !here.is_empty() {
                led.insert(index, here);
            }
        }
        Ok(led)
    }
}

pub fn run() -> Result<(), Failure> {
    let groups = usize::try_from(number("CLUSTER_GROUPS", 6)?)?;
    let rounds = number("CLUSTER_ROUNDS", 5)?.max(1);
    let time = Duration::from_millis(number("CLUSTER_MILLISECONDS", 5000)?);
    let in_flight = usize::try_from(number("CLUSTER_IN_FLIGHT", 6000)?)?;
    let is_encoded = number("CLUSTER_ENCODE", 0)? != 0;
    let cluster = Cluster::form(groups, is_encoded)?;
    let led = cluster.led()?;
    let each = in_flight / led.len().max(1);
    eprintln!(
        "throughput: leaders of {:?} groups",
        led.values().map(Vec::len).collect::<Vec<_>>()
    );
    let (written, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let (mut per_second, mut micros) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for (index, groups) in &led {
            let handle = cluster.handles.get(*index).and_then(OnceLock::get);
            let (written, refused, is_over, failure) = (&written, &refused, &is_over, &failure);
            scope.spawn(move || {
                let Some(handle) = handle else { return };
                if let Err(error) = write(handle, groups, each, written, refused, is_over) {
                    failure.lock().map(|mut failure| failure.replace(error)).ok();
                }
            });
        }
        let process = Process::this();
        thread::sleep(time / 5);
        for _ in 0..rounds {
            let (began, before) = (Instant::now(), written.load(Ordering::Relaxed));
            let cpu = process.cpu().unwrap_or(0.0);
            thread::sleep(time);
            let commands = (written.load(Ordering::Relaxed) - before) as f64;
            per_second.push(commands / began.elapsed().as_secs_f64());
            micros.push((process.cpu().unwrap_or(0.0) - cpu) * 1e6 / commands);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    if let Ok(Some(failure)) = failure.into_inner() {
        return Err(failure);
    }
    for driver in &cluster.drivers {
        eprintln!(
            "throughput: {:?} {:?}",
            driver.handle().turn_counters(),
            driver.handle().log_counters()
        );
    }
    eprintln!(
        "throughput: {} commands, {} refused",
        written.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
    let name = |what| {
        let how = if is_encoded { "_as_bytes" } else { "" };
        format!("throughput_{groups}_groups{how}_{what}")
    };
    tell(&name("commands_per_s"), &per_second, Goal::AtLeast(100_000.0));
    tell(&name("cpu_us_per_command"), &micros, Goal::None);
    Ok(())
}

/// Keeps so many commands under way to one node.
fn write(
    handle: &Node,
    groups: &[(GroupId, DatabaseName)],
    in_flight: usize,
    written: &AtomicU64,
    refused: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<(), Failure> {
    let setting = Setting::new()?;
    let mut number = 0;
    let mut next = || {
        number += 1;
        let (group, database) = groups.get(number % groups.len()).ok_or("no group")?;
        let ask = setting.ask(*group, database, (number / groups.len()) as u64 % 1000)?;
        Ok::<_, Failure>(handle.ask_async(ask))
    };
    block_on(async {
        let mut under_way = FuturesUnordered::new();
        for _ in 0..in_flight {
            under_way.push(next()?);
        }
        while let Some(answer) = under_way.next().await {
            match is_written(&answer?)? {
                true => written.fetch_add(1, Ordering::Relaxed),
                false => refused.fetch_add(1, Ordering::Relaxed),
            };
            if !is_over.load(Ordering::Relaxed) {
                under_way.push(next()?);
            }
        }
        Ok(())
    })
}
