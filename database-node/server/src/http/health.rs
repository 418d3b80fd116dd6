//! Whether the server is alive and ready, and its metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use pliantdb_storage::StorageError;

use super::Problem;
use crate::app::App;
use crate::metrics;

/// 200 as long as the process answers at all: a restart helps when it does not.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 when requests are served, else 503 with the reason. A full disk refuses writes but serves reads and
/// deletes, which make room: taking the node out of service would take those away too.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    let not_ready =
        |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail);
    if app.is_leaving() {
        return Err(not_ready("the server is shutting down".to_owned()));
    }
    let databases = app.databases.clone();
    let writable = tokio::task::spawn_blocking(move || databases.writable()).await;
    match writable.unwrap_or(Err(StorageError::Closed)) {
        Ok(()) => Ok("ok\n"),
        Err(StorageError::DiskFull { .. }) => Ok("ok, but the disk is full: writes are refused\n"),
        Err(error) => {
            tracing::debug!(%error, "not ready");
            Err(not_ready(
                "the storage takes no writes at the moment; the server's log says why".to_owned(),
            ))
        }
    }
}

/// The metrics.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let metrics = Arc::clone(&app.metrics);
    let failed = || {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics-failed",
            "No metrics",
            "encoding failed",
        )
    };
    // What it measures may wait for the disk.
    let text = tokio::task::spawn_blocking(move || metrics.text()).await;
    let text = text.map_err(|_| failed())?.map_err(|_| failed())?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
