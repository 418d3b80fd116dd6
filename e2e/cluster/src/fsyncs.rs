//! Writers on many groups, on a real disk: how many commits a sync makes safe.

use std::time::Instant;

use load::{Failure, number};

use crate::directory;
use crate::figures::{Goal, quantile, tell};
use crate::node::Order;
use crate::processes::Processes;

pub fn run() -> Result<(), Failure> {
    let writers = usize::try_from(number("CLUSTER_WRITERS", 64)?)?;
    let groups = usize::try_from(number("CLUSTER_GROUPS", 16)?)?;
    let rounds = number("CLUSTER_ROUNDS", 5)?.max(1);
    let milliseconds = number("CLUSTER_MILLISECONDS", 5000)?;
    let directory = directory()?;
    let mut cluster = Processes::form(directory.path(), groups)?;
    let order = Order::Write {
        writers,
        milliseconds,
    };
    let (mut syncs, mut per_second, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds {
        let before = cluster.all(&Order::Look)?;
        let began = Instant::now();
        let after = cluster.all(&order)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut latencies: Vec<u32> = after
            .iter()
            .flat_map(|report| &report.latencies)
            .copied()
            .collect();
        latencies.sort_unstable();
        let led: Vec<usize> = after.iter().map(|report| report.leads).collect();
        let commits = latencies.len() as f64;
        let pairs = before.iter().zip(&after);
        let of_nodes: Vec<f64> = pairs
            .map(|(before, after)| (after.syncs - before.syncs) as f64 * 1000.0 / commits)
            .collect();
        eprintln!(
            "fsyncs: round {round}, {commits} commits, leaders of {led:?} groups, syncs {of_nodes:.1?}"
        );
        if round > 0 {
            syncs.push(of_nodes.iter().copied().fold(0.0, f64::max));
            per_second.push(commits / seconds);
            p50.push(quantile(&latencies, 0.5));
            p99.push(quantile(&latencies, 0.99));
        }
    }
    let name = |what| format!("{writers}_writers_{groups}_groups_{what}");
    tell(
        &name("fsyncs_per_1000_commits_busiest_node"),
        &syncs,
        Goal::Below(60.0),
    );
    tell(&name("writes_per_s"), &per_second, Goal::None);
    tell(&name("p50_us"), &p50, Goal::None);
    tell(&name("p99_us"), &p99, Goal::None);
    Ok(())
}
