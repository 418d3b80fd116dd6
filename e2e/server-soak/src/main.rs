//! A server under load of every kind for a while: does it give back what it takes?
//!
//! `e2e/soak-server` starts it. A node runs in a process of its own, with a schema, views and an API, which `pliant-node`
//! has none of; else it is the same. Clients come by every door, use everything, do it wrong, hang and vanish, while they
//! overwrite a fixed set of documents and keys. Meanwhile the node's memory is watched, and after the last of them has gone
//! what it holds still. The last line says what was found; the exit status is 1 when it is not as it should be.
//!
//! - `schema`: the documents, views and API; `node`: the server
//! - `work`: what runs at once; `clients`, `http`, `rude`: what each of it does
//! - `watch`: what is looked at, and what is found

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod clients;
mod http;
mod node;
mod rude;
mod schema;
mod watch;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use load::Failure;

/// As `pliant-node` has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "usage: server-soak [--for 10m]   (s, m or h)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["node", directory] => node::serve(Path::new(directory)).map(|()| true),
        [] => soak(Duration::from_secs(600)),
        ["--for", time] => duration(time).and_then(soak),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("soak-server: {failure}");
            ExitCode::from(2)
        }
    }
}

fn duration(text: &str) -> Result<Duration, Failure> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
    {
        Some(seconds) if seconds >= 20 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("--for {text} must be 20s or more, such as 90s, 10m or 2h").into()),
    }
}

/// Whether all was as it should be.
fn soak(time: Duration) -> Result<bool, Failure> {
    let directory = std::env::var("SERVER_DIRECTORY").unwrap_or_else(|_| "/var/tmp".to_owned());
    let directory = tempfile::Builder::new()
        .prefix("pliantdb-soak-")
        .tempdir_in(directory)?;
    let mut node = node::Node::start(&directory.path().join("data"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (work, watched) = runtime.block_on(async {
        work::prepare(&node).await?;
        let before = watch::Held::at_rest(&node).await?;
        let work = work::Work::new(&node, time);
        let running = work::start(&work);
        let samples = watch::watch(&node, &work, time).await?;
        running.end().await;
        let after = watch::Held::after(&node, &before).await?;
        Ok::<_, Failure>((
            work,
            watch::Watched {
                samples,
                before,
                after,
            },
        ))
    })?;
    // What clients left running must not keep the node from ending.
    runtime.shutdown_background();
    let ended = node.end();
    let report = watch::Report::of(time, &work, &watched, ended.err());
    println!("{}", report.line());
    Ok(report.is_passed())
}
