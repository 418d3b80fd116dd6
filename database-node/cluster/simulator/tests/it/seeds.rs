//! A thousand clusters on bad days.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pliantdb_simulator::steps::Step;
use pliantdb_simulator::{Scenario, Verdict, run};

/// `PLIANT_SEEDS` says how many; `PLIANT_SEED` is the first.
fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is {value:?}: a number"))
    })
}

#[test]
fn hold_whatever_happens() {
    let (first, count) = (number("PLIANT_SEED", 1), number("PLIANT_SEEDS", 1000));
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let work = || {
        let mut verdicts = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return verdicts;
            }
            verdicts.push(run(&Scenario::of(seed), None, false));
        }
    };
    let verdicts: Vec<Verdict> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let sum = |of: fn(&Verdict) -> u64| verdicts.iter().map(of).sum::<u64>();
    let least = |of: fn(&Verdict) -> u64| verdicts.iter().map(of).min().unwrap_or_default();
    let virtual_seconds = sum(|verdict| verdict.virtual_nanos) as f64 / 1e9;
    let took = began.elapsed().as_secs_f64();
    let summary = format!(
        "\n{count} seeds, {:.1} virtual hours in {took:.0} seconds, {:.0} times real time; {} operations (at least {} in a \
         seed), {} faults (at least {} in a seed), {} switches ended, {} groups forced, {} snapshots, {} naps, {} faults \
         amid them, {} clocks began to run wrong, {} times one was found out",
        virtual_seconds / 3600.0,
        virtual_seconds / took,
        sum(|verdict| verdict.operations),
        least(|verdict| verdict.operations),
        sum(|verdict| verdict.faults),
        least(|verdict| verdict.faults),
        sum(|verdict| verdict.switches),
        sum(|verdict| verdict.forced),
        sum(|verdict| verdict.snapshots),
        sum(|verdict| verdict.naps),
        sum(|verdict| verdict.faults_asleep),
        sum(|verdict| verdict.turned),
        sum(|verdict| verdict.drifts),
    );
    // What println! prints the test harness shows of failures only, and this is always to be seen.
    writeln!(std::io::stdout().lock(), "{summary}").unwrap();
    let failed: Vec<&Verdict> = verdicts
        .iter()
        .filter(|verdict| !verdict.violations.is_empty())
        .collect();
    for verdict in &failed {
        println!("seed {}: {:#?}", verdict.seed, verdict.violations);
    }
    let seeds: Vec<u64> = failed.iter().map(|verdict| verdict.seed).collect();
    assert!(
        seeds.is_empty(),
        "again: cargo run -p pliantdb-simulator -- --loud --seeds 1 --seed N, of {seeds:?}"
    );
    let struck = |step: Step| {
        let counts = verdicts
            .iter()
            .filter_map(|verdict| verdict.struck_after.get(&step));
        counts.sum::<u64>()
    };
    for step in Step::ALL {
        println!("struck after {step:?}: {} times", struck(step));
    }
    let spared = Step::ALL.into_iter().filter(|step| struck(*step) < count / 100);
    let spared: Vec<Step> = spared.collect();
    assert!(spared.is_empty(), "hardly struck after {spared:?}");
    assert!(
        least(|verdict| verdict.faults) >= 20,
        "too few faults to mean anything"
    );
    assert!(
        sum(|verdict| verdict.naps) >= 2 * count && sum(|verdict| verdict.faults_asleep) >= count,
        "too few naps to mean anything"
    );
    assert!(
        sum(|verdict| verdict.turned) >= count / 2 && sum(|verdict| verdict.drifts) >= count,
        "too few wrong clocks to mean anything"
    );
    assert!(
        least(|verdict| verdict.operations) >= 500,
        "too few operations to mean anything"
    );
    assert!(
        sum(|verdict| verdict.answered) * 10 >= sum(|verdict| verdict.operations) * 9,
        "clients mostly waited"
    );
}
