//! Custom APIs.

use axum::extract::{RawQuery, Request};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pliantdb_core::{Body, Request as DatabaseRequest, Response as DatabaseResponse};
use serde_json::{Map, Value};

use super::exchange::{Exchange, unexpected};
use super::{Problem, body, parameters};
use crate::request_memory::Reserved;

/// `POST /api/{db}/{name}`: the request is the body.
pub(super) async fn call(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let (body, memory) = body::document(&exchange.app, request).await?;
    answer(&exchange, body, Some(memory)).await
}

/// `GET /api/{db}/{name}?field=value`: the parameters are the members of the request.
pub(super) async fn call_by_query(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let mut request = Map::new();
    for (name, value) in parameters::any(query)? {
        if request.contains_key(&name) {
            let detail = format!("the parameter {name} is given twice");
            return Err(Problem::invalid("query", &name, detail));
        }
        request.insert(name, member(value));
    }
    let body = Body::of(&request).map_err(pliantdb_core::Error::invalid)?;
    answer(&exchange, body, None).await
}

/// A parameter's value: a number, true, false or a text in quotes if it reads as one in JSON, else a text as it is.
fn member(value: String) -> Value {
    match serde_json::from_str(&value) {
        Ok(json @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => json,
        _ => Value::String(value),
    }
}

async fn answer(exchange: &Exchange, body: Body, memory: Option<Reserved>) -> Result<Response, Problem> {
    let (database, api) = (exchange.database()?, exchange.api()?);
    let request = DatabaseRequest::Call {
        api: api.clone(),
        body,
    };
    match exchange.write(database, request, memory).await? {
        DatabaseResponse::Called(Ok(answer)) => {
            Ok(([(CONTENT_TYPE, "application/json")], answer.into_bytes()).into_response())
        }
        DatabaseResponse::Called(Err(error)) => {
            let detail = format!("the API {api} refused the request; the member error says why");
            let error = error.read().unwrap_or(Value::Null);
            Err(
                Problem::unfit("api-refused", "The API refused the request", detail)
                    .with("api", api.as_str())
                    .with("error", error),
            )
        }
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn numbers_and_booleans_are_read_as_such() {
        for (text, value) in [
            ("36", json!(36)),
            ("-1.5", json!(-1.5)),
            ("true", json!(true)),
            ("\"36\"", json!("36")),
            ("036", json!("036")),
            ("null", json!("null")),
            ("[1]", json!("[1]")),
            ("", json!("")),
        ] {
            assert_eq!(super::member(text.to_owned()), value, "{text}");
        }
    }
}
