//! Listing a collection.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pliantdb_storage::{Listing, Page};
use serde_json::json;

use super::Problem;
use super::parameters::{self, CollectionPath};
use crate::app::App;
use crate::request_memory::held;

/// The most documents on a page.
const MAX_LIMIT: usize = 1000;

/// `GET /v1/{db}/{collection}?prefix=&after=&limit=`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    CollectionPath { database, collection }: CollectionPath,
    query: RawQuery,
) -> Result<Response, Problem> {
    let mut listing = parse(query)?;
    listing.max_first = listing.max_bytes;
    loop {
        // The page, the answer made of it, and the one document that the engine holds.
        let bytes = 2 * listing.max_bytes.max(listing.max_first) + app.max_body_size;
        let reserved = app.reserve(bytes, 1).await?;
        let (database, collection, this) = (database.clone(), collection.clone(), listing.clone());
        let read = app.read(move |storage| {
            let page = storage.get(&database)?.list(&collection, &this)?;
            Ok(match page.too_large {
                Some(size) => Err(size),
                None => Ok(encode(page)),
            })
        });
        match read.await? {
            Ok(answer) => {
                return Ok(([(CONTENT_TYPE, "application/json")], held(answer, reserved)).into_response());
            }
            // Again with room for it, which is not asked for while holding some: two could wait for each other.
            Err(size) => listing.max_first = size,
        }
    }
}

fn parse(query: RawQuery) -> Result<Listing, Problem> {
    let mut listing = Listing::default();
    for (name, value) in parameters::query(query, &["prefix", "after", "limit"])? {
        match name {
            "prefix" => listing.prefix = value,
            "after" => listing.after = Some(parameters::parse("after", value)?),
            _ => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let right = format!("limit must be a whole number from 1 to {MAX_LIMIT}");
                listing.limit = limit.ok_or_else(|| Problem::invalid("limit", &value, right))?;
            }
        }
    }
    Ok(listing)
}

/// `{"documents":[{"id","revision","body"}…],"next"}`, by hand because bodies are JSON text already.
fn encode(page: Page) -> Vec<u8> {
    let mut out = b"{\"documents\":[".to_vec();
    for (n, document) in page.documents.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let (id, revision) = (json!(document.id), document.revision);
        out.extend_from_slice(format!("{{\"id\":{id},\"revision\":\"{revision}\",\"body\":").as_bytes());
        out.extend_from_slice(document.body.as_str().as_bytes());
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = page.next {
        out.extend_from_slice(format!(",\"next\":{}", json!(next)).as_bytes());
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use pliantdb_core::{Body, Document, Revision, Timestamp};
    use pliantdb_storage::Page;

    #[test]
    fn encodes_bodies_as_they_are() {
        let document = |id: &str, body: &str| Document {
            id: id.parse().unwrap(),
            revision: Revision::at(Timestamp::from_bits(1)),
            body: Body::parse(body.into()).unwrap(),
        };
        let page = Page {
            documents: vec![document("a\"b", " {\"x\":1.50} "), document("é", "null")],
            next: "é".parse().ok(),
            too_large: None,
        };
        assert_eq!(
            String::from_utf8(super::encode(page)).unwrap(),
            r#"{"documents":[{"id":"a\"b","revision":"0000000000000001","body": {"x":1.50} },{"id":"é","revision":"0000000000000001","body":null}],"next":"é"}"#
        );
        assert_eq!(super::encode(Page::default()), b"{\"documents\":[]}");
    }

    #[test]
    fn any_query() {
        let seeds = [
            "prefix=a%2Fb&after=x&limit=7",
            "limit=1000",
            "prefix=%C3%A9+&limit=-1",
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                let Ok(text) = String::from_utf8(bytes) else {
                    return;
                };
                if let Ok(listing) = super::parse(axum::extract::RawQuery(Some(text))) {
                    assert!((1..=super::MAX_LIMIT).contains(&listing.limit));
                }
            });
    }
}
