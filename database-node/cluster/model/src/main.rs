//! Checks the cluster's protocols within bounds, and prints what was looked at and what was found.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pliantdb_cluster_model::bound::{Bound, Mistake};
use pliantdb_cluster_model::{Cluster, heal, scenarios};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What the command line asks for.
#[derive(Default)]
struct Request {
    bounds: Vec<(String, Bound)>,
    mistake: Option<Mistake>,
    seconds: Option<u64>,
    trace: bool,
}

fn main() -> ExitCode {
    let Some(request) = parse(std::env::args().skip(1)) else {
        let bounds: Vec<_> = scenarios::all().map(|(name, _)| name).collect();
        println!("pliantdb-cluster-model [--bound NAME]… [--mistake NAME] [--seconds N] [--trace]");
        println!("without --bound: those that begin with big");
        println!("bounds: {}", bounds.join(", "));
        println!("mistakes: {:?}", Mistake::ALL);
        return ExitCode::FAILURE;
    };
    let mut good = true;
    for (name, bound) in &request.bounds {
        good &= check(name, *bound, &request);
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Request> {
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bound" => {
                let name = arguments.next()?;
                let bound = scenarios::named(&name)?;
                request.bounds.push((name, bound));
            }
            "--mistake" => request.mistake = Some(Mistake::named(&arguments.next()?)?),
            "--seconds" => request.seconds = Some(arguments.next()?.parse().ok()?),
            "--trace" => request.trace = true,
            _ => return None,
        }
    }
    if request.bounds.is_empty() {
        let big = scenarios::BIG.iter();
        request.bounds = big.map(|(name, bound)| ((*name).to_owned(), *bound)).collect();
    }
    Some(request)
}

/// Looks at everything within a bound, and says whether it holds and was looked at whole.
fn check(name: &str, bound: Bound, request: &Request) -> bool {
    let bound = Bound {
        mistake: request.mistake,
        // With names that change from state to state a path is hard to follow.
        symmetry: bound.symmetry && !request.trace,
        ..bound
    };
    println!("{name}: {bound:?}");
    let begin = Instant::now();
    let builder = Cluster { bound }
        .checker()
        .finish_when(HasDiscoveries::AnyFailures);
    let builder = match request.seconds {
        Some(seconds) => builder.timeout(Duration::from_secs(seconds)),
        None => builder,
    };
    // With one thread a path to a failure is a shortest one.
    let threads = if request.mistake.is_some() { 1 } else { 2 };
    let checker = builder.threads(threads).spawn_bfs().join();
    let elapsed = begin.elapsed();
    let stopped = request
        .seconds
        .is_some_and(|seconds| elapsed.as_secs() >= seconds);
    let found: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
    println!(
        "{} states, {} of them different, depth {}, {:.1} s{}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        elapsed.as_secs_f64(),
        if stopped { ", STOPPED before the end" } else { "" }
    );
    let mut good = !stopped;
    for property in checker.model().properties() {
        let path = found.get(property.name);
        let verdict = match (property.expectation, path) {
            (Expectation::Sometimes, Some(_)) => "reached",
            (Expectation::Sometimes, None) => "not reached",
            (_, None) => "holds",
            (_, Some(_)) => "FAILS",
        };
        println!("  {verdict:<11} {}", property.name);
        if let (Some(path), "FAILS") = (path, verdict) {
            good = false;
            for (index, action) in path.clone().into_actions().iter().enumerate() {
                println!("    {:>3} {action:?}", index + 1);
            }
            print!("{:?}", path.last_state());
            if let Some((gone, steps, end)) = heal::stuck(&bound, path.last_state()) {
                println!("    healing without {gone:?} gets stuck: {steps:?}");
                print!("{end:?}");
            }
        }
    }
    good
}
