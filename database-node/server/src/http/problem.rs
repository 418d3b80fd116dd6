//! Every error a client sees: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use pliantdb_core::{Error, Rejection, shorten};
use pliantdb_storage::StorageError;
use pliantdb_storage::store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the names of problems are appended to.
const TYPE_BASE: &str = "https://pliantdb.dev/problems/";

/// An answer that says what was wrong and what would be right.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of the type's URI; clients may tell problems apart by it.
    name: &'static str,
    title: &'static str,
    detail: String,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            members: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// A part of the request, called `field`, that has an impossible value.
    pub(crate) fn invalid(field: impl Into<String>, value: &str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-value",
            "The request has an invalid value",
            detail,
        )
        .with("field", field.into())
        .with("value", shorten(value))
    }

    /// A body that is not JSON.
    pub(crate) fn invalid_json(detail: impl Into<String>, line: usize, column: usize) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-json",
            "The body is not valid JSON",
            detail,
        )
        .with("field", "body")
        .with("line", line)
        .with("column", column)
    }

    /// More work than the server takes on at once.
    pub(crate) fn busy(detail: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "The server is busy",
            detail,
        )
        .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// No node can answer at the moment, or none that is fresh enough.
    pub(crate) fn unavailable(detail: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "No node can answer that at the moment",
            detail,
        )
        .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// A commit that nobody waits for any longer.
    pub(crate) fn unknown_outcome() -> Self {
        let detail = "the commit took longer than the request timeout, and may or may not still be made: read the \
                      document before trying again";
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "unknown-outcome",
            "The outcome of the write is unknown",
            detail,
        )
    }

    /// A read that nobody waits for any longer.
    pub(crate) fn timed_out(timeout: Duration) -> Self {
        let detail = format!(
            "there was no answer within {timeout:?}; if a view is being built, try again when it is, or ask with \
             freshness=stale"
        );
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed-out",
            "The answer took too long",
            detail,
        )
    }

    /// A commit that broke off.
    fn failed_commit() -> Self {
        let detail = "the server could not write to its disk, or in a cluster the node that leads the database was replaced \
                      meanwhile, and the write may or may not have been made: read the document before trying again, in a \
                      moment";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unknown-outcome",
            "The outcome of the write is unknown",
            detail,
        )
    }

    fn stopping(detail: &str) -> Self {
        let title = "The server is shutting down";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", title, detail)
            .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// A body that does not arrive.
    pub(crate) fn slow_body(timeout: Duration) -> Self {
        let detail = format!("the request's body did not arrive within {timeout:?}");
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request took too long",
            detail,
        )
    }

    /// A larger body than is allowed.
    pub(crate) fn too_large(limit: usize) -> Self {
        let detail =
            format!("the request's body is larger than {limit} bytes, which is the most (maxBodySize)");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            detail,
        )
        .with("limit", limit)
    }

    /// No token, or a wrong one.
    pub(crate) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The request is not authorized",
            detail,
        )
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// What is wrong, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// A member of its own, if it has it.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let found = self.members.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| value)
    }

    /// Adds a member of its own to the object.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn not_found(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, name, title, detail)
    }
}

/// The JSON of a problem.
#[derive(Serialize)]
struct Object {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let object = Object {
            r#type: format!("{TYPE_BASE}{}", self.name),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            members: self
                .members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        let content_type = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        // Strings and numbers can always be written.
        let text = serde_json::to_string(&object).unwrap_or_default();
        let mut response = (self.status, content_type, text).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::UnknownDatabase { database } => unknown_database(detail, database.as_str()),
            Rejection::DatabaseExists { database } => {
                Self::conflict("database-exists", "The database exists", detail)
                    .with("database", database.as_str())
            }
            Rejection::UnknownDocument { collection, id } => Self::unknown_document(detail)
                .with("collection", collection.as_str())
                .with("id", id.as_str()),
            Rejection::PreconditionFailed { id, current, .. } => Self::precondition_failed(detail)
                .with("id", id.as_str())
                .with("currentRevision", current.map(|revision| revision.to_string())),
            Rejection::NotUnique {
                collection,
                view,
                id,
                existing,
            } => Self::conflict("not-unique", "Another document has the key", detail)
                .with("collection", collection.as_str())
                .with("view", view.as_str())
                .with("id", id.as_str())
                .with("existing", existing.as_str()),
            Rejection::OtherSchema {
                database,
                current,
                wanted,
            } => Self::conflict("other-schema", "The database has another schema", detail)
                .with("database", database.as_str())
                .with("current", current.as_str())
                .with("wanted", wanted.as_str()),
            Rejection::ViewBuilding { .. } => Self::busy(&detail),
            Rejection::SchemaMoved { .. } => Self::conflict(
                "schema-needed",
                "The collection has views that this server does not know",
                detail,
            ),
            Rejection::RequestExpired { .. } => Self::conflict(
                "request-expired",
                "The request is too old or ahead of its time",
                detail,
            ),
            Rejection::UnknownUser { .. } => Self::not_found("unknown-user", "There is no such user", detail),
            Rejection::UnknownRole { .. } => Self::not_found("unknown-role", "There is no such role", detail),
            Rejection::UnknownApiKey { .. } => {
                Self::not_found("unknown-key", "There is no such API key", detail)
            }
            Rejection::ApiKeyExists { .. } => Self::conflict("key-exists", "The API key exists", detail),
            Rejection::BuiltInRole { .. } => Self::conflict("built-in-role", "The role is built in", detail),
            Rejection::RoleInUse { .. } => Self::conflict("role-in-use", "Somebody has the role", detail),
            Rejection::LastAdministrator { .. } => {
                Self::conflict("last-administrator", "Nobody else administers the server", detail)
            }
            // A client names no shard, so it has nothing to correct: the node asks the right one, or is to be asked again.
            Rejection::WrongShard { .. } | Rejection::NotOfShard => Self::busy(&detail),
            Rejection::NotCountable {
                namespace,
                key,
                reason,
            } => Self::conflict("not-countable", "The value cannot be counted with", detail)
                .with("namespace", namespace.as_str())
                .with("key", key.as_str())
                .with("reason", reason),
        }
    }
}

impl Problem {
    /// A document that is not there.
    pub(crate) fn unknown_document(detail: String) -> Self {
        Self::not_found("unknown-document", "There is no such document", detail)
    }

    fn conflict(kind: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// A condition of the request that does not hold.
    pub(crate) fn precondition_failed(detail: String) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition-failed",
            "The precondition does not hold",
            detail,
        )
    }
}

fn unknown_database(detail: String, name: &str) -> Problem {
    Problem::not_found("unknown-database", "There is no such database", detail).with("database", name)
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let detail = error.to_string();
        match error {
            StorageError::Rejected(rejection) => rejection.into(),
            StorageError::UnknownDatabase(name) => unknown_database(detail, name.as_str()),
            StorageError::Busy => Self::busy(&detail),
            StorageError::Closed => {
                Self::stopping("the server is shutting down; use another node, or try again in a moment")
            }
            // The path of the data directory is for the operator's log, not for clients.
            StorageError::DiskFull { free, needed, .. } => {
                let detail = format!(
                    "the server's disk is nearly full: {free} bytes are free, and {needed} must be for this write. \
                     Reads and deletes go on; writes do when there is room again"
                );
                Self::disk_full(detail)
            }
            StorageError::Commit(_) => {
                // The storage logs it once, when it begins.
                tracing::debug!(error = detail, "a commit failed");
                Self::failed_commit()
            }
            StorageError::Failed(_) => {
                tracing::debug!(error = detail, "a write came after the storage failed");
                Self::stopping(
                    "the storage failed and the server stops; nothing was written. Try again in a moment",
                )
            }
            StorageError::Store(StoreError::NoSpace(_)) => {
                tracing::debug!(error = detail, "the disk is full");
                Self::disk_full("the server's disk is full; nothing was written".to_owned())
            }
            StorageError::Store(StoreError::Corrupt(_)) => {
                tracing::error!(error = detail, "stored data is corrupt");
                Self::corrupt()
            }
            _ => {
                tracing::error!(error = detail, "the storage failed");
                Self::storage_failed()
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Rejected(rejection) => rejection.into(),
            Error::UnknownDatabase(name) => unknown_database(detail, name.as_str()),
            Error::UnknownView { collection, view } => {
                Self::not_found("unknown-view", "There is no such view", detail)
                    .with("collection", collection.as_str())
                    .with("view", view.as_str())
            }
            Error::UnknownApi(api) => {
                Self::not_found("unknown-api", "There is no such API", detail).with("api", api.as_str())
            }
            Error::Invalid(_) | Error::ReadOnlySnapshot(_) | Error::SnapshotExpired { .. } => {
                Self::unfit("unfit-request", "The request cannot be carried out", detail)
            }
            Error::OtherType {
                collection,
                id,
                reason,
            } => Self::unfit_document(detail)
                .with("collection", collection.as_str())
                .with("id", id.as_str())
                .with("reason", reason),
            Error::OtherNaturalId {
                collection,
                id,
                natural,
            } => Self::unfit_document(detail)
                .with("collection", collection.as_str())
                .with("id", id.as_str())
                .with("naturalId", natural.as_str()),
            Error::View {
                collection,
                view,
                reason,
            } => Self::unfit("view-failed", "The view failed", detail)
                .with("collection", collection.as_str())
                .with("view", view.as_str())
                .with("reason", reason),
            Error::CursorExpired => Self::new(
                StatusCode::GONE,
                "cursor-expired",
                "The changes are no longer kept",
                detail,
            ),
            Error::Api { api, .. } => {
                // What it was may be for the operator only.
                tracing::error!(error = detail, "an API failed");
                let detail = format!("the API {api} failed; the server's log says why");
                Self::internal("api-failed", "The API failed", detail).with("api", api.as_str())
            }
            Error::AnswerTooLarge { .. } => {
                Self::unfit("answer-too-large", "The answer is too large", detail)
            }
            Error::Busy => Self::busy(&detail),
            Error::Unauthenticated(_) => {
                Self::unauthorized(&detail, "Bearer realm=\"pliantdb\", error=\"invalid_token\"")
            }
            Error::Denied(_) => Self::new(
                StatusCode::FORBIDDEN,
                "denied",
                "The request is not allowed",
                detail,
            ),
            Error::Unavailable(_) => Self::unavailable(detail),
            Error::Closed => StorageError::Closed.into(),
            Error::TimedOut => Self::unknown_outcome(),
            Error::UnknownOutcome(_) => {
                // The storage logs it once, when it begins.
                tracing::debug!(error = detail, "a commit failed");
                Self::failed_commit()
            }
            // The path of the data directory is for the operator's log, not for clients.
            Error::DiskFull(_) => {
                tracing::debug!(error = detail, "the disk is full");
                let detail = "the server's disk is nearly full; nothing was written. Reads and deletes go on; writes do \
                              when there is room again";
                Self::disk_full(detail.to_owned())
            }
            Error::Corrupt(_) => {
                tracing::error!(error = detail, "stored data is corrupt");
                Self::corrupt()
            }
            Error::Lagged(_) | Error::Unreachable(_) | Error::Disconnected(_) | Error::Storage(_) => {
                tracing::error!(error = detail, "the storage failed");
                Self::storage_failed()
            }
        }
    }
}

impl Problem {
    /// A document that is not of the type of its collection.
    fn unfit_document(detail: String) -> Self {
        Self::unfit(
            "unfit-document",
            "The document does not fit its collection",
            detail,
        )
    }

    pub(super) fn unfit(name: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, name, title, detail)
    }

    fn internal(name: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, name, title, detail)
    }

    fn corrupt() -> Self {
        let detail = "stored data is damaged; the server's log says where".to_owned();
        Self::internal("corrupt-data", "Stored data is damaged", detail)
    }
}

impl Problem {
    /// What it was is for the log, not for clients.
    fn storage_failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "storage-failed",
            "The storage failed",
            "the storage failed; the server's log says why",
        )
    }

    fn disk_full(detail: String) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk-full",
            "The disk is full",
            detail,
        )
    }
}

/// The answer where there is no route.
pub(crate) async fn unknown_route(uri: Uri) -> Problem {
    let detail = format!(
        "nothing is at {:?}; documents are at /v1/{{database}}/{{collection}}/{{id}}, with \"/\" in an id written as %2F",
        shorten(uri.path())
    );
    Problem::not_found("unknown-route", "There is nothing here", detail)
}

/// The answer where the route has no such method; axum adds the header Allow.
pub(crate) async fn method_not_allowed(method: Method) -> Problem {
    let detail = format!(
        "{:?} is not possible here; the header Allow says what is",
        shorten(method.as_str())
    );
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method is not allowed",
        Cow::from(detail),
    )
}
