//! What a `pliant-node` takes of memory at rest, and with many idle connections by QUIC. Prints one JSON object a line for
//! every figure.
//!
//! `e2e/bench server-memory` starts it with the path of the node. From the environment: `SERVER_CONNECTIONS`,
//! `SERVER_DIRECTORY`.

#![allow(clippy::print_stdout, reason = "it is a command")]

use std::path::PathBuf;
use std::time::Duration;

use load::Failure;
use load::process::Process;
use pliantdb_client::{AsyncClient, Options};
use server_bench::node::Node;

/// How long a node that was started comes to rest.
const REST: Duration = Duration::from_secs(5);

/// How long connections are idle before the memory is looked at: each has shown a few times that it is there.
const IDLE: Duration = Duration::from_secs(25);

fn main() -> Result<(), Failure> {
    let program = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: server-memory PLIANT-NODE")?,
    );
    let directory = std::env::var("SERVER_DIRECTORY").unwrap_or_else(|_| "/var/tmp".to_owned());
    let directory = tempfile::Builder::new()
        .prefix("pliantdb-memory-")
        .tempdir_in(&directory)?;
    let connections: u32 = match std::env::var("SERVER_CONNECTIONS") {
        Ok(text) => text
            .parse()
            .map_err(|error| format!("SERVER_CONNECTIONS={text}: {error}"))?,
        Err(_) => 10_000,
    };
    let most = (connections + 100).to_string();
    let node = Node::start(
        &program,
        &directory.path().join("data"),
        &["--max-connections", &most],
    )?;
    let process = Process::of(node.id());
    std::thread::sleep(REST);
    tell("rss_mib_at_rest", process.resident()?, 40);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clients = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(AsyncClient::connect(&node.quic, Options::default()).await?);
        }
        tokio::time::sleep(IDLE).await;
        Ok::<_, Failure>(clients)
    })?;
    let name = format!("rss_mib_{}_idle_quic_connections", clients.len());
    tell(&name, process.resident()?, 400);
    Ok(())
}

fn tell(metric: &str, bytes: u64, goal: u64) {
    let mib = bytes >> 20;
    let line = serde_json::json!({
        "bench": "server-memory", "metric": metric, "pliantdb": mib, "peer": null, "peer_name": null, "ratio": null,
        "spread": null, "goal": goal, "met": mib < goal,
    });
    println!("{line}");
}
