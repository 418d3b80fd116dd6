//! `/admin/v1/cluster`: how the cluster is, and changes of it.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use pliantdb_core::Error;
use pliantdb_core::access::{Action, Need, Resource};
use pliantdb_core::admin::Begun;
use serde::Deserialize;

use super::accounts::read;
use super::{Problem, problem};
use crate::access::Caller;
use crate::app::App;
use crate::cluster::{AdminError, Cluster};

/// The routes, below which it is known who asks.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/v1/cluster", get(status))
        .route("/admin/v1/cluster/join-tokens", post(make_token))
        .route("/admin/v1/cluster/nodes/{name}", delete(remove))
        .route("/admin/v1/cluster/nodes/{name}/drain", post(drain))
        .route("/admin/v1/cluster/nodes/{name}/undrain", post(undrain))
        .route("/admin/v1/cluster/mode", put(set_mode))
        .route("/admin/v1/cluster/promote", post(promote))
        .route("/admin/v1/cluster/failover", put(set_failover))
        .route(
            "/admin/v1/cluster/replication-factor",
            put(set_replication_factor),
        )
        .method_not_allowed_fallback(problem::method_not_allowed)
}

/// `GET /admin/v1/cluster`
async fn status(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.check_need(&Need::Action(Action::Monitor, Resource::Server))?;
    Ok(Json(cluster(&app)?.status().await?).into_response())
}

/// `POST /admin/v1/cluster/join-tokens`
async fn make_token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&caller)?;
    let asked = read(&app, request).await?;
    let cluster = cluster(&app)?;
    let making = async { cluster.join_token(asked).await };
    let token = recorded(&caller, "make join token", None, making).await?;
    Ok((StatusCode::CREATED, Json(token)).into_response())
}

/// `POST /admin/v1/cluster/nodes/{name}/drain`
async fn drain(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_draining(&app, &caller, &name, true).await
}

/// `POST /admin/v1/cluster/nodes/{name}/undrain`
async fn undrain(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_draining(&app, &caller, &name, false).await
}

async fn set_draining(
    app: &App,
    caller: &Caller,
    name: &str,
    is_draining: bool,
) -> Result<StatusCode, Problem> {
    may_change(caller)?;
    let draining = cluster(app)?.drain(name, is_draining);
    let action = if is_draining { "drain node" } else { "undrain node" };
    recorded(caller, action, Some(name), draining).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The query of `DELETE /admin/v1/cluster/nodes/{name}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    #[serde(default)]
    lost: bool,
}

/// `DELETE /admin/v1/cluster/nodes/{name}`
async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    removal: Result<Query<Removal>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, Problem> {
    may_change(&caller)?;
    let Query(Removal { lost }) = removal.map_err(|error| {
        let detail = format!("{}; the query has lost=true, or nothing", error.body_text());
        Problem::invalid("lost", "", detail)
    })?;
    let removing = cluster(&app)?.remove(&name, lost);
    let action = if lost { "remove lost node" } else { "remove node" };
    recorded(&caller, action, Some(&name), removing).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /admin/v1/cluster/mode`
async fn set_mode(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&caller)?;
    let wanted = read(&app, request).await?;
    let setting = cluster(&app)?.set_mode(wanted);
    Ok(begun(recorded(&caller, "set mode", None, setting).await?))
}

/// `POST /admin/v1/cluster/promote`
async fn promote(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&caller)?;
    let asked: pliantdb_core::admin::Promotion = read(&app, request).await?;
    let name = asked.node.clone();
    let action = if asked.force {
        "promote by force"
    } else {
        "promote"
    };
    let promoting = cluster(&app)?.promote(asked);
    Ok(begun(
        recorded(&caller, action, name.as_deref(), promoting).await?,
    ))
}

/// `PUT /admin/v1/cluster/failover`
async fn set_failover(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, Problem> {
    may_change(&caller)?;
    let wanted = read(&app, request).await?;
    recorded(&caller, "set failover", None, cluster(&app)?.set_failover(wanted)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /admin/v1/cluster/replication-factor`
async fn set_replication_factor(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, Problem> {
    may_change(&caller)?;
    let wanted = read(&app, request).await?;
    let setting = cluster(&app)?.set_replication_factor(wanted);
    recorded(&caller, "set replication factor", None, setting).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn begun(begun: Begun) -> Response {
    let status = match begun.switch {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::OK,
    };
    (status, Json(begun)).into_response()
}

fn may_change(caller: &Caller) -> Result<(), Error> {
    caller.check_need(&Need::Action(Action::Administer, Resource::Server))
}

fn cluster(app: &App) -> Result<&Cluster, Problem> {
    app.cluster.as_deref().ok_or_else(|| {
        let detail = "this node is alone: start it with nodesListen (--nodes-listen, PLIANT_NODES_LISTEN) to make it a node \
                      of a cluster";
        Problem::new(StatusCode::CONFLICT, "no-cluster", "The node is alone", detail)
    })
}

/// Does it, and remembers who asked for it and what came of it.
async fn recorded<T>(
    caller: &Caller,
    action: &str,
    node: Option<&str>,
    doing: impl Future<Output = Result<T, AdminError>>,
) -> Result<T, AdminError> {
    let done = doing.await;
    let resource = node.map(|node| format!("node {}", pliantdb_core::shorten(node)));
    let failed = done.as_ref().err().map(Error::invalid);
    caller.record(action, None, resource.as_deref(), failed.as_ref());
    done
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let detail = error.to_string();
        match error {
            AdminError::Invalid { field, value, .. } => Self::invalid(field, &value, detail),
            AdminError::UnknownNode { name, known } => {
                Self::not_found("unknown-node", "There is no such node", detail)
                    .with("node", name)
                    .with("known", known)
            }
            AdminError::Refused(_) => Self::new(
                StatusCode::CONFLICT,
                "refused",
                "The cluster is not changed",
                detail,
            ),
            AdminError::Undecided(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "undecided",
                "Nobody decides about the cluster",
                detail,
            ),
            AdminError::Unknown(_) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "unknown-outcome",
                "The outcome of the change is unknown",
                detail,
            ),
        }
    }
}
