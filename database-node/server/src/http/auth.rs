//! `Authorization: Bearer TOKEN`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use pliantdb_core::protocol::{Credentials, Secret};

use super::Problem;
use crate::app::App;
use crate::connections::Peer;

/// Lets a request pass if it is known who asks; the [`Caller`](crate::access::Caller) is an extension of it.
pub(super) async fn require_token(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request
        .extensions()
        .get::<Peer>()
        .map_or(Peer::UNKNOWN, |peer| *peer);
    let credentials = presented(&request);
    match app.access().enter(credentials.as_ref(), peer.0).await {
        Ok((caller, _)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(_) if credentials.is_none() => Problem::unauthorized(
            "send the header \"Authorization: Bearer TOKEN\"",
            "Bearer realm=\"pliantdb\"",
        )
        .into_response(),
        Err(error) => Problem::unauthorized(
            &error.to_string(),
            "Bearer realm=\"pliantdb\", error=\"invalid_token\"",
        )
        .into_response(),
    }
}

/// The token in the request's one Authorization header. The scheme's case does not matter (RFC 9110).
fn presented(request: &Request) -> Option<Credentials> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return None;
    };
    let (scheme, token) = header.to_str().ok()?.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case("bearer ")
        .then(|| Credentials::Token(Secret::new(token.trim())))
}
