//! How long writes wait when the node that leads a database in quorum mode is killed.
//!
//! A few clients write all the while, each to the next node that is there when its own does not answer. What counts is
//! the time from the end of the killed process to the first acknowledgement of a write that was sent after it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::figures::{median, round, spread};
use load::http::Connection as Http;
use load::{Failure, number};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::Programs;
use crate::cluster::{Cluster, Mode};

/// How many write.
const CLIENTS: usize = 8;
/// How long each rests between two writes: together they write some 400 times a second.
const REST: Duration = Duration::from_millis(20);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is wanted of the slowest of a hundred, in seconds.
const GOAL: f64 = 3.0;

/// Runs all trials.
///
/// # Errors
/// When a node does not start, or no write is acknowledged any more.
pub fn run(runtime: &Runtime, programs: &Programs, directory: &Path) -> Result<Vec<String>, Failure> {
    let trials = number("NODES_FAILOVERS", 50)?.max(1);
    let mut cluster = Cluster::form(&programs.node, &directory.join("pliantdb"), Mode::Quorum)?;
    let mut seconds = Vec::new();
    for trial in 0..trials {
        let leader = cluster.leader()?;
        let took = runtime.block_on(one(&mut cluster, leader))?;
        eprintln!("failover {trial}: {:.0} ms", took.as_secs_f64() * 1000.0);
        seconds.push(took.as_secs_f64());
        cluster.start(leader)?;
        cluster.wait_until_at_rest()?;
    }
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() - 1) as f64 * 0.99).ceil() as usize;
    let p99 = sorted.get(at).copied().unwrap_or(f64::NAN);
    let line = |metric: &str, value: f64, goal: Option<f64>| {
        serde_json::json!({
            "bench": "nodes", "metric": metric, "pliantdb": round(value), "pliantdb_spread": spread(&seconds),
            "peer": null, "peer_name": null, "ratio": null, "spread": null, "goal": goal,
            "met": goal.map(|goal| value <= goal),
        })
        .to_string()
    };
    Ok(vec![
        line("failover_p50_s", median(&seconds).unwrap_or(f64::NAN), None),
        line("failover_p99_s", p99, Some(GOAL)),
    ])
}

async fn one(cluster: &mut Cluster, leader: usize) -> Result<Duration, Failure> {
    let (told, mut acknowledged) = unbounded_channel();
    let nodes: Arc<[SocketAddr]> = cluster.http().into_iter().map(|(_, address)| address).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write(client, Arc::clone(&nodes), told.clone())))
        .collect();
    // So that the load is on when it happens, at any moment between two heartbeats.
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .subsec_nanos();
    sleep(Duration::from_millis(500 + u64::from(nanos % 300))).await;
    cluster.kill(leader);
    let killed = Instant::now();
    let first = async {
        loop {
            let (sent, at): (Instant, Instant) = acknowledged.recv().await.ok_or("no client writes")?;
            if sent >= killed {
                return Ok::<_, Failure>(at.duration_since(killed));
            }
        }
    };
    let took = timeout(PATIENCE, first).await;
    for client in clients {
        client.abort();
    }
    took.map_err(|_| format!("nothing was acknowledged within {PATIENCE:?}"))?
}

/// Writes time and again; tells when what was acknowledged was sent, and when that came.
async fn write(client: usize, nodes: Arc<[SocketAddr]>, told: UnboundedSender<(Instant, Instant)>) {
    let mut at = client;
    let path = format!("/v1/default/_kv/failover/k{client}");
    let mut connection = None;
    loop {
        let Some(address) = nodes.get(at % nodes.len()) else {
            return;
        };
        if connection.is_none() {
            connection = Http::open(*address).await.ok();
        }
        let sent = Instant::now();
        let is_done = match &mut connection {
            Some(open) => open.ask("PUT", &path, "\"light\"").await.is_ok(),
            None => false,
        };
        if is_done {
            // Fails only when the trial is over.
            let _ = told.send((sent, Instant::now()));
        } else {
            (connection, at) = (None, at + 1);
        }
        sleep(REST).await;
    }
}
