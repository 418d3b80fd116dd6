//! How long writes wait while the mode changes, with 1,000 writes a second.
//!
//! Before each switch the same is measured while nothing changes, for a busy machine or disk makes writes wait too.
//!
//! Each client has a time for each of its writes; one that is late because the one before took long waits too, and that
//! counts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use load::figures::{median, round, spread};
use load::http::Connection as Http;
use load::{Failure, number};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Programs;
use crate::cluster::{Cluster, Mode};

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
    let (mut there, mut back, mut none) = (Vec::new(), Vec::new(), Vec::new());
    for trial in 0..trials {
        for (mode, waits) in [(Mode::Quorum, &mut there), (Mode::OneLeader, &mut back)] {
            let before = runtime.block_on(one(&cluster, None))?.longest;
            let Trial { longest, sent, took } = runtime.block_on(one(&cluster, Some(mode)))?;
            eprintln!(
                "switch {trial}: a write waited {longest:?} that was due {sent:.3} s after the switch had begun, which took \
                 {took:?}; before, the longest was {before:?}"
            );
            none.push(before.as_secs_f64() * 1000.0);
            waits.push(longest.as_secs_f64() * 1000.0);
            cluster.wait_until_at_rest()?;
        }
    }
    for (metric, waits, goal) in [
        ("switch_to_quorum_longest_wait_ms", there, Some(GOAL)),
        ("switch_to_one_leader_longest_wait_ms", back, Some(GOAL)),
        ("no_switch_longest_wait_ms", none, None),
    ] {
        let [_, most] = spread(&waits);
        lines.push(
            serde_json::json!({
                "bench": "nodes", "metric": metric, "pliantdb": median(&waits).map(round),
                "pliantdb_spread": spread(&waits), "peer": null, "peer_name": null, "ratio": null, "spread": null,
                "goal": goal, "met": goal.map(|goal| most < goal),
            })
            .to_string(),
        );
    }
    Ok(lines)
}

/// What was seen in one.
struct Trial {
    /// The longest that a write waited.
    longest: Duration,
    /// When that was due, in seconds from when the switch began.
    sent: f64,
    /// How long the switch took.
    took: Duration,
}

async fn one(cluster: &Arc<Cluster>, mode: Option<Mode>) -> Result<Trial, Failure> {
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
    match mode {
        Some(mode) => {
            let switching = Arc::clone(cluster);
            tokio::task::spawn_blocking(move || switching.switch(mode)).await??;
        }
        None => sleep(AROUND).await,
    }
    let took = began.elapsed();
    sleep(AROUND).await;
    is_over.store(true, Ordering::Relaxed);
    let mut longest = (Duration::ZERO, began);
    for client in clients {
        longest = longest.max(client.await??);
    }
    let (longest, due) = longest;
    let sent = due.saturating_duration_since(began).as_secs_f64()
        - began.saturating_duration_since(due).as_secs_f64();
    Ok(Trial { longest, sent, took })
}

async fn write(
    client: usize,
    address: SocketAddr,
    first: Instant,
    is_over: Arc<AtomicBool>,
) -> Result<(Duration, Instant), Failure> {
    let mut connection = Http::open(address).await?;
    let path = format!("/v1/default/_kv/switch/k{client}");
    let body = format!("\"{}\"", load::text(client as u64, 254));
    let (mut due, mut longest) = (first, (Duration::ZERO, first));
    while !is_over.load(Ordering::Relaxed) {
        sleep_until(due).await;
        connection.ask("PUT", &path, &body).await?;
        longest = longest.max((due.elapsed(), due));
        due += EVERY;
    }
    Ok(longest)
}
