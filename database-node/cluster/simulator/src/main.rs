//! Runs seeds until a number or a time is reached, and prints what came of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use pliantdb_cluster::mistakes::Mistake;
use pliantdb_simulator::steps::Step;
use pliantdb_simulator::{Scenario, Verdict, run};

/// Simulates clusters on bad days: each seed is a cluster, its clients and two minutes of faults.
#[derive(Parser)]
#[command(name = "soak")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Instead of a number of seeds: for how long, as 90s, 10m or 8h.
    #[arg(long = "for", value_parser = duration)]
    for_: Option<Duration>,
    /// The first seed. With --seeds 1 it is run alone, and what happens is printed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Prints what happens.
    #[arg(long)]
    loud: bool,
    /// Goes on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Instead: plants each known mistake, and tells how many seeds it took to catch it.
    #[arg(long)]
    mistakes: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it as 90s, 10m or 8h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(seconds))
}

#[derive(Default)]
struct Sums {
    seeds: u64,
    virtual_nanos: u64,
    faults: u64,
    operations: u64,
    answered: u64,
    switches: u64,
    forced: u64,
    snapshots: u64,
    naps: u64,
    faults_asleep: u64,
    turned: u64,
    drifts: u64,
    struck_after: BTreeMap<Step, u64>,
    stops: (u64, u64),
    away: u64,
    least_faults: Option<u64>,
    least_operations: Option<u64>,
    /// Of what happened in all seeds, whatever their order.
    digest: u64,
    failures: Vec<Verdict>,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    if arguments.mistakes {
        return plant_all(&arguments);
    }
    let began = Instant::now();
    let (next, sums, stop) = (
        AtomicU64::new(arguments.seed),
        Mutex::new(Sums::default()),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| work(&arguments, began, &next, &sums, &stop));
        }
    });
    let sums = sums
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    tell(&sums, began.elapsed());
    match sums.failures.is_empty() {
        true => std::process::ExitCode::SUCCESS,
        false => std::process::ExitCode::FAILURE,
    }
}

/// Plants each mistake, and prints a table of how it was caught.
#[allow(clippy::print_stdout, reason = "it is what this program is for")]
fn plant_all(arguments: &Arguments) -> std::process::ExitCode {
    println!("| mistake | seeds | virtual minutes | caught by |\n|---|---|---|---|");
    let mut escaped = 0;
    for mistake in Mistake::ALL {
        match pliantdb_simulator::caught(mistake, arguments.seed, arguments.seeds) {
            Some(caught) => println!(
                "| {mistake:?} | {} | {:.0} | {} |",
                caught.seeds, caught.virtual_minutes, caught.invariant
            ),
            None => {
                escaped += 1;
                println!("| {mistake:?} | not in {} | | |", arguments.seeds);
            }
        }
    }
    match escaped {
        0 => std::process::ExitCode::SUCCESS,
        _ => std::process::ExitCode::FAILURE,
    }
}

fn work(arguments: &Arguments, began: Instant, next: &AtomicU64, sums: &Mutex<Sums>, stop: &AtomicBool) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let is_over = match arguments.for_ {
            Some(duration) => began.elapsed() >= duration,
            None => seed >= arguments.seed + arguments.seeds,
        };
        if is_over || stop.load(Ordering::Relaxed) {
            return;
        }
        let verdict = run(&Scenario::of(seed), None, arguments.loud);
        let mut sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.seeds += 1;
        sums.virtual_nanos += verdict.virtual_nanos;
        sums.faults += verdict.faults;
        sums.operations += verdict.operations;
        sums.answered += verdict.answered;
        sums.digest = sums.digest.wrapping_add(verdict.digest);
        sums.switches += verdict.switches;
        sums.forced += verdict.forced;
        sums.snapshots += verdict.snapshots;
        sums.naps += verdict.naps;
        sums.faults_asleep += verdict.faults_asleep;
        sums.turned += verdict.turned;
        sums.drifts += verdict.drifts;
        sums.stops.0 += verdict.stops.0;
        sums.stops.1 += verdict.stops.1;
        sums.away += verdict.away;
        for (step, count) in &verdict.struck_after {
            *sums.struck_after.entry(*step).or_default() += count;
        }
        sums.least_faults = Some(sums.least_faults.unwrap_or(u64::MAX).min(verdict.faults));
        sums.least_operations = Some(sums.least_operations.unwrap_or(u64::MAX).min(verdict.operations));
        if !verdict.violations.is_empty() {
            describe(&verdict);
            sums.failures.push(verdict);
            if !arguments.keep_going {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[allow(clippy::print_stdout, reason = "it is what this program is for")]
fn describe(verdict: &Verdict) {
    println!("seed {} fails:", verdict.seed);
    for violation in &verdict.violations {
        let seen: String = violation.seen.chars().take(4_000).collect();
        println!("  not so: {}\n  {seen}", violation.invariant);
    }
}

#[allow(clippy::print_stdout, reason = "it is what this program is for")]
fn tell(sums: &Sums, took: Duration) {
    let hours = sums.virtual_nanos as f64 / 3.6e12;
    println!(
        "{}",
        serde_json::json!({
            "seeds": sums.seeds,
            "virtual_hours": (hours * 1000.0).round() / 1000.0,
            "faults": sums.faults,
            "operations": sums.operations,
            "failures": sums.failures.len(),
            "answered": sums.answered,
            "least_faults_of_a_seed": sums.least_faults.unwrap_or_default(),
            "least_operations_of_a_seed": sums.least_operations.unwrap_or_default(),
            "switches": sums.switches,
            "forced": sums.forced,
            "snapshots": sums.snapshots,
            "naps": sums.naps,
            "faults_asleep": sums.faults_asleep,
            "clocks_turned": sums.turned,
            "clocks_found_wrong": sums.drifts,
            "stopped_in_good_order": sums.stops.0,
            "handed_over_before": sums.stops.1,
            "leaders_that_stayed_away": sums.away,
            "struck_after": sums.struck_after.iter().map(|(step, count)| (format!("{step:?}"), count)).collect::<BTreeMap<_, _>>(),
            "digest": format!("{:016x}", sums.digest),
            "seconds": took.as_secs(),
            "times_real_time": (hours * 3600.0 / took.as_secs_f64()).round(),
        })
    );
}
