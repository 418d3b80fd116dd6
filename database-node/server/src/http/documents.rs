//! Reading, writing and deleting one document.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pliantdb_core::{
    Change, ChangeAction, ChangeOutcome, Document, DocumentId, Precondition, Request as DatabaseRequest,
};
use pliantdb_storage::{Found, generate_document_id};
use serde::Serialize;

use super::Problem;
use super::conditions::{self, ReadCondition, etag};
use super::parameters::{CollectionPath, DocumentAddress, DocumentPath};
use crate::app::App;
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
pub(super) async fn read(
    State(app): State<Arc<App>>,
    DocumentPath(address): DocumentPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let DocumentAddress { collection, id, .. } = &address;
    let missing = || {
        Problem::unknown_document(format!(
            "there is no document {id:?} in the collection {collection:?}"
        ))
    };
    let (document, reserved) = look_up(&app, &address).await?;
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
    app: &App,
    address: &DocumentAddress,
) -> Result<(Option<Document>, Option<Reserved>), Problem> {
    let DocumentAddress {
        database,
        collection,
        id,
    } = address.clone();
    // Small ones in one look-up.
    let looked_up = app.read(move |storage| storage.get(&database)?.get_within(&collection, &id, SMALL));
    match looked_up.await? {
        Found::Nothing => Ok((None, None)),
        Found::Document(found) => Ok((Some(found), None)),
        Found::Larger(size) => {
            let reserved = app.reserve(size, READ_COPIES).await?;
            let DocumentAddress {
                database,
                collection,
                id,
            } = address.clone();
            let found = app
                .read(move |storage| storage.get(&database)?.get(&collection, &id))
                .await?;
            Ok((found, Some(reserved)))
        }
    }
}

/// `PUT /v1/{db}/{collection}/{id}`
pub(super) async fn write(
    State(app): State<Arc<App>>,
    DocumentPath(address): DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    let precondition = conditions::of_write(request.headers())?;
    let (status, answer) = put(&app, address, precondition, request).await?;
    Ok((status, answer).into_response())
}

/// `POST /v1/{db}/{collection}`
pub(super) async fn insert(
    State(app): State<Arc<App>>,
    CollectionPath { database, collection }: CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let id = generate_document_id();
    let location = format!(
        "/v1/{database}/{collection}/{}",
        utf8_percent_encode(id.as_str(), SEGMENT)
    );
    let address = DocumentAddress {
        database,
        collection,
        id,
    };
    let (status, answer) = put(&app, address, Precondition::Absent, request).await?;
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    Ok((status, [(LOCATION, location)], answer).into_response())
}

/// `DELETE /v1/{db}/{collection}/{id}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    DocumentPath(address): DocumentPath,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let precondition = conditions::of_write(&headers)?;
    let DocumentAddress {
        database,
        collection,
        id,
    } = address;
    let action = ChangeAction::Delete { id, precondition };
    app.commit(
        &database,
        DatabaseRequest::Transact(vec![Change { collection, action }]),
        None,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put(
    app: &App,
    address: DocumentAddress,
    precondition: Precondition,
    request: Request,
) -> Result<(StatusCode, impl IntoResponse), Problem> {
    let (body, memory) = super::body::document(app, request).await?;
    let DocumentAddress {
        database,
        collection,
        id,
    } = address;
    let action = ChangeAction::Put {
        id,
        body,
        precondition,
    };
    let request = DatabaseRequest::Transact(vec![Change { collection, action }]);
    match app.commit(&database, request, Some(memory)).await?.pop() {
        Some(ChangeOutcome::Written {
            id,
            revision,
            created,
        }) => {
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            let answer = Json(Written {
                id,
                revision: revision.to_string(),
            });
            Ok((status, ([(ETAG, etag(revision))], answer)))
        }
        other => {
            let detail = format!("a write came to {other:?}");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "An error of the server",
                detail,
            ))
        }
    }
}
