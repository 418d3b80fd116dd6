//! Checks the cluster's protocols within a bound, and prints what was looked at and what was found.
//!
//! `pliantdb-cluster-model [--bound NAME] [--mistake NAME] [--depth N] [--names]`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use pliantdb_cluster_model::bound::{Bound, Mistake};
use pliantdb_cluster_model::{Cluster, heal, scenarios};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

fn main() -> ExitCode {
    let mut names = Vec::new();
    let mut mistake = None;
    let mut depth = None;
    let mut traces = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bound" => names.extend(arguments.next()),
            "--mistake" => {
                mistake = arguments.next().and_then(|name| Mistake::named(&name));
                if mistake.is_none() {
                    return usage();
                }
            }
            "--depth" => {
                depth = arguments.next().and_then(|depth| depth.parse().ok());
            }
            "--trace" => traces = true,
            _ => return usage(),
        }
    }
    if names.is_empty() {
        names.extend(scenarios::BIG.iter().map(|(name, _)| (*name).to_owned()));
    }
    let mut good = true;
    for name in names {
        let Some(mut bound) = scenarios::named(&name) else {
            return usage();
        };
        bound.mistake = mistake;
        bound.symmetry &= !traces;
        good &= check(&name, bound, depth);
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage() -> ExitCode {
    let bounds: Vec<_> = scenarios::all().map(|(name, _)| name).collect();
    println!("pliantdb-cluster-model [--bound NAME]… [--mistake NAME] [--depth N] [--trace]");
    println!("bounds: {}", bounds.join(", "));
    println!("mistakes: {:?}", Mistake::ALL);
    ExitCode::FAILURE
}

fn check(name: &str, bound: Bound, depth: Option<usize>) -> bool {
    println!("{name}: {bound:?}");
    let begin = Instant::now();
    let builder = Cluster { bound }
        .checker()
        .finish_when(HasDiscoveries::AnyFailures);
    let builder = match depth {
        Some(depth) => builder.target_max_depth(depth),
        None => builder,
    };
    let threads = if bound.mistake.is_some() { 1 } else { 2 };
    let checker = builder.threads(threads).spawn_bfs().join();
    let found: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
    println!(
        "{} states, {} of them different, depth {}, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begin.elapsed().as_secs_f64()
    );
    let mut good = true;
    for property in checker.model().properties() {
        let path = found.get(property.name);
        let verdict = match (property.expectation, path) {
            (Expectation::Sometimes, Some(_)) => "reached",
            (Expectation::Sometimes, None) => "not reached",
            (_, None) => "holds",
            (_, Some(path)) => {
                good = false;
                let last = path.last_state();
                for (index, action) in path.clone().into_actions().iter().enumerate() {
                    println!("  {:>3} {action:?}", index + 1);
                }
                println!("{last:?}");
                if let Some((gone, steps, end)) = heal::stuck(&bound, last) {
                    println!("  stuck without {gone:?}: {steps:?}");
                    println!("{end:?}");
                }
                "FAILS"
            }
        };
        if verdict != "holds" || !std::env::var("QUIET").is_ok() {
            println!("  {verdict:<11} {}", property.name);
        }
    }
    good
}
