//! Problems as the errors that they tell of.

use pliantdb_core::{Error, Precondition, Rejection};
use serde_json::Value;

/// The error that a problem tells of. What must have held is not in it: the translation knows what it asked for.
pub(crate) fn error(problem: &Value) -> Error {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let detail = text("detail").to_owned();
    let kind = text("type").rsplit('/').next().unwrap_or_default();
    macro_rules! parsed {
        ($name:literal) => {
            text($name).parse().unwrap()
        };
    }
    match kind {
        "unknown-database" => Error::UnknownDatabase(parsed!("database")),
        "unknown-view" => Error::UnknownView {
            collection: parsed!("collection"),
            view: parsed!("view"),
        },
        "unknown-api" => Error::UnknownApi(parsed!("api")),
        "database-exists" => Rejection::DatabaseExists {
            database: parsed!("database"),
        }
        .into(),
        "other-schema" => Rejection::OtherSchema {
            database: parsed!("database"),
            current: parsed!("current"),
            wanted: parsed!("wanted"),
        }
        .into(),
        "unknown-document" => Rejection::UnknownDocument {
            collection: parsed!("collection"),
            id: parsed!("id"),
        }
        .into(),
        "precondition-failed" => Rejection::PreconditionFailed {
            id: parsed!("id"),
            wanted: Precondition::None,
            current: problem["currentRevision"]
                .as_str()
                .map(|revision| revision.parse().unwrap()),
        }
        .into(),
        "not-unique" => Rejection::NotUnique {
            collection: parsed!("collection"),
            view: parsed!("view"),
            id: parsed!("id"),
            existing: parsed!("existing"),
        }
        .into(),
        "not-countable" => Rejection::NotCountable {
            namespace: parsed!("namespace"),
            key: parsed!("key"),
            reason: text("reason").to_owned(),
        }
        .into(),
        "unfit-document" if problem["naturalId"].is_string() => Error::OtherNaturalId {
            collection: parsed!("collection"),
            id: parsed!("id"),
            natural: parsed!("naturalId"),
        },
        "unfit-document" => Error::OtherType {
            collection: parsed!("collection"),
            id: parsed!("id"),
            reason: text("reason").to_owned(),
        },
        "view-failed" => Error::View {
            collection: parsed!("collection"),
            view: parsed!("view"),
            reason: text("reason").to_owned(),
        },
        "unauthorized" => Error::Unauthenticated(detail),
        "denied" => Error::Denied(detail),
        "cursor-expired" => Error::CursorExpired,
        "invalid-value" | "invalid-json" | "unfit-request" | "body-too-large" => Error::Invalid(detail),
        _ => Error::Storage(problem.to_string()),
    }
}
