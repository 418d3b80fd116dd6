//! Reading, writing and deleting one document.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pliantdb_core::protocol::DatabaseHandle;
use pliantdb_core::{
    Change, ChangeAction, ChangeOutcome, CollectionName, Document, DocumentId, Page,
    Request as DatabaseRequest, Response as DatabaseResponse,
};
use pliantdb_storage::Found;
use serde::Serialize;

use super::conditions::{self, ReadCondition, etag};
use super::exchange::{Exchange, unexpected};
use super::{Problem, json, listing};
use crate::executor::MAX_PAGE_BYTES;
use crate::request_memory::{Reserved, SMALL, held};

/// What must be encoded in a path segment: all but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How often a document is in memory while it is read: in the engine's block and as the answer.
const READ_COPIES: usize = 2;

/// What a write answers.
#[derive(Serialize)]
struct Written {
    id: DocumentId,
    revision: String,
}

/// `GET /v1/{db}/{collection}/{id}`
pub(super) async fn read(exchange: Exchange, headers: HeaderMap) -> Result<Response, Problem> {
    let (database, collection, id) = (exchange.database()?, exchange.collection()?, exchange.id()?);
    let missing = || {
        Problem::unknown_document(format!(
            "there is no document {id:?} in the collection {collection:?}"
        ))
        .with("collection", collection.as_str())
        .with("id", id.as_str())
    };
    let (document, reserved) = look_up(&exchange, database, &collection, &id).await?;
    let document = document.ok_or_else(missing)?;
    let tag = (ETAG, etag(document.revision));
    match conditions::of_read(&headers, document.revision)? {
        ReadCondition::NotModified => Ok((StatusCode::NOT_MODIFIED, [tag]).into_response()),
        ReadCondition::Failed => {
            let detail = format!(
                "the document is at revision {}, which If-Match does not name",
                document.revision
            );
            Err(Problem::precondition_failed(detail).with("currentRevision", document.revision.to_string()))
        }
        ReadCondition::Answer => {
            let headers = [tag, (CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            let bytes = document.body.into_bytes();
            let bytes = match reserved {
                Some(reserved) => held(bytes, reserved),
                None => bytes.into(),
            };
            Ok((headers, bytes).into_response())
        }
    }
}

/// Reads a document, after reserving memory for it if it is large.
async fn look_up(
    exchange: &Exchange,
    database: DatabaseHandle,
    collection: &CollectionName,
    id: &DocumentId,
) -> Result<(Option<Document>, Option<Reserved>), Problem> {
    let look_up = |within| exchange.look_up(&database, collection, id, within);
    // Small ones in one look-up.
    match look_up(SMALL).await? {
        Found::Nothing => Ok((None, None)),
        Found::Document(found) => Ok((Some(found), None)),
        Found::Larger(size) => {
            let reserved = exchange.app.reserve(size, READ_COPIES).await?;
            match look_up(usize::MAX).await? {
                Found::Document(found) => Ok((Some(found), Some(reserved))),
                Found::Nothing | Found::Larger(_) => Ok((None, None)),
            }
        }
    }
}

/// The most documents that are read at once.
const MAX_IDS: usize = 1000;

/// `POST /v1/{db}/{collection}/_get`: several documents, from one moment.
pub(super) async fn read_many(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (database, collection) = (exchange.database()?, exchange.collection()?);
    let (text, _memory) = super::body::text(&exchange.app, request).await?;
    let mut ids = Vec::new();
    for (at, id) in json::array("", &text)?.into_iter().enumerate() {
        let place = format!("[{at}]");
        let id: String = json::read(&place, id.get(), "a text")?;
        let parsed = DocumentId::try_from(id.clone());
        ids.push(parsed.map_err(|error| Problem::invalid(place, &id, error.to_string()))?);
    }
    if ids.len() > MAX_IDS {
        let detail = format!("{MAX_IDS} ids are the most");
        return Err(Problem::invalid("body", &format!("{} ids", ids.len()), detail));
    }
    let reserved = exchange.app.reserve(MAX_PAGE_BYTES, READ_COPIES).await?;
    let Some(documents) = exchange.read_many(database, collection, ids).await? else {
        let detail = format!(
            "the documents have more than {MAX_PAGE_BYTES} bytes together, which is the most of an answer: ask for fewer at \
             once"
        );
        return Err(Problem::unfit(
            "answer-too-large",
            "The answer is too large",
            detail,
        ));
    };
    let page = Page {
        documents,
        ..Page::default()
    };
    Ok(listing::page(page, reserved))
}

/// `PUT /v1/{db}/{collection}/{id}`
pub(super) async fn write(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (database, collection, id) = (exchange.database()?, exchange.collection()?, exchange.id()?);
    let precondition = conditions::of_write(request.headers())?;
    let (body, memory) = super::body::document(&exchange.app, request).await?;
    let action = ChangeAction::Put {
        id,
        body,
        precondition,
    };
    let change = Change { collection, action };
    let (status, _, answer) = put(&exchange, database, change, memory).await?;
    Ok((status, answer).into_response())
}

/// `POST /v1/{db}/{collection}`
pub(super) async fn insert(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (database, collection) = (exchange.database()?, exchange.collection()?);
    let (body, memory) = super::body::document(&exchange.app, request).await?;
    let location = format!("/v1/{}/{collection}/", database.name);
    let action = ChangeAction::Insert { id: None, body };
    let change = Change { collection, action };
    let (status, id, answer) = put(&exchange, database, change, memory).await?;
    let location = format!("{location}{}", utf8_percent_encode(id.as_str(), SEGMENT));
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    Ok((status, [(LOCATION, location)], answer).into_response())
}

/// `DELETE /v1/{db}/{collection}/{id}`
pub(super) async fn delete(exchange: Exchange, headers: HeaderMap) -> Result<StatusCode, Problem> {
    let (database, collection, id) = (exchange.database()?, exchange.collection()?, exchange.id()?);
    let precondition = conditions::of_write(&headers)?;
    let action = ChangeAction::Delete { id, precondition };
    let request = DatabaseRequest::Transact(vec![Change { collection, action }]);
    exchange.write(database, request, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes one document; gives its id and what to answer.
async fn put(
    exchange: &Exchange,
    database: DatabaseHandle,
    change: Change,
    memory: Reserved,
) -> Result<(StatusCode, DocumentId, impl IntoResponse), Problem> {
    let request = DatabaseRequest::Transact(vec![change]);
    let DatabaseResponse::Transacted(mut outcomes) = exchange.write(database, request, Some(memory)).await?
    else {
        return Err(unexpected());
    };
    let Some(ChangeOutcome::Written {
        id,
        revision,
        created,
    }) = outcomes.pop()
    else {
        return Err(unexpected());
    };
    let status = match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let answer = Json(Written {
        id: id.clone(),
        revision: revision.to_string(),
    });
    Ok((status, id, ([(ETAG, etag(revision))], answer)))
}
