//! What a request's path and query say, parsed and named.

use axum::extract::FromRequestParts;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use pliantdb_core::{CollectionName, DatabaseName, DocumentId};

use super::Problem;

/// `/v1/{db}/{collection}`.
pub(super) struct CollectionPath {
    pub(super) database: DatabaseName,
    pub(super) collection: CollectionName,
}

impl<S: Send + Sync> FromRequestParts<S> for CollectionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((database, collection)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| unreadable(parts, &error))?;
        Ok(Self {
            database: parse("database", database)?,
            collection: parse("collection", collection)?,
        })
    }
}

/// Where a document is.
#[derive(Debug, Clone)]
pub(super) struct DocumentAddress {
    pub(super) database: DatabaseName,
    pub(super) collection: CollectionName,
    pub(super) id: DocumentId,
}

/// `/v1/{db}/{collection}/{id}`.
pub(super) struct DocumentPath(pub(super) DocumentAddress);

impl<S: Send + Sync> FromRequestParts<S> for DocumentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((database, collection, id)) =
            Path::<(String, String, String)>::from_request_parts(parts, state)
                .await
                .map_err(|error| unreadable(parts, &error))?;
        Ok(Self(DocumentAddress {
            database: parse("database", database)?,
            collection: parse("collection", collection)?,
            id: parse::<DocumentId>("id", id)?,
        }))
    }
}

/// A text of the request as a `T`, or a problem that names the field.
pub(super) fn parse<T: TryFrom<String>>(field: &'static str, value: String) -> Result<T, Problem>
where
    T::Error: std::fmt::Display,
{
    T::try_from(value.clone()).map_err(|error| Problem::invalid(field, &value, error.to_string()))
}

fn unreadable(parts: &Parts, error: &PathRejection) -> Problem {
    let detail = format!("the path must be percent-encoded UTF-8: {error}");
    Problem::invalid("path", parts.uri.path(), detail)
}

/// The parameters of a query, each of which must be one of `known` and appear once.
pub(super) fn query(
    RawQuery(query): RawQuery,
    known: &[&'static str],
) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let query = query.unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode("query", name)?;
        let Some(name) = known.iter().find(|known| **known == name) else {
            let detail = format!(
                "there is no parameter of that name here; known are {}",
                known.join(", ")
            );
            return Err(Problem::invalid("query", &name, detail));
        };
        if found.iter().any(|(found, _)| found == name) {
            return Err(Problem::invalid(
                "query",
                name,
                format!("the parameter {name} is given twice"),
            ));
        }
        found.push((name, decode(name, value)?));
    }
    Ok(found)
}

/// Decodes as forms are encoded: `+` is a space.
fn decode(field: &'static str, text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(Problem::invalid(
            field,
            &text,
            format!("{field} must be percent-encoded UTF-8"),
        )),
    }
}
