//! `Authorization: Bearer TOKEN`, or `Basic` with a user's name and password.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pliantdb_core::Error;
use pliantdb_core::access::{Action, Need, Resource};
use pliantdb_core::protocol::{Credentials, Secret};

use super::Problem;
use crate::access::Caller;
use crate::app::App;
use crate::connections::Peer;

/// Lets a request pass if it is known who asks; the [`Caller`] is an extension of it.
pub(super) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request
        .extensions()
        .get::<Peer>()
        .map_or(Peer::UNKNOWN, |peer| *peer);
    let credentials = presented(&request);
    match app.access().identify(credentials.as_ref(), peer.0).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Error::Unauthenticated(_)) if credentials.is_none() => Problem::unauthorized(
            "send the header \"Authorization: Bearer TOKEN\", or that of a user's name and password (Basic)",
            "Bearer realm=\"pliantdb\"",
        )
        .into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Lets a request for metrics pass, after [`identify`].
pub(super) async fn may_monitor(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    let need = Need::Action(Action::Monitor, Resource::Server);
    match caller.map_or(Err(Error::unexpected_answer()), |caller| caller.check_need(&need)) {
        Ok(()) => next.run(request).await,
        Err(error) => Problem::from(error).into_response(),
    }
}

/// The credentials in the request's one Authorization header. The scheme's case does not matter (RFC 9110).
fn presented(request: &Request) -> Option<Credentials> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return None;
    };
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(Secret::new(value.trim())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Password {
        user: user.to_owned(),
        password: Secret::new(password),
    })
}
