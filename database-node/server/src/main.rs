//! `pliant-node`: reads the settings, runs the server, and turns signals into a shutdown.

mod maintenance;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use pliantdb_server::cli::{Cli, Command};
use pliantdb_server::config::{LogFormat, LogLevel, Settings};
use pliantdb_server::{Server, VERSION, logging};
use tokio::signal::unix::{SignalKind, signal};

/// For RocksDB too, whose allocations go the same way. glibc's allocator keeps large blocks for itself, in each
/// of its arenas: in a container of 256 MiB six concurrent writes of 16 MiB ended in an OOM kill. How it is
/// tuned is in .cargo/config.toml.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by the log, which may not be set up; nothing can be done if standard error is gone.
            let _ = writeln!(std::io::stderr(), "pliant-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Serve(_)) {
        logging::start(LogFormat::Text, LogLevel::Warn);
    }
    match command {
        Command::Version => print(&format!("pliant-node {VERSION}")),
        Command::Check(args) => {
            Settings::load(args.inputs, args.config.as_deref())?;
            print("the settings are valid")
        }
        Command::Backup(args) => print(&maintenance::backup(&args)?),
        Command::Restore(args) => print(&maintenance::restore(&args)?),
        Command::Dump(args) => maintenance::dump(&args).map(drop),
        Command::Load(args) => print(&maintenance::load(&args)?),
        Command::CheckData(args) => maintenance::check_data(&args, std::io::stdout()),
        Command::RotateMasterKey(args) => print(&maintenance::rotate_master_key(&args)?),
        Command::Serve(args) => {
            let settings = Settings::load(args.inputs, args.config.as_deref())?;
            let (format, level) = (settings.log_format, settings.log_level);
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
            let served = runtime.block_on(serve(settings));
            drop(traces);
            served
        }
    }
}

fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut any_signal = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    // A signal while the server starts waits here and stops it as soon as it runs.
    let server = Server::builder(settings).start().await?;
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
