//! Health, readiness and metrics over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the process can tell about itself.
#[derive(Clone)]
pub struct Vitals {
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the operator does what it is for: it stands by, or it acts and has seen all PliantClusters.
    pub ready: Arc<AtomicBool>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` on `listener` until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, vitals: Vitals, stop: CancellationToken) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(text))
        .with_state(vitals);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("cannot serve health and metrics")
}

async fn readiness(State(vitals): State<Vitals>) -> (StatusCode, &'static str) {
    if vitals.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the lease or the PliantClusters have not been seen yet\n",
        )
    }
}

async fn text(State(vitals): State<Vitals>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], vitals.metrics.text())
}
