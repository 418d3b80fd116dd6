//! Messages: publishing, and listening by server-sent events.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request};
use axum::response::{IntoResponse, Response};
use pliantdb_core::{Error, Message, Request as DatabaseRequest, Response as DatabaseResponse, TopicPattern};
use serde_json::json;

use super::events::{self, KEEP_ALIVE, Next};
use super::exchange::{Exchange, unexpected};
use super::parameters::{Parameters, parse};
use super::{Problem, body};
use crate::dispatch::Subscription;

/// The most patterns of one subscription.
const MAX_PATTERNS: usize = 100;

/// `POST /v1/{db}/_topics/{topic}`: the message is the body.
pub(super) async fn publish(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (database, topic) = (exchange.database()?, exchange.topic()?);
    let (payload, memory) = body::document(&exchange.app, request).await?;
    let message = Message { topic, payload };
    let request = DatabaseRequest::Publish(message);
    match exchange.write(database, request, Some(memory)).await? {
        DatabaseResponse::Count(receivers) => Ok(Json(json!({ "receivers": receivers })).into_response()),
        _ => Err(unexpected()),
    }
}

/// `GET /v1/{db}/_subscribe?topic=…&topic=…`
pub(super) async fn subscribe(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let database = exchange.database()?;
    let patterns = Parameters::read_repeated(query, &["topic"])?.all();
    let patterns: Vec<TopicPattern> = patterns
        .map(|pattern| parse("topic", pattern))
        .collect::<Result<_, _>>()?;
    if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
        let detail = format!(
            "give 1 to {MAX_PATTERNS} topics or patterns of topics, as in ?topic=orders.*&topic=users.**"
        );
        return Err(Problem::invalid(
            "topic",
            &format!("{} of them", patterns.len()),
            detail,
        ));
    }
    let dispatcher = exchange.app.dispatcher();
    let subscribing = dispatcher.subscribe(&exchange.caller, database, patterns);
    let subscription = exchange.asked("subscribe").when(subscribing).await?;
    Ok(events::answer(
        Arc::clone(&exchange.app),
        subscription,
        |subscription| {
            Box::pin(async move {
                let next = next(&subscription).await;
                (next, subscription)
            })
        },
    ))
}

async fn next(subscription: &Subscription) -> Next {
    match tokio::time::timeout(KEEP_ALIVE, subscription.receive()).await {
        Ok(Ok(Message { topic, payload })) => {
            let data = format!("{{\"topic\":{},\"payload\":{}}}", json!(topic), payload.as_str());
            Next::Event(events::event("message", None, &data))
        }
        Ok(Err(Error::Lagged(dropped))) => {
            let data = json!({ "dropped": dropped }).to_string();
            Next::Event(events::event("lagged", None, &data))
        }
        Ok(Err(error)) => Next::Last(events::end(&error.to_string())),
        Err(_) => Next::Event(": keep-alive\n\n".to_owned()),
    }
}
