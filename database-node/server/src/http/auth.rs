//! `Authorization: Bearer TOKEN`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::app::App;

/// Lets a request pass if no token is configured, or if it carries it.
pub(super) async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(token) = &app.token else {
        return next.run(request).await;
    };
    match presented(&request) {
        None => Problem::unauthorized(
            "send the header \"Authorization: Bearer TOKEN\"",
            "Bearer realm=\"pliantdb\"",
        )
        .into_response(),
        Some(presented) if token.accepts(presented) => next.run(request).await,
        Some(_) => Problem::unauthorized(
            "the token is not the one that this server expects",
            "Bearer realm=\"pliantdb\", error=\"invalid_token\"",
        )
        .into_response(),
    }
}

/// The token in the request's one Authorization header. The scheme's case does not matter (RFC 9110).
fn presented(request: &Request) -> Option<&[u8]> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return None;
    };
    let (scheme, token) = header.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}
