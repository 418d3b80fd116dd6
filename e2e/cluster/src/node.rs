//! A node as a process: what it is to do comes as JSON lines, and so do the answers.

use std::collections::BTreeMap;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::Failure;
use load::process::Process;
use pliantdb_cluster::meta::MetaCommand;
use pliantdb_cluster::node::{Answer, Ask};
use pliantdb_cluster::wire::Peer;
use pliantdb_cluster::{META, Mode, NodeId};
use pliantdb_cluster_driver::{Driver, Handle, Options};
use pliantdb_core::{GroupId, SlotCount};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::RocksStore;
use serde::{Deserialize, Serialize};

use crate::sockets::{Sockets, listen};
use crate::work::{Setting, database, is_written, settings};

/// What a node is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Found a cluster.
    Found,
    /// Join that of the first node.
    Join,
    /// Say how things are.
    Look,
    /// Make so many databases, each a group.
    Create(usize),
    /// Become a quorum.
    Switch,
    /// Set keys of the groups that it leads.
    Write {
        /// So many writers there are in the cluster.
        writers: usize,
        /// For so long.
        milliseconds: u64,
    },
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Why it failed.
    pub failure: Option<String>,
    /// Whether it was done; it is to be asked again, or of another, when not.
    pub is_done: bool,
    /// How many nodes it knows.
    pub nodes: usize,
    /// How many shards it knows.
    pub groups: usize,
    /// How many of all groups are as wanted.
    pub settled: usize,
    /// Whether the cluster is in quorum mode, and no switch is under way.
    pub is_quorum: bool,
    /// How many groups it leads, the meta group included.
    pub leads: usize,
    /// Seconds of processor time so far.
    pub cpu: f64,
    /// Bytes.
    pub resident: u64,
    /// Times that the log was synced so far.
    pub syncs: u64,
    /// Batches of the log so far.
    pub batches: u64,
    /// Envelopes sent so far.
    pub sent: u64,
    /// Steps of the node so far.
    pub steps: u64,
    /// How long each write took, in microseconds.
    pub latencies: Vec<u32>,
}

/// Serves orders until there are no more; as the node that the directory has, if there is one.
pub fn serve(index: usize, directory: &Path) -> Result<(), Failure> {
    let data = directory.join(index.to_string());
    let (log, state) = (data.join("log"), data.join("state"));
    let is_new = !data.exists();
    for directory in [&log, &state] {
        std::fs::create_dir_all(directory)?;
    }
    // A quarter of a gibibyte for each store, of which a quarter is the cache.
    let plan = MemoryPlan::for_limit(256 << 20);
    let (log, state) = match is_new {
        true => (
            RocksStore::create_log(&log, plan)?,
            RocksStore::create_state(&state, plan)?,
        ),
        false => (
            RocksStore::open_log(&log, plan)?,
            RocksStore::open_state(&state, plan)?,
        ),
    };
    let sockets = Sockets::start(directory, index);
    let driver = Driver::open(
        settings(index),
        Options::default(),
        Arc::new(log),
        Arc::new(state),
        sockets,
        (),
        |_| {},
    )?;
    let handle = driver.handle().clone();
    let receiver = handle.clone();
    listen(directory, index, move |envelope| receiver.receive(envelope))?;
    for line in stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let mut report = match obey(&handle, index, order) {
            Ok(report) => report,
            Err(failure) => Report {
                failure: Some(failure.to_string()),
                ..Report::default()
            },
        };
        measure(&handle, &mut report)?;
        let mut output = stdout().lock();
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
        output.flush()?;
    }
    driver.stop()?;
    Ok(())
}

fn obey(handle: &Handle<RocksStore>, index: usize, order: Order) -> Result<Report, Failure> {
    let mut report = Report {
        is_done: true,
        ..Report::default()
    };
    match order {
        Order::Found => handle.found(1, 0)??,
        Order::Join => handle.join(index as u128, vec![Peer::Node(NodeId::new(1))])?,
        Order::Look => {}
        Order::Create(count) => report.is_done = create(handle, count)?,
        Order::Switch => {
            let answer = handle.ask(Ask::Change(MetaCommand::Switch { to: Mode::Quorum }))?;
            report.is_done = matches!(answer, Answer::Changed(Ok(_)));
        }
        Order::Write {
            writers,
            milliseconds,
        } => {
            let (before, time) = (led(handle)?, Duration::from_millis(milliseconds));
            report.latencies = write(handle, &before, writers, time)?;
        }
    }
    Ok(report)
}

/// Makes databases, as many at once as there may be.
fn create(handle: &Handle<RocksStore>, count: usize) -> Result<bool, Failure> {
    let slots = SlotCount::try_from(4)?;
    let asks = (0..count).map(|number| {
        let name = database(number)?;
        Ok(handle.ask_async(Ask::Change(MetaCommand::CreateDatabase { name, slots })))
    });
    let asks: Vec<_> = asks.collect::<Result<_, Failure>>()?;
    for answer in futures::executor::block_on(futures::future::join_all(asks)) {
        match answer? {
            Answer::Changed(Ok(_)) => {}
            Answer::Refused(_) => return Ok(false),
            answer => return Err(format!("unexpected: {answer:?}").into()),
        }
    }
    Ok(true)
}

/// The shards that this node leads, by the number of their database.
fn led(handle: &Handle<RocksStore>) -> Result<BTreeMap<usize, GroupId>, Failure> {
    let led = handle.look(|node| {
        let meta = node.meta().into_iter();
        let groups = meta.flat_map(|meta| meta.groups());
        let led = groups.filter_map(|(group, record)| {
            let name = record.shard.as_ref()?.database.to_string();
            let number = name.strip_prefix("database-")?.parse().ok()?;
            node.leads(*group).then_some((number, *group))
        });
        led.collect()
    })?;
    Ok(led)
}

/// Lets those of all writers write whose groups are led here.
fn write(
    handle: &Handle<RocksStore>,
    led: &BTreeMap<usize, GroupId>,
    writers: usize,
    time: Duration,
) -> Result<Vec<u32>, Failure> {
    let groups = handle.look(|node| node.meta().map_or(0, |meta| meta.groups().len() - 1))?;
    let setting = Setting::new()?;
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let here = (0..writers).filter_map(|writer| {
            let number = writer % groups.max(1);
            Some((writer, number, *led.get(&number)?))
        });
        let threads: Vec<_> = here
            .map(|(writer, number, group)| {
                let setting = &setting;
                scope.spawn(move || {
                    let database = database(number)?;
                    let mut latencies = Vec::new();
                    let mut key = writer as u64 * 1000;
                    loop {
                        let start = Instant::now();
                        if start >= end {
                            return Ok::<_, Failure>(latencies);
                        }
                        key += 1;
                        let answer = handle.ask(setting.ask(group, &database, key % 10_000)?)?;
                        if is_written(&answer)? {
                            let micros = start.elapsed().as_micros();
                            latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
                        } else {
                            // Another leads by now: nobody is to be asked here.
                            std::thread::sleep(Duration::from_millis(10));
                        }
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| "a writer panicked")??);
        }
        Ok(latencies)
    })
}

fn measure(handle: &Handle<RocksStore>, report: &mut Report) -> Result<(), Failure> {
    let (nodes, groups, settled, is_quorum, leads) = handle.look(|node| {
        let Some(meta) = node.meta() else {
            return (0, 0, 0, false, 0);
        };
        let groups = meta.groups();
        let settled = groups.values().filter(|record| record.is_settled());
        let leads = groups.keys().filter(|group| node.leads(**group));
        (
            meta.nodes().len(),
            groups.keys().filter(|group| **group != META).count(),
            settled.count(),
            meta.mode() == Mode::Quorum && meta.switch().is_none(),
            leads.count(),
        )
    })?;
    (report.nodes, report.groups, report.settled) = (nodes, groups, settled);
    (report.is_quorum, report.leads) = (is_quorum, leads);
    let process = Process::this();
    (report.cpu, report.resident) = (process.cpu()?, process.resident()?);
    let (log, turns) = (handle.log_counters(), handle.turn_counters());
    (report.syncs, report.batches) = (log.syncs, log.batches);
    (report.sent, report.steps) = (turns.sent, turns.steps);
    Ok(())
}
