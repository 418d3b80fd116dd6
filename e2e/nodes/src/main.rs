//! Clusters of three `pliant-node` processes, on this machine and disk: beside etcd and PostgreSQL with a synchronous
//! replica, each job for one after the other and several rounds of it; beside a single node; and how long writes wait when
//! a leader is killed or the mode changes. Prints one JSON object a line for every figure.
//!
//! `e2e/bench nodes` starts it with the part and the programs. From the environment: `NODES_ROUNDS`, `NODES_MILLISECONDS`
//! (each timed run), `NODES_FAILOVERS`, `NODES_SWITCHES`, `NODES_DIRECTORY`; and of jobs and contenders only those of
//! `NODES_JOBS` and `NODES_CONTENDERS`, with commas between.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod clients;
mod cluster;
mod etcd;
mod failover;
mod switch;
mod throughput;

use std::path::PathBuf;

use load::Failure;
use server_bench::postgres;

const USAGE: &str =
    "usage: nodes-bench quorum|one-leader|failover|switch PLIANT-NODE ETCD ETCD-LOAD POSTGRES-PROGRAMS";

/// The programs that take part.
struct Programs {
    node: PathBuf,
    etcd: PathBuf,
    etcd_load: PathBuf,
    postgres: PathBuf,
}

fn main() -> Result<(), Failure> {
    let argument = |at| std::env::args().nth(at).ok_or(USAGE);
    let part = argument(1)?;
    let program = |at| argument(at).map(PathBuf::from);
    let programs = Programs {
        node: program(2)?,
        etcd: program(3)?,
        etcd_load: program(4)?,
        postgres: program(5)?,
    };
    let directory = postgres::directory("NODES_DIRECTORY", "pliantdb-nodes-")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let lines = match part.as_str() {
        "quorum" => throughput::quorum(&runtime, &programs, directory.path()),
        "one-leader" => throughput::one_leader(&runtime, &programs, directory.path()),
        "failover" => failover::run(&runtime, &programs, directory.path()),
        "switch" => switch::run(&runtime, &programs, directory.path()),
        _ => Err(USAGE.into()),
    }?;
    for line in lines {
        println!("{line}");
    }
    Ok(())
}
