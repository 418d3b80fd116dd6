//! How long writes wait while the mode changes, with 1,000 writes a second.
//!
//! Each client has a time for each of its writes; one that is late because the one before took long waits too, and that
//! counts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use load::Failure;
use load::figures::{median, round, spread};
use load::http::Connection as Http;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, Mode};
use crate::{Programs, number};

/// How many write, spread over all nodes.
const CLIENTS: usize = 50;
/// From one write of a client to its next.
const EVERY: Duration = Duration::from_millis(50);
/// How long they write before and after.
const AROUND: Duration = Duration::from_secs(1);
/// What is wanted of the longest wait, in milliseconds.
const GOAL: f64 = 250.0;

/// Runs all trials, each there and back.
///
/// # Errors
/// When a switch is refused, or a write fails.
pub fn run(runtime: &Runtime, programs: &Programs, directory: &Path) -> Result<Vec<String>, Failure> {
    let trials = number("NODES_SWITCHES", 10)?.max(1);
    let cluster = Cluster::form(&programs.node, &directory.join("pliantdb"), Mode::OneLeader)?;
    let cluster = Arc::new(cluster);
    let mut lines = Vec::new();
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        for (mode, waits) in [(Mode::Quorum, &mut there), (Mode::OneLeader, &mut back)] {
            let (longest, took) = runtime.block_on(one(&cluster, mode))?;
            eprintln!("switch {trial}: a write waited {longest:?}, the switch took {took:?}");
            waits.push(longest.as_secs_f64() * 1000.0);
            cluster.wait_until_at_rest()?;
        }
    }
    for (metric, waits) in [
        ("switch_to_quorum_longest_wait_ms", there),
        ("switch_to_one_leader_longest_wait_ms", back),
    ] {
        let [_, most] = spread(&waits);
        lines.push(
            serde_json::json!({
                "bench": "nodes", "metric": metric, "pliantdb": median(&waits).map(round),
                "pliantdb_spread": spread(&waits), "peer": null, "peer_name": null, "ratio": null, "spread": null,
                "goal": GOAL, "met": most < GOAL,
            })
            .to_string(),
        );
    }
    Ok(lines)
}

/// The longest that a write waited, and how long the switch took.
async fn one(cluster: &Arc<Cluster>, mode: Mode) -> Result<(Duration, Duration), Failure> {
    let nodes: Vec<SocketAddr> = cluster.http().into_iter().map(|(_, address)| address).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let start = Instant::now() + Duration::from_millis(50);
    let mut clients = Vec::new();
    for (client, address) in nodes.iter().cycle().take(CLIENTS).enumerate() {
        let first = start + EVERY * u32::try_from(client)? / u32::try_from(CLIENTS)?;
        clients.push(tokio::spawn(write(client, *address, first, Arc::clone(&is_over))));
    }
    sleep(AROUND).await;
    let began = Instant::now();
    let switching = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || switching.switch(mode)).await??;
    let took = began.elapsed();
    sleep(AROUND).await;
    is_over.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for client in clients {
        longest = longest.max(client.await??);
    }
    Ok((longest, took))
}

async fn write(
    client: usize,
    address: SocketAddr,
    first: Instant,
    is_over: Arc<AtomicBool>,
) -> Result<Duration, Failure> {
    let mut connection = Http::open(address).await?;
    let path = format!("/v1/default/_kv/switch/k{client}");
    let body = format!("\"{}\"", load::text(client as u64, 254));
    let (mut due, mut longest) = (first, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        sleep_until(due).await;
        connection.ask("PUT", &path, &body).await?;
        longest = longest.max(due.elapsed());
        due += EVERY;
    }
    Ok(longest)
}
