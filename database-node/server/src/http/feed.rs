//! The feed of changes: page by page, or by server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::RawQuery;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use pliantdb_core::protocol::DatabaseHandle;
use pliantdb_core::{
    ChangeKind, ChangesPage, CommittedTransaction, FeedCursor, FeedStart, InvalidFeedCursor, Request,
    Response as DatabaseResponse,
};
use serde_json::{Value, json};

use super::Problem;
use super::events::{self, EVENT_STREAM, KEEP_ALIVE, Next};
use super::exchange::{Exchange, unexpected};
use super::parameters::Parameters;

/// The header by which a browser goes on where it was.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The longest time that a request waits for a change.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// `GET /v1/{db}/_changes?after=&from=&limit=&wait=`
pub(super) async fn changes(
    exchange: Exchange,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let database = exchange.database()?;
    let parameters = Parameters::read(query, &["after", "from", "limit", "wait"])?;
    let (mut from, limit) = (start(&parameters)?, parameters.limit()?);
    let wait = parameters.duration("wait", MAX_WAIT)?;
    let accepts = headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok());
    if !accepts.is_some_and(|accepts| accepts.contains(EVENT_STREAM)) {
        let page = read(&exchange, &database, from, limit, wait.unwrap_or_default()).await?;
        return Ok(Json(page_json(&page)).into_response());
    }
    if wait.is_some() {
        let detail = "events are sent as they come: leave wait out";
        return Err(Problem::invalid(
            "wait",
            parameters.get("wait").unwrap_or_default(),
            detail,
        ));
    }
    if let Some(last) = headers.get(LAST_EVENT_ID) {
        let last = String::from_utf8_lossy(last.as_bytes());
        let cursor = last.parse::<FeedCursor>();
        let wrong = |error: InvalidFeedCursor| Problem::invalid(LAST_EVENT_ID, &last, error.to_string());
        from = FeedStart::After(cursor.map_err(wrong)?);
    }
    // Whatever is wrong with it is found before the answer begins.
    let first = read(&exchange, &database, from, limit, Duration::ZERO).await?;
    let app = Arc::clone(&exchange.app);
    let follower = Follower {
        exchange,
        database,
        limit,
        first: Some(first.clone()),
        next: first.next,
    };
    Ok(events::answer(app, follower, |mut follower| {
        Box::pin(async move {
            let next = follower.next().await;
            (next, follower)
        })
    }))
}

/// Where to begin: `after` a cursor, or `from` the oldest change or now.
fn start(parameters: &Parameters) -> Result<FeedStart, Problem> {
    match (parameters.parsed("after")?, parameters.get("from")) {
        (Some(cursor), None) => Ok(FeedStart::After(cursor)),
        (None, None | Some("oldest")) => Ok(FeedStart::Oldest),
        (None, Some("now")) => Ok(FeedStart::Now),
        (Some(_), Some(value)) => {
            let detail = "begin after a cursor or from oldest or now, not both";
            Err(Problem::invalid("from", value, detail))
        }
        (None, Some(value)) => Err(Problem::invalid("from", value, "from must be oldest or now")),
    }
}

async fn read(
    exchange: &Exchange,
    database: &DatabaseHandle,
    from: FeedStart,
    limit: usize,
    wait: Duration,
) -> Result<ChangesPage, Problem> {
    let request = Request::Changes { from, limit, wait };
    let timeout = exchange.app.request_timeout + wait;
    match exchange.read_within(timeout, database.clone(), request).await? {
        DatabaseResponse::Changes(page) => Ok(page),
        _ => Err(unexpected()),
    }
}

/// Sends a feed on.
struct Follower {
    exchange: Exchange,
    database: DatabaseHandle,
    limit: usize,
    /// What was read before the answer began.
    first: Option<ChangesPage>,
    next: FeedCursor,
}

impl Follower {
    async fn next(&mut self) -> Next {
        let page = match self.first.take() {
            Some(page) => Ok(page),
            None => {
                let from = FeedStart::After(self.next);
                read(&self.exchange, &self.database, from, self.limit, KEEP_ALIVE).await
            }
        };
        match page {
            Ok(page) => {
                self.next = page.next;
                let id = page.next.to_string();
                match page.transactions.is_empty() {
                    // An event without data is none, and its id counts.
                    true => Next::Event(format!(": keep-alive\nid: {id}\n\n")),
                    false => {
                        let data = page_json(&page).to_string();
                        Next::Event(events::event("changes", Some(&id), &data))
                    }
                }
            }
            Err(problem) => Next::Last(events::end(problem.detail())),
        }
    }
}

fn page_json(page: &ChangesPage) -> Value {
    let transactions: Vec<_> = page.transactions.iter().map(transaction_json).collect();
    json!({ "transactions": transactions, "next": page.next.to_string() })
}

fn transaction_json(transaction: &CommittedTransaction) -> Value {
    let changes = transaction.changes.iter().map(|change| {
        json!({
            "collection": change.collection,
            "id": change.id,
            "kind": match change.kind {
                ChangeKind::Inserted => "inserted",
                ChangeKind::Updated => "updated",
                ChangeKind::Deleted => "deleted",
            },
        })
    });
    json!({
        "revision": transaction.revision().to_string(),
        "changes": changes.collect::<Vec<_>>(),
    })
}
