//! Listing and counting the documents of a collection.

use axum::Json;
use axum::extract::RawQuery;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pliantdb_core::{Document, Listing, Page, Request, Response as DatabaseResponse};
use serde_json::json;

use super::Problem;
use super::exchange::{Exchange, unexpected};
use super::parameters::Parameters;
use crate::request_memory::{Reserved, held};

/// The most bytes of bodies and ids on a page.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// `GET /v1/{db}/{collection}?prefix=&after=&limit=&order=&max_bytes=`
pub(super) async fn list(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let (database, collection) = (exchange.database()?, exchange.collection()?);
    let mut listing = parse(query)?;
    listing.max_first = listing.max_bytes;
    loop {
        // The page, the answer made of it, and the one document that the engine holds.
        let bytes = 2 * listing.max_bytes.max(listing.max_first) + exchange.app.max_body_size;
        let reserved = exchange.app.reserve(bytes, 1).await?;
        let request = Request::List {
            collection: collection.clone(),
            listing: listing.clone(),
        };
        let DatabaseResponse::Page(found) = exchange.read(database.clone(), request).await? else {
            return Err(unexpected());
        };
        match found.too_large {
            None => return Ok(page(found, reserved)),
            // Again with room for it, which is not asked for while holding some: two could wait for each other.
            Some(size) => listing.max_first = size,
        }
    }
}

/// `GET /v1/{db}/{collection}/_count?prefix=&after=&order=`
pub(super) async fn count(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let (database, collection) = (exchange.database()?, exchange.collection()?);
    let parameters = Parameters::read(query, &["prefix", "after", "order"])?;
    let listing = read(&parameters)?;
    let request = Request::Count { collection, listing };
    match exchange.read(database, request).await? {
        DatabaseResponse::Count(count) => Ok(Json(json!({ "count": count })).into_response()),
        _ => Err(unexpected()),
    }
}

fn parse(query: RawQuery) -> Result<Listing, Problem> {
    let known = ["prefix", "after", "limit", "order", "max_bytes"];
    let parameters = Parameters::read(query, &known)?;
    Ok(Listing {
        limit: parameters.limit()?,
        max_bytes: parameters.number("max_bytes", MAX_BYTES)?.unwrap_or(MAX_BYTES),
        ..read(&parameters)?
    })
}

/// Which documents.
fn read(parameters: &Parameters) -> Result<Listing, Problem> {
    Ok(Listing {
        prefix: parameters.get("prefix").unwrap_or_default().to_owned(),
        after: parameters.parsed("after")?,
        order: parameters.order()?,
        ..Listing::default()
    })
}

/// A page as an answer, which holds its memory until it is sent.
pub(super) fn page(page: Page, reserved: Reserved) -> Response {
    let body = held(encode(page), reserved);
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// `{"documents":[{"id","revision","body"}…],"next"}`, by hand because bodies are JSON text already.
fn encode(page: Page) -> Vec<u8> {
    let mut out = b"{\"documents\":[".to_vec();
    for (n, document) in page.documents.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        encode_document(document, &mut out);
    }
    out.push(b']');
    if let Some(next) = page.next {
        out.extend_from_slice(format!(",\"next\":{}", json!(next)).as_bytes());
    }
    out.push(b'}');
    out
}

/// `{"id","revision","body"}`
pub(super) fn encode_document(document: &Document, out: &mut Vec<u8>) {
    let (id, revision) = (json!(document.id), document.revision);
    out.extend_from_slice(format!("{{\"id\":{id},\"revision\":\"{revision}\",\"body\":").as_bytes());
    out.extend_from_slice(document.body.as_str().as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use pliantdb_core::{Body, Document, Page, Revision, Timestamp};

    use crate::http::parameters::MAX_LIMIT;

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
            "order=desc&max_bytes=17",
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
                    assert!((1..=MAX_LIMIT).contains(&listing.limit));
                }
            });
    }
}
