//! Where the log goes, and spans.

use std::io;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{LogFormat, LogLevel};
pub use crate::traces::Traces;

/// Writes the log of this process to standard error from now on.
///
/// Does nothing if a log was set up before.
pub fn start(format: LogFormat, level: LogLevel) {
    note(Registry::default().with(log(format, level)).try_init());
}

/// As [`start`], and sends spans to a collector as long as what is returned is there: dropped, it waits a moment for the
/// last of them to be sent.
///
/// # Errors
/// When the collector's URL is none.
pub fn start_with_traces(format: LogFormat, level: LogLevel, endpoint: &str) -> anyhow::Result<Traces> {
    let traces = Traces::start(endpoint).with_context(|| format!("cannot send spans to {endpoint}"))?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(crate::traces::is_exported));
    note(
        Registry::default()
            .with(log(format, level))
            .with(spans)
            .try_init(),
    );
    Ok(traces)
}

fn log(format: LogFormat, level: LogLevel) -> Box<dyn Layer<Registry> + Send + Sync> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => log
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .with_filter(level)
            .boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_filter(level).boxed(),
    }
}

fn note(started: Result<(), tracing_subscriber::util::TryInitError>) {
    if started.is_err() {
        tracing::debug!("a log was set up before; it is kept");
    }
}
