//! Databases and what they are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pliantdb_core::protocol::{Ask, DatabaseHandle, Reply, SchemaOffer};
use pliantdb_core::{
    CollectionName, Request as DatabaseRequest, Response as DatabaseResponse, SchemaName, ViewDefinition,
    ViewPolicy,
};
use serde_json::{Value, json};

use super::exchange::{Exchange, unexpected};
use super::json::{self, Object};
use super::{Problem, body, views};

/// `GET /v1`
pub(super) async fn list(exchange: Exchange) -> Result<Response, Problem> {
    match exchange.ask(Ask::Databases).await? {
        Reply::Databases(databases) => Ok(Json(json!({ "databases": databases })).into_response()),
        _ => Err(unexpected()),
    }
}

/// `PUT /v1/{db}`
pub(super) async fn create(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let name = exchange.database_name()?;
    let (text, _memory) = body::text(&exchange.app, request).await?;
    let mut asked = Object::of_body(&text)?;
    let schema = schema(&exchange, &mut asked)?;
    asked.end()?;
    let created = exchange.ask(Ask::CreateDatabase { name, schema }).await?;
    opened(StatusCode::CREATED, created)
}

/// `PUT /v1/{db}/_schema`
pub(super) async fn define(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let name = exchange.database_name()?;
    let (text, _memory) = body::text(&exchange.app, request).await?;
    let mut asked = Object::of_body(&text)?;
    let schema = schema(&exchange, &mut asked)?;
    let schema = Some(asked.required("schema", schema)?);
    asked.end()?;
    let opened_with = exchange.ask(Ask::OpenDatabase { name, schema }).await?;
    opened(StatusCode::OK, opened_with)
}

/// `DELETE /v1/{db}`
pub(super) async fn delete(exchange: Exchange) -> Result<StatusCode, Problem> {
    let name = exchange.database_name()?;
    exchange.ask(Ask::DeleteDatabase { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/{db}`
pub(super) async fn describe(exchange: Exchange) -> Result<Response, Problem> {
    let name = exchange.database_name()?;
    let schema = None;
    let Reply::Database(database) = exchange.ask(Ask::OpenDatabase { name, schema }).await? else {
        return Err(unexpected());
    };
    let schema = exchange.app.dispatcher().schema_of(&database.name).await?;
    let mut collections: BTreeMap<CollectionName, Vec<Value>> = BTreeMap::new();
    for view in schema.iter().flat_map(|schema| &schema.views) {
        let described = describe_view(&exchange, &database, view).await?;
        collections
            .entry(view.collection.clone())
            .or_default()
            .push(described);
    }
    let collections: Vec<_> = collections
        .into_iter()
        .map(|(name, views)| json!({ "name": name, "views": views }))
        .collect();
    let answer = json!({
        "name": database.name,
        "number": database.number,
        "schema": schema.map(|schema| schema.name),
        "collections": collections,
    });
    Ok(Json(answer).into_response())
}

async fn describe_view(
    exchange: &Exchange,
    database: &DatabaseHandle,
    view: &ViewDefinition,
) -> Result<Value, Problem> {
    let request = DatabaseRequest::ViewStatus {
        collection: view.collection.clone(),
        view: view.name.clone(),
    };
    let DatabaseResponse::ViewStatus(status) = exchange.read(database.clone(), request).await? else {
        return Err(unexpected());
    };
    Ok(json!({
        "name": view.name,
        "version": view.version,
        "policy": policy_name(view.policy),
        "reduces": view.reduces,
        "status": views::status_json(&status),
    }))
}

fn opened(status: StatusCode, reply: Reply) -> Result<Response, Problem> {
    let Reply::Database(DatabaseHandle { name, number }) = reply else {
        return Err(unexpected());
    };
    Ok((status, Json(json!({ "name": name, "number": number }))).into_response())
}

/// The schema that a body asks for: with the views that it lists, else as the server knows it, else without views.
fn schema(exchange: &Exchange, asked: &mut Object<'_>) -> Result<Option<SchemaOffer>, Problem> {
    let name: Option<SchemaName> = asked.text("schema")?;
    let views = asked.raw("views");
    let Some(name) = name else {
        return match views {
            Some(views) => {
                Err(asked.wrong("views", views, "views are those of a schema: name it, as schema"))
            }
            None => Ok(None),
        };
    };
    let Some(views) = views else {
        let known = exchange.app.dispatcher().schema(&name);
        return Ok(Some(known.unwrap_or(SchemaOffer {
            name,
            views: Vec::new(),
        })));
    };
    let views = json::array("views", views)?.into_iter().enumerate();
    let views = views.map(|(at, json)| read_view(Object::read(format!("views[{at}]"), json.get())?));
    Ok(Some(SchemaOffer {
        name,
        views: views.collect::<Result<_, _>>()?,
    }))
}

/// The view that a part of a body describes.
fn read_view(mut view: Object<'_>) -> Result<ViewDefinition, Problem> {
    let (collection, name) = (view.text("collection")?, view.text("name")?);
    let version = view.raw("version").unwrap_or("0");
    let policy: Option<String> = view.text("policy")?;
    let policy = policy.as_deref().unwrap_or("lazy");
    let policies = [ViewPolicy::Lazy, ViewPolicy::Eager, ViewPolicy::Unique];
    let read = ViewDefinition {
        collection: view.required("collection", collection)?,
        name: view.required("name", name)?,
        version: version
            .parse()
            .map_err(|_| view.wrong("version", version, "version must be a whole number"))?,
        policy: policies
            .into_iter()
            .find(|known| policy_name(*known) == policy)
            .ok_or_else(|| view.wrong("policy", policy, "policy must be lazy, eager or unique"))?,
        reduces: view.flag("reduces")?.unwrap_or(false),
    };
    view.end()?;
    Ok(read)
}

fn policy_name(policy: ViewPolicy) -> &'static str {
    match policy {
        ViewPolicy::Lazy => "lazy",
        ViewPolicy::Eager => "eager",
        ViewPolicy::Unique => "unique",
    }
}
