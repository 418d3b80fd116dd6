//! What clusters of three nodes cost, by the core and its driver. Prints one JSON object a line for every figure.
//!
//! - `cluster-bench idle`: many groups at rest, each node a process of its own on a real disk; then one is killed
//! - `cluster-bench fsyncs`: 64 writers on 16 groups, the same
//! - `cluster-bench throughput`: small commands to three nodes in one process, on stores in memory
//! - `cluster-bench node …` is one of those processes
//!
//! From the environment: `CLUSTER_DIRECTORY`, `CLUSTER_ROUNDS`, `CLUSTER_IDLE_GROUPS`, `CLUSTER_IDLE_SECONDS` (of a round),
//! `CLUSTER_WRITERS`, `CLUSTER_GROUPS`, `CLUSTER_MILLISECONDS` (of a round), `CLUSTER_IN_FLIGHT`, `CLUSTER_ENCODE` (whether
//! envelopes go as bytes where nodes share a process).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod figures;
mod fsyncs;
mod idle;
mod node;
mod processes;
mod sockets;
mod throughput;
mod work;

use load::Failure;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many nodes a cluster has.
const NODES: usize = 3;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["node", index, directory] => node::serve(index.parse()?, directory.as_ref()),
        ["idle"] => idle::run(),
        ["fsyncs"] => fsyncs::run(),
        ["throughput"] => throughput::run(),
        _ => Err("usage: cluster-bench idle|fsyncs|throughput".into()),
    }
}

/// Where nodes have their data.
fn directory() -> Result<tempfile::TempDir, Failure> {
    let directory = std::env::var("CLUSTER_DIRECTORY").unwrap_or_else(|_| "/var/tmp".to_owned());
    let builder = tempfile::Builder::new()
        .prefix("pliantdb-cluster-")
        .tempdir_in(directory)?;
    Ok(builder)
}
