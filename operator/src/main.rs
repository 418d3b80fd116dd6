//! The operator's process: read the settings, run, report how it ended.

use std::process::ExitCode;

use clap::Parser;
use pliant_operator::{logging, run, settings::Settings};

// One thread is plenty for waiting on an API server, and keeps the memory at rest small.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    logging::start(settings.log_format, &settings.log_level);
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the operator stops: {error:#}");
            ExitCode::FAILURE
        }
    }
}
