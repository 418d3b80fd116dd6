//! The OpenAPI document, made of the table of routes.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accounts::LOGIN;
use super::events::EVENT_STREAM;
use super::openapi_schemas as schemas;
use super::routes::{Answer, Content, Operation, Parameter, operations};
use crate::VERSION;

/// The problems that every request can come to.
const PROBLEMS: [(u16, &str); 6] = [
    (400, "Something in the request is wrong; `field` says what."),
    (401, "No token, or one that is not valid."),
    (403, "Who asks may not do that, or a foreign web page asks."),
    (500, "The server failed; its log says why."),
    (503, "The server is busy, or shutting down: nothing was done."),
    (504, "There was no answer in time."),
];

/// Those that only some can come to.
const SPECIAL_PROBLEMS: [(u16, &str); 11] = [
    (404, "There is no such thing."),
    (408, "The body did not arrive in time."),
    (409, "It contradicts what is there."),
    (410, "The changes are no longer kept."),
    (412, "The precondition does not hold."),
    (413, "The body is too large."),
    (415, "The body is not JSON by its headers."),
    (422, "It cannot be carried out."),
    (429, "Too many attempts."),
    (501, "The transfer encoding is not supported."),
    (507, "The disk is full."),
];

/// Those of every request with a body.
const BODY_PROBLEMS: [u16; 4] = [408, 413, 415, 501];

/// `GET /openapi.json`
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], build().to_string()).into_response()
}

fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| json!({ "parameters": path_parameters(operation.path) }));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_owned(), describe(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "PliantDB",
            "version": VERSION,
            "description": "Documents, views, keys, messages and custom APIs of a PliantDB server. HEAD works where GET does.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "password": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "password": { "type": "http", "scheme": "basic" },
            },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The parameters that are part of a path.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let schema = match name {
            "id" => "DocumentId",
            "key" => "KeyName",
            "topic" => "Topic",
            _ => "Name",
        };
        json!({ "name": name, "in": "path", "required": true, "schema": reference(schema) })
    };
    names.map(parameter).collect()
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(operation),
    });
    if let (Value::Object(described), Some((schema, is_required))) = (&mut described, operation.body) {
        let content = json!({ "application/json": { "schema": reference(schema) } });
        let body = json!({ "required": is_required, "content": content });
        described.insert("requestBody".to_owned(), body);
    }
    if operation.id == LOGIN.id {
        described["security"] = json!([]);
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    let schema: Value = serde_json::from_str(parameter.schema).unwrap_or_default();
    json!({
        "name": parameter.name,
        "in": parameter.place,
        // One that may be given several times must be given once.
        "required": schema.get("minItems").is_some(),
        "description": parameter.about,
        "schema": schema,
    })
}

fn responses(operation: &Operation) -> Map<String, Value> {
    let answers = operation.answers.iter().map(|answer| {
        let described = answer_json(operation, answer);
        (answer.status.to_string(), described)
    });
    let can_come = |status: u16| {
        operation.problems.contains(&status) || (operation.body.is_some() && BODY_PROBLEMS.contains(&status))
    };
    let special = SPECIAL_PROBLEMS.iter().filter(|(status, _)| can_come(*status));
    let problems = PROBLEMS.iter().chain(special).map(|(status, about)| {
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        let described = json!({ "description": about, "content": content });
        (status.to_string(), described)
    });
    answers.chain(problems).collect()
}

fn answer_json(operation: &Operation, answer: &Answer) -> Value {
    let of = |schema| json!({ "schema": reference(schema) });
    let events = || json!({ "schema": { "type": "string" } });
    let mut described = json!({ "description": answer.about });
    let content = match answer.content {
        Content::Nothing => None,
        Content::Json(schema) => Some(json!({ "application/json": of(schema) })),
        Content::Events => Some(json!({ EVENT_STREAM: events() })),
        Content::JsonOrEvents(schema) => {
            Some(json!({ "application/json": of(schema), EVENT_STREAM: events() }))
        }
    };
    if let Some(content) = content {
        described["content"] = content;
    }
    let has_tag = matches!(operation.id, "getDocument" | "putDocument" | "insertDocument");
    if has_tag {
        let tag = json!({ "schema": { "type": "string" }, "description": "The revision, in double quotes." });
        described["headers"] = json!({ "ETag": tag });
    }
    described
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{build, operations};

    /// Everything that is referred to is there, and every text that is to be JSON is.
    #[test]
    fn is_whole() {
        fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(parts) => parts.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = build();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for parameter in operations().flat_map(|operation| operation.parameters) {
            serde_json::from_str::<Value>(parameter.schema).unwrap();
        }
        let ids: BTreeSet<_> = operations().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations().count(), "each has an id of its own");
    }
}
