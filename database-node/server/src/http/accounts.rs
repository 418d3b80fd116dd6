//! Logging in and out, users, roles and API keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json};
use jiff::SignedDuration;
use pliantdb_core::access::{KeyOwner, Permission};
use pliantdb_core::protocol::{AccountsAsk, AccountsReply, ApiKeyInfo, Ask, Credentials, Reply, Secret};
use pliantdb_core::{ApiKeyName, Error, RoleName, UserName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::parameters::parse;
use super::routes::{Answer, Content, GONE, Operation, created, ok};
use super::{Problem, body};
use crate::access::Caller;
use crate::app::App;
use crate::connections::Peer;
use crate::dispatch::Terms;
use crate::metrics::{self, Door};

const DONE: Answer = Answer {
    status: 204,
    about: "It is done.",
    content: Content::Nothing,
};

/// What gives credentials, and so needs none.
pub(super) const LOGIN: Operation = Operation {
    method: "post",
    path: "/v1/_login",
    id: "logIn",
    tag: "accounts",
    summary: "Gives a session for a password: a token.",
    handler: || post(log_in),
    parameters: &[],
    body: Some(("Login", true)),
    answers: &[ok(Content::Json("Session"))],
    problems: &[429],
};

/// What needs credentials.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/v1/_logout",
        id: "logOut",
        tag: "accounts",
        summary: "Ends the session that asks.",
        handler: || post(log_out),
        parameters: &[],
        body: None,
        answers: &[GONE],
        problems: &[422],
    },
    Operation {
        method: "get",
        path: "/v1/_whoami",
        id: "whoAmI",
        tag: "accounts",
        summary: "Who asks, and what they may do.",
        handler: || get(who_am_i),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("WhoAmI"))],
        problems: &[],
    },
    Operation {
        method: "put",
        path: "/v1/_password",
        id: "changePassword",
        tag: "accounts",
        summary: "Changes the password of the user who asks, and ends all sessions of theirs.",
        handler: || put(change_password),
        parameters: &[],
        body: Some(("PasswordChange", true)),
        answers: &[DONE],
        problems: &[409, 422, 429, 507],
    },
    Operation {
        method: "get",
        path: "/v1/_users",
        id: "listUsers",
        tag: "accounts",
        summary: "All users.",
        handler: || get(users),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("Users"))],
        problems: &[],
    },
    Operation {
        method: "put",
        path: "/v1/_users/{name}",
        id: "setUser",
        tag: "accounts",
        summary: "Creates or changes a user; what is left out stays as it is.",
        handler: || put(set_user),
        parameters: &[],
        body: Some(("UserChange", true)),
        answers: &[DONE],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/_users/{name}",
        id: "deleteUser",
        tag: "accounts",
        summary: "Deletes a user, with their API keys.",
        handler: || delete(delete_user),
        parameters: &[],
        body: None,
        answers: &[GONE],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "get",
        path: "/v1/_roles",
        id: "listRoles",
        tag: "accounts",
        summary: "All roles, and what they allow.",
        handler: || get(roles),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("Roles"))],
        problems: &[],
    },
    Operation {
        method: "put",
        path: "/v1/_roles/{name}",
        id: "setRole",
        tag: "accounts",
        summary: "Creates or changes a role.",
        handler: || put(set_role),
        parameters: &[],
        body: Some(("RoleChange", true)),
        answers: &[DONE],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/_roles/{name}",
        id: "deleteRole",
        tag: "accounts",
        summary: "Deletes a role that nobody has.",
        handler: || delete(delete_role),
        parameters: &[],
        body: None,
        answers: &[GONE],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "get",
        path: "/v1/_keys",
        id: "listApiKeys",
        tag: "accounts",
        summary: "All API keys, without the keys themselves.",
        handler: || get(keys),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("ApiKeys"))],
        problems: &[],
    },
    Operation {
        method: "post",
        path: "/v1/_keys",
        id: "createApiKey",
        tag: "accounts",
        summary: "Creates an API key, which is shown this once.",
        handler: || post(create_key),
        parameters: &[],
        body: Some(("ApiKeyCreation", true)),
        answers: &[created(Content::Json("ApiKeyCreated"))],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/_keys/{name}",
        id: "deleteApiKey",
        tag: "accounts",
        summary: "Deletes an API key.",
        handler: || delete(delete_key),
        parameters: &[],
        body: None,
        answers: &[GONE],
        problems: &[404, 409, 422, 507],
    },
];

/// The body of `POST /v1/_login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: String,
    password: Secret,
}

/// `POST /v1/_login`
async fn log_in(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Result<Response, Problem> {
    let Login { user, password } = read(&app, request).await?;
    let credentials = Credentials::Password { user, password };
    let peer = peer.map_or(Peer::UNKNOWN, |Extension(peer)| peer);
    let (caller, session) = app.access().enter(Some(&credentials), peer.0).await?;
    let token = session.as_ref().map(Secret::expose);
    Ok(Json(json!({ "user": caller.name(), "token": token })).into_response())
}

/// `POST /v1/_logout`
async fn log_out(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    done(&app, &caller, AccountsAsk::LogOut).await
}

/// `GET /v1/_whoami`
async fn who_am_i(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    match ask(&app, &caller, AccountsAsk::WhoAmI).await? {
        Reply::Accounts(AccountsReply::WhoAmI(me)) => Ok(Json(me).into_response()),
        _ => Err(Error::unexpected_answer().into()),
    }
}

/// The body of `PUT /v1/_password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    old: Secret,
    new: Secret,
}

/// `PUT /v1/_password`
async fn change_password(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let ChangePassword { old, new } = read(&app, request).await?;
    done(&app, &caller, AccountsAsk::ChangePassword { old, new }).await
}

/// `GET /v1/_users`
async fn users(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let Reply::Accounts(AccountsReply::Users(users)) = ask(&app, &caller, AccountsAsk::Users).await? else {
        return Err(Error::unexpected_answer().into());
    };
    let users: Vec<_> = users
        .into_iter()
        .map(|user| {
            json!({
                "name": user.name,
                "roles": user.roles,
                "disabled": user.is_disabled,
                "hasPassword": user.has_password,
            })
        })
        .collect();
    Ok(Json(json!({ "users": users })).into_response())
}

/// The body of `PUT /v1/_users/{name}`. What is left out stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetUser {
    password: Option<Secret>,
    roles: Option<BTreeSet<RoleName>>,
    disabled: Option<bool>,
}

/// `PUT /v1/_users/{name}`
async fn set_user(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let name = parse::<UserName>("user", name)?;
    let SetUser {
        password,
        roles,
        disabled,
    } = read(&app, request).await?;
    let ask = AccountsAsk::SetUser {
        name,
        password,
        roles,
        is_disabled: disabled,
    };
    done(&app, &caller, ask).await
}

/// `DELETE /v1/_users/{name}`
async fn delete_user(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = parse("user", name)?;
    done(&app, &caller, AccountsAsk::DeleteUser { name }).await
}

/// `GET /v1/_roles`
async fn roles(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    match ask(&app, &caller, AccountsAsk::Roles).await? {
        Reply::Accounts(AccountsReply::Roles(roles)) => Ok(Json(json!({ "roles": roles })).into_response()),
        _ => Err(Error::unexpected_answer().into()),
    }
}

/// The body of `PUT /v1/_roles/{name}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRole {
    permissions: Vec<Permission>,
}

/// `PUT /v1/_roles/{name}`
async fn set_role(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let name = parse("role", name)?;
    let SetRole { permissions } = read(&app, request).await?;
    done(&app, &caller, AccountsAsk::SetRole { name, permissions }).await
}

/// `DELETE /v1/_roles/{name}`
async fn delete_role(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = parse("role", name)?;
    done(&app, &caller, AccountsAsk::DeleteRole { name }).await
}

/// An API key as it is shown.
#[derive(Serialize)]
struct ShownKey {
    name: ApiKeyName,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<BTreeSet<RoleName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<jiff::Timestamp>,
}

impl From<ApiKeyInfo> for ShownKey {
    fn from(key: ApiKeyInfo) -> Self {
        let (user, roles) = match key.owner {
            KeyOwner::User(user) => (Some(user), None),
            KeyOwner::Roles(roles) => (None, Some(roles)),
        };
        let expires = key.expires_ms.map(|expires| {
            let millis = i64::try_from(expires).unwrap_or(i64::MAX);
            jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
        });
        Self {
            name: key.name,
            user,
            roles,
            expires,
        }
    }
}

/// `GET /v1/_keys`
async fn keys(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    match ask(&app, &caller, AccountsAsk::ApiKeys).await? {
        Reply::Accounts(AccountsReply::ApiKeys(keys)) => {
            let keys: Vec<_> = keys.into_iter().map(ShownKey::from).collect();
            Ok(Json(json!({ "keys": keys })).into_response())
        }
        _ => Err(Error::unexpected_answer().into()),
    }
}

/// The body of `POST /v1/_keys`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateKey {
    name: ApiKeyName,
    user: Option<UserName>,
    roles: Option<BTreeSet<RoleName>>,
    expires_in: Option<String>,
}

/// `POST /v1/_keys`
async fn create_key(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let CreateKey {
        name,
        user,
        roles,
        expires_in,
    } = read(&app, request).await?;
    let owner = match (user, roles) {
        (Some(user), None) => KeyOwner::User(user),
        (None, Some(roles)) => KeyOwner::Roles(roles),
        _ => {
            let detail = "an API key is a user's, or has roles of its own: give either \"user\" or \"roles\"";
            return Err(Problem::invalid("user", "", detail));
        }
    };
    let lifetime = expires_in.map(lifetime).transpose()?;
    let create = AccountsAsk::CreateApiKey {
        name: name.clone(),
        owner,
        lifetime,
    };
    match ask(&app, &caller, create).await? {
        Reply::Accounts(AccountsReply::ApiKey(key)) => {
            let created = json!({ "name": name, "key": key.expose() });
            Ok((StatusCode::CREATED, Json(created)).into_response())
        }
        _ => Err(Error::unexpected_answer().into()),
    }
}

fn lifetime(text: String) -> Result<Duration, Problem> {
    let parsed = text.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| !duration.is_zero()).ok_or_else(|| {
        let detail = "write a duration, as in 30m, 12h or 720h; leave it out for a key that does not expire";
        Problem::invalid("expiresIn", &text, detail)
    })
}

/// `DELETE /v1/_keys/{name}`
async fn delete_key(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = parse("key", name)?;
    done(&app, &caller, AccountsAsk::DeleteApiKey { name }).await
}

async fn ask(app: &App, caller: &Caller, ask: AccountsAsk) -> Result<Reply, Problem> {
    let ask = Ask::Accounts(ask);
    let asked = app.metrics.asked(Door::Http, metrics::operation(&ask));
    let asking = app.dispatcher().ask(caller, ask, Terms::default());
    Ok(asked.when(asking).await?.reply)
}

async fn done(app: &App, caller: &Caller, of: AccountsAsk) -> Result<Response, Problem> {
    ask(app, caller, of).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The longest that is said of what is wrong with a body, in characters.
const MAX_REASON: usize = 1000;

/// The request's body as a `T`.
pub(super) async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Problem> {
    let (body, _memory) = body::document(app, request).await?;
    let wrong = |reason: &str| {
        let detail = format!("the body is not of the form that is asked for here: {reason}");
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-value",
            "The request has an invalid value",
            detail,
        )
        .with("field", "body")
    };
    // An array of the members in their order would do for serde.
    if !body.as_str().trim_start().starts_with('{') {
        return Err(wrong("it must be an object"));
    }
    body.read().map_err(|error: serde_json::Error| {
        let reason: String = error.to_string().chars().take(MAX_REASON).collect();
        wrong(&reason)
    })
}
