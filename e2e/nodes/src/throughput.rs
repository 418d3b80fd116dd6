//! Writes and reads a second.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use load::clients::Run;
use load::figures::{Figures, Sample};
use load::{Failure, number};
use pliantdb_client::AsyncRemoteDatabase;
use server_bench::node::Node;
use server_bench::postgres::{INSERT, Postgres, TABLE};
use tokio::runtime::Runtime;

use crate::Programs;
use crate::clients::{Operation, by_http, by_library, fill, library};
use crate::cluster::{Cluster, Mode};
use crate::etcd::Etcd;

/// By HTTP without TLS, at the node that leads.
const HTTP: &str = "http";
/// The same, spread over all nodes.
const HTTP_SPREAD: &str = "http_spread";
/// By the client library, which has TLS.
const LIBRARY: &str = "library";
const ETCD: &str = "etcd 3.6";
const ETCD_SPREAD: &str = "etcd 3.6 at all members";
const POSTGRES: &str = "PostgreSQL 15 with a synchronous replica";
const ALONE: &str = "pliant-node alone";

/// A name, and what clients do.
#[derive(Clone, Copy)]
struct Job {
    name: &'static str,
    clients: usize,
    operation: Operation,
}

const fn job(name: &'static str, clients: usize, operation: Operation) -> Job {
    Job {
        name,
        clients,
        operation,
    }
}

const PUT_64: Job = job("put_64", 64, Operation::Put);
const PUT_256: Job = job("put_256", 256, Operation::Put);
const GET_64: Job = job("get_64", 64, Operation::Get);

/// Job, ours, peer, and the ratios that are wanted.
type Goal = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, f64)],
);

const GOALS: [Goal; 13] = [
    ("put_64", HTTP, ETCD, &[("per_s", 3.0), ("p99_us", 1.0)]),
    ("put_256", HTTP, ETCD, &[("per_s", 3.0), ("p99_us", 1.0)]),
    ("put_64", HTTP, POSTGRES, &[("per_s", 1.5)]),
    ("get_64", HTTP, ETCD, &[("per_s", 3.0)]),
    ("put_64", HTTP_SPREAD, ETCD_SPREAD, &[]),
    ("put_256", HTTP_SPREAD, ETCD_SPREAD, &[]),
    ("put_64", HTTP_SPREAD, POSTGRES, &[]),
    ("get_64", HTTP_SPREAD, ETCD_SPREAD, &[]),
    ("put_64", LIBRARY, ETCD, &[]),
    ("put_256", LIBRARY, ETCD, &[]),
    ("put_64", LIBRARY, POSTGRES, &[]),
    ("get_64", LIBRARY, ETCD, &[]),
    ("put_64", HTTP, ALONE, &[("per_s", 0.8)]),
];

/// PliantDB in quorum mode, etcd, and PostgreSQL with a synchronous replica.
///
/// # Errors
/// The first failure of any.
pub fn quorum(runtime: &Runtime, programs: &Programs, directory: &Path) -> Result<Vec<String>, Failure> {
    let cluster = Cluster::form(&programs.node, &directory.join("pliantdb"), Mode::Quorum)?;
    let etcd = Etcd::start(&programs.etcd, &programs.etcd_load, &directory.join("etcd"))?;
    let mut postgres = Postgres::start(directory.join("postgres"), programs.postgres.clone())?;
    postgres.sql(TABLE)?;
    postgres.add_synchronous_replica()?;
    let leader = leader(&cluster)?;
    runtime.block_on(fill(leader))?;
    cluster.wait_until_at_rest()?;
    let all = [
        Contender::Http(HTTP, &cluster, vec![leader]),
        Contender::Http(HTTP_SPREAD, &cluster, addresses(&cluster)),
        Contender::Library(&cluster, runtime.block_on(library(&cluster.quic()))?),
        Contender::Etcd(ETCD, &etcd, true),
        Contender::Etcd(ETCD_SPREAD, &etcd, false),
        Contender::Postgres(&postgres),
    ];
    play(runtime, &[PUT_64, PUT_256, GET_64], &all)
}

/// PliantDB with one leader, beside a single node.
///
/// # Errors
/// The first failure of any.
pub fn one_leader(runtime: &Runtime, programs: &Programs, directory: &Path) -> Result<Vec<String>, Failure> {
    let cluster = Cluster::form(&programs.node, &directory.join("pliantdb"), Mode::OneLeader)?;
    let alone = Node::start(&programs.node, &directory.join("alone"), &[])?;
    let leader = leader(&cluster)?;
    for address in [leader, alone.http] {
        runtime.block_on(fill(address))?;
    }
    cluster.wait_until_at_rest()?;
    let all = [
        Contender::Http(HTTP, &cluster, vec![leader]),
        Contender::Alone(&alone),
    ];
    play(runtime, &[PUT_64], &all)
}

/// What of a variable is between commas; nothing when there is no such.
fn names(variable: &str) -> Vec<String> {
    let told = std::env::var(variable).unwrap_or_default();
    let names = told.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.http().into_iter().map(|(_, address)| address).collect()
}

fn leader(cluster: &Cluster) -> Result<SocketAddr, Failure> {
    let leader = cluster.leader()?;
    let nodes = cluster.http();
    let found = nodes.iter().find(|(place, _)| *place == leader);
    Ok(found.ok_or("the leader is not there")?.1)
}

/// Whoever is measured.
enum Contender<'c> {
    Http(&'static str, &'c Cluster, Vec<SocketAddr>),
    Library(&'c Cluster, AsyncRemoteDatabase),
    Etcd(&'static str, &'c Etcd, bool),
    Postgres(&'c Postgres),
    Alone(&'c Node),
}

impl Contender<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Http(name, ..) | Self::Etcd(name, ..) => name,
            Self::Library(..) => LIBRARY,
            Self::Postgres(_) => POSTGRES,
            Self::Alone(_) => ALONE,
        }
    }

    /// Seconds of processor time of its servers.
    fn cpu(&self) -> Vec<f64> {
        match self {
            Self::Http(_, cluster, _) | Self::Library(cluster, _) => cluster.cpu(),
            Self::Etcd(_, etcd, _) => etcd.cpu(),
            Self::Alone(node) => vec![load::process::Process::of(node.id()).cpu().unwrap_or(f64::NAN)],
            Self::Postgres(_) => Vec::new(),
        }
    }

    /// What came of a job; `None` when it is not for this one.
    async fn work(&self, job: Job, milliseconds: u64) -> Option<Result<Run, Failure>> {
        let Job {
            clients, operation, ..
        } = job;
        match self {
            Self::Http(_, _, at) => Some(by_http(at, clients, milliseconds, operation).await),
            Self::Library(_, database) => Some(by_library(database, clients, milliseconds, operation).await),
            Self::Alone(node) => Some(by_http(&[node.http], clients, milliseconds, operation).await),
            Self::Etcd(_, etcd, at_leader) => {
                let name = match operation {
                    Operation::Put => "put",
                    Operation::Get => "get",
                };
                Some(etcd.run(name, clients, milliseconds, *at_leader))
            }
            Self::Postgres(postgres) => {
                (job.name == PUT_64.name).then(|| postgres.bench(INSERT, clients, milliseconds))
            }
        }
    }
}

/// Every job, each for every contender in turn, several rounds of it.
fn play(runtime: &Runtime, jobs: &[Job], contenders: &[Contender<'_>]) -> Result<Vec<String>, Failure> {
    let rounds = number("NODES_ROUNDS", 5)?.max(1);
    let milliseconds = number("NODES_MILLISECONDS", 3000)?;
    let (of_jobs, of_contenders) = (names("NODES_JOBS"), names("NODES_CONTENDERS"));
    let is_of = |names: &[String], name: &str| names.is_empty() || names.iter().any(|of| of == name);
    let mut figures = Figures::default();
    for job in jobs.iter().filter(|job| is_of(&of_jobs, job.name)) {
        for round in 0..rounds {
            for contender in contenders {
                if !is_of(&of_contenders, contender.name()) {
                    continue;
                }
                // So that no sync waits for what another wrote.
                Command::new("sync").status()?;
                let before = contender.cpu();
                let Some(run) = runtime.block_on(contender.work(*job, milliseconds)) else {
                    continue;
                };
                let run = run.map_err(|error| format!("{}, {}: {error}", job.name, contender.name()))?;
                let used: Vec<f64> = contender
                    .cpu()
                    .iter()
                    .zip(&before)
                    .map(|(after, before)| after - before)
                    .collect();
                let for_one = used.iter().sum::<f64>() / run.all_operations as f64 * 1e6;
                let used: Vec<String> = used.iter().map(|seconds| format!("{seconds:.2}")).collect();
                eprintln!(
                    "{}, round {round}, {}: {:.0} a second, p50 {:.0} us, p99 {:.0} us; processor time: {for_one:.0} us for one, in all {} s",
                    job.name,
                    contender.name(),
                    run.per_second,
                    run.p50,
                    run.p99,
                    used.join(" "),
                );
                let sample = Sample {
                    run,
                    bytes_per_byte: None,
                    syncs_per_1000: None,
                };
                figures.add(job.name, contender.name(), round, sample);
            }
        }
    }
    let goals = GOALS.iter();
    Ok(goals
        .flat_map(|(job, ours, peer, goals)| figures.lines("nodes", job, ours, peer, goals))
        .collect())
}
