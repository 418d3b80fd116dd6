//! Serving, and checking what is to be served.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Server, logging};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::output::Output;

/// How long what was cut off may take to let go of the storage: less than the operator allows for closing.
const LETTING_GO: Duration = Duration::from_secs(3);

/// The settings of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// A YAML file with settings
    #[arg(long, env = "PLIANT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The settings given as flags and variables.
    #[command(flatten)]
    inputs: Inputs,
}

/// Checks settings, and does nothing else.
///
/// # Errors
/// Which setting is wrong.
pub(crate) fn check(args: ServeArgs, out: Output) -> Result<(), Failure> {
    Settings::load(args.inputs, args.config.as_deref())?;
    out.result("the settings are valid", &json!({"valid": true}))
}

/// Serves until a signal says to stop.
///
/// # Errors
/// Why it cannot start, or had to stop.
pub(crate) fn serve(args: ServeArgs) -> Result<(), Failure> {
    let settings = Settings::load(args.inputs, args.config.as_deref())?;
    let (format, level) = (settings.log_format, settings.log_level);
    // They are sent until the last of them is.
    let traces = match &settings.otlp_endpoint {
        Some(endpoint) => Some(logging::start_with_traces(format, level, endpoint)?),
        None => {
            logging::start(format, level);
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // They wait for the disk; each costs memory while it reads.
        .max_blocking_threads(64)
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(run(settings));
    // The storage is closed, and what was cut off lets go of it: when the process ends before, RocksDB's threads find what
    // they stand on gone. A backup that still goes on is not waited for longer.
    runtime.shutdown_timeout(LETTING_GO);
    drop(traces);
    Ok(done?)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut any_signal = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let may_wait = settings
        .clustering
        .as_ref()
        .is_some_and(|clustering| !clustering.join.is_empty());
    let starting = Server::builder(settings).start();
    // A signal while the server starts waits here and stops it as soon as it runs. One that joins a cluster may wait for ever
    // until somebody gives it a certificate.
    let server = match may_wait {
        false => starting.await?,
        true => tokio::select! {
            biased;
            server = starting => server?,
            name = any_signal() => {
                tracing::info!(signal = name, "stopped before it had started");
                return Ok(());
            }
        },
    };
    let stop = async move {
        let name = any_signal().await;
        tracing::info!(signal = name, "stopping; another signal exits at once");
        tokio::spawn(async move {
            let name = any_signal().await;
            tracing::warn!(signal = name, "exiting at once");
            // Safe at any moment: what was acknowledged is on disk.
            std::process::exit(1);
        });
    };
    Ok(server.run(stop).await?)
}
