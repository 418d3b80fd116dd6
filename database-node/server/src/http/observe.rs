//! What is noted of each request: an id, the metrics and, when asked for, a line in the log.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::HeaderName;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::app::App;
use crate::traces;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a client.
const MAX_ID_LENGTH: usize = 64;

/// Wraps every request of every listener.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id(&request);
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let status = tracing::field::Empty;
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method,
        route,
        status
    );
    traces::continue_trace(&span, request.headers());
    let mut response = {
        let _in_flight = app.metrics.request_begins();
        next.run(request).instrument(span.clone()).await
    };
    let (status, duration) = (response.status().as_u16(), start.elapsed());
    app.metrics.request(route, method, status, duration);
    tracing::debug!(parent: &span, status, seconds = duration.as_secs_f64(), "answered");
    span.record("status", status);
    if response.status().is_server_error() {
        traces::mark_failed(&span, "the server failed the request");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's id, if it is one that can stand in a log; else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=MAX_ID_LENGTH).contains(&id.len())
            && id
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    let own = request.headers().get(REQUEST_ID).filter(fits).cloned();
    own.unwrap_or_else(|| {
        let id = uuid::Uuid::now_v7().to_string();
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The method as a label, of which there must not be many.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
