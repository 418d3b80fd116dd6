//! Many groups at rest.

use std::time::{Duration, Instant};

use load::{Failure, number};

use crate::figures::{Goal, tell};
use crate::node::Order;
use crate::processes::Processes;
use crate::{NODES, directory};

pub fn run() -> Result<(), Failure> {
    let groups = usize::try_from(number("CLUSTER_IDLE_GROUPS", 1000)?)?;
    let rounds = number("CLUSTER_ROUNDS", 3)?.max(1);
    let time = Duration::from_secs(number("CLUSTER_IDLE_SECONDS", 20)?.max(1));
    let directory = directory()?;
    let began = Instant::now();
    let mut cluster = Processes::form(directory.path(), groups)?;
    eprintln!(
        "idle: {groups} groups came together in {:?}; the nodes are the processes {:?}",
        began.elapsed(),
        cluster.ids()
    );
    std::thread::sleep(Duration::from_secs(10));
    let (mut cores, mut steps, mut envelopes, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut resident = Vec::new();
    for _ in 0..rounds {
        let before = cluster.all(&Order::Look)?;
        let began = Instant::now();
        std::thread::sleep(time);
        let after = cluster.all(&Order::Look)?;
        let seconds = began.elapsed().as_secs_f64();
        let each = |value: fn(&crate::node::Report) -> f64| {
            let pairs = before.iter().zip(&after);
            // Of the node that has most to do.
            pairs
                .map(|(before, after)| (value(after) - value(before)) / seconds)
                .fold(0.0, f64::max)
        };
        cores.push(each(|report| report.cpu));
        steps.push(each(|report| report.steps as f64));
        envelopes.push(each(|report| report.sent as f64));
        syncs.push(each(|report| report.syncs as f64));
        let most = after.iter().map(|report| report.resident).max().unwrap_or(0);
        resident.push(most as f64 / f64::from(1 << 20));
    }
    let name = |what| format!("idle_{groups}_groups_{what}");
    tell(&name("cores_busiest_node"), &cores, Goal::Below(0.05));
    tell(&name("rss_mib_largest_node"), &resident, Goal::Below(300.0));
    tell(&name("steps_per_s_busiest_node"), &steps, Goal::None);
    tell(&name("envelopes_per_s_busiest_node"), &envelopes, Goal::None);
    tell(&name("syncs_per_s_busiest_node"), &syncs, Goal::None);

    // One that leads some of them goes without a word, and comes back; then another.
    let (mut elected, mut returned) = (Vec::new(), Vec::new());
    for gone in (0..NODES).rev() {
        let led = cluster.all(&Order::Look)?;
        let led: Vec<usize> = led.iter().map(|report| report.leads).collect();
        cluster.kill(gone)?;
        let took = cluster.wait(|reports| {
            let leads: usize = reports.iter().map(|report| report.leads).sum();
            leads > groups
        })?;
        eprintln!("idle: leaders of {led:?} groups; node {gone} was killed");
        elected.push(took.as_secs_f64());
        cluster.start(gone, directory.path())?;
        // The supervisor gives each its share of leaders.
        let took = cluster.wait(|reports| {
            let leads: Vec<usize> = reports.iter().map(|report| report.leads).collect();
            leads.iter().sum::<usize>() > groups && leads.iter().all(|leads| *leads >= groups / (NODES + 1))
        })?;
        returned.push(took.as_secs_f64());
        std::thread::sleep(Duration::from_secs(3));
    }
    tell(&name("s_until_all_have_leaders_again"), &elected, Goal::None);
    tell(&name("s_until_leaders_are_spread_again"), &returned, Goal::None);
    Ok(())
}
