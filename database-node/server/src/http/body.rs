//! Reading a document from a request.

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use pliantdb_core::{Body, shorten};

use super::Problem;
use crate::app::App;
use crate::request_memory::{Reserved, SMALL};

/// How often a body is in memory while it is committed: as received, as a value, in the engine's batch and
/// in its memtable.
const COPIES: usize = 4;

/// Reads and checks the request's body, which is one JSON value. The memory that it takes is reserved before it is read.
pub(super) async fn document(app: &App, request: Request) -> Result<(Body, Reserved), Problem> {
    let (bytes, reserved) = bytes(app, request).await?;
    // Checking a large body takes longer than a thread that serves connections should be held.
    let body = if bytes.len() <= SMALL {
        Body::parse(bytes)
    } else {
        tokio::task::spawn_blocking(move || Body::parse(bytes))
            .await
            .map_err(|_| Problem::from(pliantdb_storage::StorageError::Closed))?
    };
    let body = body.map_err(|error| Problem::invalid_json(error.to_string(), error.line, error.column))?;
    Ok((body, reserved))
}

/// Reads the request's body, of which parts will be looked at one by one; nothing but its encoding is checked. The memory
/// that it takes is reserved before it is read.
pub(super) async fn text(app: &App, request: Request) -> Result<(String, Reserved), Problem> {
    let (bytes, reserved) = bytes(app, request).await?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, reserved)),
        // Which says where.
        Err(error) => match Body::parse(error.into_bytes()) {
            Err(error) => Err(Problem::invalid_json(error.to_string(), error.line, error.column)),
            Ok(body) => Ok((body.as_str().to_owned(), reserved)),
        },
    }
}

async fn bytes(app: &App, request: Request) -> Result<(Vec<u8>, Reserved), Problem> {
    check_type(request.headers())?;
    let limit = app.max_body_size;
    let announced = announced_length(request.headers());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    // Of a request without a body nothing is announced, and nothing comes.
    let announced = announced.or_else(|| request.body().is_end_stream().then_some(0));
    let length = announced
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(limit);
    let reserved = app.reserve(length, COPIES).await?;
    let receiving = tokio::time::timeout(app.request_timeout, receive(request.into_body(), length, limit));
    let bytes = receiving
        .await
        .map_err(|_| Problem::slow_body(app.request_timeout))??;
    Ok((bytes, reserved))
}

async fn receive(mut body: HttpBody, length: usize, limit: usize) -> Result<Vec<u8>, Problem> {
    // Only the pages that are written to are really taken.
    let mut bytes = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let detail = format!(
                "the request's body cannot be read: {}",
                shorten(&error.to_string())
            );
            Problem::new(
                StatusCode::BAD_REQUEST,
                "unreadable-body",
                "The body cannot be read",
                detail,
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Problem::too_large(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
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
