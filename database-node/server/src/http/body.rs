//! Reading a document from a request.

use std::time::Duration;

use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use pliantdb_core::{Body, shorten};
use tokio::sync::SemaphorePermit;

use super::Problem;
use crate::app::App;

/// How large a body may be for its JSON to be checked on the thread that serves connections.
const SMALL: usize = 64 * 1024;

/// Reads and checks the request's body. The permit stands for the memory it takes, and lives until the
/// commit is made.
pub(super) async fn document(app: &App, request: Request) -> Result<(Body, SemaphorePermit<'_>), Problem> {
    check_type(request.headers())?;
    let announced = announced_length(request.headers());
    if announced.is_some_and(|length| length > app.max_body_size as u64) {
        return Err(Problem::too_large(app.max_body_size));
    }
    let length = announced
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(app.max_body_size);
    let permit = app.reserve(length).await?;
    let bytes = receive(request.into_body(), app.max_body_size, app.request_timeout).await?;
    let body = if bytes.len() <= SMALL {
        Body::parse(bytes)
    } else {
        tokio::task::spawn_blocking(move || Body::parse(bytes))
            .await
            .map_err(|_| Problem::from(pliantdb_storage::StorageError::Closed))?
    };
    let body = body.map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-json",
            "The body is not valid JSON",
            error.to_string(),
        )
        .with("field", "body")
        .with("line", error.line)
        .with("column", error.column)
    })?;
    Ok((body, permit))
}

async fn receive(body: HttpBody, limit: usize, timeout: Duration) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Err(_) => Err(Problem::slow_body(timeout)),
        Ok(Err(error)) => {
            let error = error.into_inner();
            if is_too_large(error.as_ref()) {
                return Err(Problem::too_large(limit));
            }
            let detail = format!(
                "the request's body cannot be read: {}",
                shorten(&error.to_string())
            );
            Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "unreadable-body",
                "The body cannot be read",
                detail,
            ))
        }
    }
}

/// Whether a body was cut off at the limit.
fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// JSON, or not said. Nothing is decompressed.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |field: &'static str, value: &str, detail: &str| {
        let (name, title) = ("unsupported-media-type", "The body is not JSON by its headers");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, name, title, detail)
            .with("field", field)
            .with("value", shorten(value))
    };
    if let Some(value) = headers.get(CONTENT_TYPE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let essence = value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if !is_json {
            let detail = "a document is JSON: send Content-Type: application/json, or leave it out";
            return Err(unsupported("Content-Type", &value, detail));
        }
    }
    if let Some(value) = headers.get(CONTENT_ENCODING)
        && !value.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let value = String::from_utf8_lossy(value.as_bytes());
        return Err(unsupported(
            "Content-Encoding",
            &value,
            "send the body without compression",
        ));
    }
    Ok(())
}
