//! HTTP: which route leads where.

mod accounts;
mod apis;
mod auth;
mod body;
mod cluster;
mod conditions;
mod consistency;
mod databases;
mod documents;
mod events;
mod exchange;
mod feed;
mod framing;
mod health;
mod json;
mod key_values;
mod listing;
mod messages;
mod observe;
mod openapi;
mod openapi_schemas;
mod parameters;
mod problem;
mod routes;
mod transactions;
mod unread;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use pliantdb_core::protocol::WEBSOCKET_PATH;

use crate::app::App;
use crate::websocket;
pub(crate) use problem::Problem;

/// What clients use.
pub(crate) fn api(app: Arc<App>) -> Router {
    let protected = routes::router()
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::unknown_route)
        .layer(from_fn_with_state(Arc::clone(&app), auth::identify));
    let unprotected = framing::Unprotected(app.access().is_open());
    // Its clients say who they are in their first message.
    let websocket = Router::new()
        .route(WEBSOCKET_PATH, get(websocket::upgrade))
        .method_not_allowed_fallback(problem::method_not_allowed);
    finish(
        protected
            .merge(health())
            .merge(websocket)
            .merge(routes::login().method_not_allowed_fallback(problem::method_not_allowed)),
        app,
        unprotected,
    )
}

/// What operators use.
pub(crate) fn admin(app: Arc<App>) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(problem::method_not_allowed);
    let metrics = match app.protect_admin {
        true => metrics
            .layer(from_fn(auth::may_monitor))
            .layer(from_fn_with_state(Arc::clone(&app), auth::identify)),
        false => metrics,
    };
    // Whoever changes the cluster says who they are, on loopback too.
    let cluster = cluster::router().layer(from_fn_with_state(Arc::clone(&app), auth::identify));
    let unprotected = framing::Unprotected(app.access().is_open() || !app.protect_admin);
    finish(
        metrics
            .merge(cluster)
            .merge(health())
            .fallback(problem::unknown_route),
        app,
        unprotected,
    )
}

fn health() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(problem::method_not_allowed)
}

/// What every request passes, whatever its route.
fn finish(routes: Router<Arc<App>>, app: Arc<App>, unprotected: framing::Unprotected) -> Router {
    routes
        .layer(from_fn_with_state(unprotected, framing::check))
        .layer(from_fn(consistency::tell))
        .layer(from_fn(unread::discard_unread))
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}
