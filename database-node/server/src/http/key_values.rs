//! The key-value store.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pliantdb_core::{
    Body, Expiry, KeyAction, KeyCondition, KeyListing, KeyOutcome, KeyPage, KeyStatus, Number,
    Request as DatabaseRequest, Response as DatabaseResponse,
};
use serde_json::json;

use super::exchange::{Exchange, unexpected};
use super::json::Object;
use super::listing::MAX_BYTES;
use super::parameters::{self, Parameters};
use super::{Problem, body};
use crate::request_memory::{Reserved, SMALL, held};

/// The longest time to live: some 292 years.
const MAX_TTL: Duration = Duration::from_secs(9_223_372_036);

/// `GET /v1/{db}/_kv/{namespace}/{key}`
pub(super) async fn read(exchange: Exchange) -> Result<Response, Problem> {
    let (namespace, key) = (exchange.namespace()?, exchange.key()?);
    let request = DatabaseRequest::GetKey {
        namespace: namespace.clone(),
        key: key.clone(),
    };
    match exchange.read(exchange.database()?, request).await? {
        DatabaseResponse::Value(Some(value)) => {
            let value = value.into_bytes();
            // How many large ones wait for clients that are slow to read them is limited.
            let body = match value.len() {
                ..=SMALL => value.into(),
                length => held(value, exchange.app.reserve(length, 1).await?),
            };
            Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
        }
        DatabaseResponse::Value(None) => {
            let detail = format!("there is no key {key:?} in the namespace {namespace:?}");
            Err(Problem::not_found("unknown-key", "There is no such key", detail)
                .with("namespace", namespace.as_str())
                .with("key", key.as_str()))
        }
        _ => Err(unexpected()),
    }
}

/// `GET /v1/{db}/_kv/{namespace}?prefix=&after=&limit=&order=&max_bytes=`
pub(super) async fn list(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let (database, namespace) = (exchange.database()?, exchange.namespace()?);
    let known = ["prefix", "after", "limit", "order", "max_bytes"];
    let parameters = Parameters::read(query, &known)?;
    let listing = KeyListing {
        prefix: parameters.get("prefix").unwrap_or_default().to_owned(),
        after: parameters.parsed("after")?,
        order: parameters.order()?,
        limit: parameters.limit()?,
        max_bytes: parameters.number("max_bytes", MAX_BYTES)?.unwrap_or(MAX_BYTES),
    };
    // The page and the answer made of it; the first value can be larger.
    let bytes = 2 * listing.max_bytes + exchange.app.max_body_size;
    let reserved = exchange.app.reserve(bytes, 1).await?;
    let request = DatabaseRequest::ListKeys { namespace, listing };
    match exchange.read(database, request).await? {
        DatabaseResponse::Keys(page) => {
            let body = held(encode(&page), reserved);
            Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
        }
        _ => Err(unexpected()),
    }
}

/// `PUT /v1/{db}/_kv/{namespace}/{key}`: its value is the body.
pub(super) async fn set(exchange: Exchange, query: RawQuery, request: Request) -> Result<Response, Problem> {
    let known = [
        "ttl",
        "keep_ttl",
        "if_present",
        "if_vacant",
        "if_equals",
        "return_previous",
    ];
    let parameters = Parameters::read(query, &known)?;
    let (expiry, condition) = (expiry(&parameters)?, condition(&parameters)?);
    let (value, memory) = body::document(&exchange.app, request).await?;
    let action = KeyAction::Set {
        value,
        expiry,
        condition,
    };
    change(&exchange, &parameters, action, Some(memory)).await
}

/// `DELETE /v1/{db}/_kv/{namespace}/{key}`
pub(super) async fn delete(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let parameters = Parameters::read(query, &["if_equals", "return_previous"])?;
    let condition = condition(&parameters)?;
    change(&exchange, &parameters, KeyAction::Delete { condition }, None).await
}

/// `POST /v1/{db}/_kv/{namespace}/{key}/_increment`: `{"by": 1}`
pub(super) async fn increment(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (text, memory) = body::text(&exchange.app, request).await?;
    let mut asked = Object::of_body(&text)?;
    let by = asked.raw("by").unwrap_or("1");
    let by = Number::from_json(by).ok_or_else(|| {
        asked.wrong(
            "by",
            by,
            "by must be a number: a whole one of 64 bits with a sign, or any with a fraction or exponent",
        )
    })?;
    asked.end()?;
    let outcome = outcome(&exchange, KeyAction::Increment { by }, Some(memory)).await?;
    let value = outcome.current.ok_or_else(unexpected)?;
    let body = format!("{{\"value\":{}}}", value.as_str());
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// `POST /v1/{db}/_kv/{namespace}/{key}/_expire`: `{"ttl": "10s"}`, or `{}` for never.
pub(super) async fn expire(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (text, memory) = body::text(&exchange.app, request).await?;
    let mut asked = Object::of_body(&text)?;
    let ttl: Option<String> = asked.text("ttl")?;
    let expiry = match ttl {
        Some(ttl) => Expiry::After(parameters::duration("ttl", &ttl, MAX_TTL)?),
        None => Expiry::Never,
    };
    asked.end()?;
    let outcome = outcome(&exchange, KeyAction::Expire { expiry }, Some(memory)).await?;
    Ok(Json(json!({ "status": status_name(outcome.status) })).into_response())
}

fn expiry(parameters: &Parameters) -> Result<Expiry, Problem> {
    match (parameters.duration("ttl", MAX_TTL)?, parameters.flag("keep_ttl")?) {
        (None, false) => Ok(Expiry::Never),
        (None, true) => Ok(Expiry::Keep),
        (Some(ttl), false) => Ok(Expiry::After(ttl)),
        (Some(_), true) => Err(Problem::invalid(
            "keep_ttl",
            "true",
            "give a ttl or keep the one there is, not both",
        )),
    }
}

fn condition(parameters: &Parameters) -> Result<KeyCondition, Problem> {
    let equals = parameters.get("if_equals");
    match (
        parameters.flag("if_present")?,
        parameters.flag("if_vacant")?,
        equals,
    ) {
        (false, false, None) => Ok(KeyCondition::Always),
        (true, false, None) => Ok(KeyCondition::Present),
        (false, true, None) => Ok(KeyCondition::Vacant),
        (false, false, Some(value)) => match Body::try_from(value.to_owned()) {
            Ok(value) => Ok(KeyCondition::Equals(value)),
            Err(error) => {
                let detail = format!("if_equals must be the JSON that the key is to have: {error}");
                Err(Problem::invalid("if_equals", value, detail))
            }
        },
        (present, ..) => {
            let name = if present { "if_present" } else { "if_vacant" };
            let detail = "there can be one condition: if_present, if_vacant or if_equals";
            Err(Problem::invalid(name, "true", detail))
        }
    }
}

async fn outcome(
    exchange: &Exchange,
    action: KeyAction,
    memory: Option<Reserved>,
) -> Result<KeyOutcome, Problem> {
    let request = DatabaseRequest::ChangeKey {
        namespace: exchange.namespace()?,
        key: exchange.key()?,
        action,
    };
    match exchange.write(exchange.database()?, request, memory).await? {
        DatabaseResponse::Key(outcome) => Ok(outcome),
        _ => Err(unexpected()),
    }
}

/// Sets or deletes, and answers with what was done.
async fn change(
    exchange: &Exchange,
    parameters: &Parameters,
    action: KeyAction,
    memory: Option<Reserved>,
) -> Result<Response, Problem> {
    let returns_previous = parameters.flag("return_previous")?;
    let outcome = outcome(exchange, action, memory).await?;
    let status = match outcome.status {
        KeyStatus::Created => StatusCode::CREATED,
        KeyStatus::Updated | KeyStatus::Deleted | KeyStatus::Unchanged => StatusCode::OK,
    };
    let mut body = format!("{{\"status\":\"{}\"", status_name(outcome.status));
    if let Some(previous) = outcome.previous.filter(|_| returns_previous) {
        body.push_str(",\"previous\":");
        body.push_str(previous.as_str());
    }
    body.push('}');
    Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
}

fn status_name(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Created => "created",
        KeyStatus::Updated => "updated",
        KeyStatus::Deleted => "deleted",
        KeyStatus::Unchanged => "unchanged",
    }
}

/// `{"keys":[{"key","value"}…],"next"?}`, by hand because values are JSON text already.
fn encode(page: &KeyPage) -> Vec<u8> {
    let mut out = b"{\"keys\":[".to_vec();
    for (n, (key, value)) in page.keys.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"key\":{},\"value\":", json!(key)).as_bytes());
        out.extend_from_slice(value.as_str().as_bytes());
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = &page.next {
        out.extend_from_slice(format!(",\"next\":{}", json!(next)).as_bytes());
    }
    out.push(b'}');
    out
}
