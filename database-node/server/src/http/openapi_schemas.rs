//! What requests and answers look like, as JSON schemas (2020-12).

use serde_json::{Value, json};

/// What a text without control characters consists of.
const VISIBLE: &str = "[^\\u0000-\\u001f\\u007f-\\u009f]";

/// A word of a topic.
const WORD: &str = "[^\\s\\u0000-\\u001f\\u007f-\\u009f.*]+";

/// All, by name.
pub(super) fn all() -> Value {
    let mut all = names();
    for part in [databases(), documents(), views(), others(), accounts()] {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part) {
            all.extend(part);
        }
    }
    all
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object whose members must be there, but for those in `optional`.
fn object(required: Value, optional: Value) -> Value {
    let (Value::Object(required), Value::Object(optional)) = (required, optional) else {
        return Value::Null;
    };
    let names: Vec<_> = required.keys().cloned().collect();
    let mut properties = required;
    properties.extend(optional);
    json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn names() -> Value {
    json!({
        "AnyJson": { "description": "Any JSON value, nested at most 128 levels deep." },
        "Name": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" },
        "DocumentId": {
            "type": "string",
            "pattern": format!("^(?!\\.{{1,2}}$){VISIBLE}{{1,1024}}$"),
            "description": "1 to 1,024 bytes of UTF-8.",
        },
        "KeyName": {
            "type": "string",
            "pattern": format!("^{VISIBLE}{{1,1024}}$"),
            "description": "1 to 1,024 bytes of UTF-8.",
        },
        "Topic": { "type": "string", "pattern": format!("^{WORD}(\\.{WORD})*$"), "maxLength": 255 },
        "TopicPattern": {
            "type": "string",
            "pattern": format!("^({WORD}|\\*)(\\.({WORD}|\\*))*(\\.\\*\\*)?$"),
            "maxLength": 255,
        },
        "Revision": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
        "Problem": {
            "type": "object",
            "description": "What was wrong and what would be right (RFC 9457).",
            "properties": {
                "type": { "type": "string", "format": "uri" },
                "title": text(),
                "status": { "type": "integer" },
                "detail": text(),
                "field": { "type": "string", "description": "What of the request is wrong." },
                "value": { "type": "string", "description": "The value that is wrong, shortened." },
            },
            "required": ["type", "title", "status", "detail"],
        },
        "Count": object(json!({ "count": number() }), json!({})),
        "Deleted": object(json!({ "deleted": number() }), json!({})),
        "Receivers": object(json!({ "receivers": number() }), json!({})),
    })
}

fn databases() -> Value {
    let policy = json!({ "type": "string", "enum": ["lazy", "eager", "unique"] });
    let version = number();
    let view = object(
        json!({
            "name": reference("Name"),
            "version": version,
            "policy": policy,
            "reduces": { "type": "boolean" },
            "status": reference("ViewStatus"),
        }),
        json!({}),
    );
    let collection = object(
        json!({ "name": reference("Name"), "views": list(view) }),
        json!({}),
    );
    let offered = object(
        json!({ "collection": reference("Name"), "name": reference("Name") }),
        json!({ "version": version, "policy": policy, "reduces": { "type": "boolean" } }),
    );
    let schema = reference("Name");
    let views = json!({
        "description": "The views of the version that is meant; those of the last that the server has if not given.",
        "type": "array",
        "items": offered,
    });
    json!({
        "Databases": object(json!({ "databases": list(reference("Name")) }), json!({})),
        "DatabaseHandle": object(
            json!({
                "name": reference("Name"),
                "number": { "type": "integer", "description": "Tells it from others that had its name before." },
            }),
            json!({}),
        ),
        "Database": object(
            json!({
                "name": reference("Name"),
                "number": { "type": "integer", "description": "Tells it from others that had its name before." },
                "schema": { "anyOf": [reference("Name"), { "type": "null" }] },
                "collections": list(collection),
            }),
            json!({}),
        ),
        "SchemaChoice": object(json!({}), json!({ "schema": schema, "views": views })),
        "SchemaChange": object(json!({ "schema": schema }), json!({ "views": views })),
    })
}

fn documents() -> Value {
    let id = || reference("DocumentId");
    let place = json!({ "collection": reference("Name"), "id": id() });
    let with_body = json!({ "collection": reference("Name"), "id": id(), "body": reference("AnyJson") });
    let revision = json!({ "revision": reference("Revision") });
    let change = |kind: &str, change: Value| object(json!({ kind: change }), json!({}));
    let inserted = json!({ "collection": reference("Name"), "body": reference("AnyJson") });
    let check = |what: Value| {
        let (Value::Object(mut place), Value::Object(what)) = (place.clone(), what) else {
            return Value::Null;
        };
        place.extend(what);
        object(Value::Object(place), json!({}))
    };
    let written = json!({ "type": "string", "enum": ["created", "updated"] });
    let other = json!({ "type": "string", "enum": ["deleted", "checked"] });
    json!({
        "DocumentIds": { "type": "array", "items": id(), "maxItems": 1000 },
        "Written": object(json!({ "id": id(), "revision": reference("Revision") }), json!({})),
        "Document": object(
            json!({ "id": id(), "revision": reference("Revision"), "body": reference("AnyJson") }),
            json!({}),
        ),
        "Documents": object(
            json!({ "documents": list(reference("Document")) }),
            json!({ "next": { "type": "string", "description": "The `after` of the next page." } }),
        ),
        "Change": { "oneOf": [
            change("insert", object(inserted, json!({ "id": id() }))),
            change("update", object(with_body.clone(), revision.clone())),
            change("overwrite", object(with_body, json!({}))),
            change("delete", object(place.clone(), revision.clone())),
            change("check", json!({ "oneOf": [check(revision), check(json!({ "exists": { "type": "boolean" } }))] })),
        ] },
        "Transaction": { "type": "array", "items": reference("Change"), "maxItems": 100_000 },
        "Outcomes": object(
            json!({ "outcomes": list(json!({ "oneOf": [
                object(json!({ "outcome": written, "id": id(), "revision": reference("Revision") }), json!({})),
                object(json!({ "outcome": other }), json!({})),
            ] })) }),
            json!({}),
        ),
    })
}

fn views() -> Value {
    let key = reference("AnyJson");
    let row = object(
        json!({ "key": key, "id": reference("DocumentId"), "value": reference("AnyJson") }),
        json!({ "document": reference("Document") }),
    );
    let group = object(json!({ "key": key, "value": reference("AnyJson") }), json!({}));
    json!({
        "ViewAnswer": { "oneOf": [
            object(json!({ "rows": list(row) }), json!({ "next": text() })),
            object(json!({ "value": reference("AnyJson") }), json!({})),
            object(json!({ "groups": list(group) }), json!({})),
        ] },
        "ViewStatus": { "oneOf": [
            object(json!({ "state": { "const": "ready" } }), json!({})),
            object(
                json!({
                    "state": { "const": "building" },
                    "documents": number(),
                    "slotsDone": number(),
                    "slots": number(),
                    "servesPrevious": { "type": "boolean" },
                }),
                json!({}),
            ),
            object(json!({ "state": { "const": "failed" }, "reason": text() }), json!({})),
        ] },
    })
}

fn others() -> Value {
    let status = json!({ "type": "string", "enum": ["created", "updated", "deleted", "unchanged"] });
    let key = object(
        json!({ "key": reference("KeyName"), "value": reference("AnyJson") }),
        json!({}),
    );
    let kind = json!({ "type": "string", "enum": ["inserted", "updated", "deleted"] });
    let change = object(
        json!({ "collection": reference("Name"), "id": reference("DocumentId"), "kind": kind }),
        json!({}),
    );
    let transaction = object(
        json!({ "revision": reference("Revision"), "changes": list(change) }),
        json!({}),
    );
    json!({
        "Keys": object(json!({ "keys": list(key) }), json!({ "next": text() })),
        "KeyChanged": object(json!({ "status": status }), json!({ "previous": reference("AnyJson") })),
        "Increment": object(json!({}), json!({ "by": { "type": "number", "default": 1 } })),
        "Incremented": object(json!({ "value": { "type": "number" } }), json!({})),
        "Expire": object(
            json!({}),
            json!({ "ttl": {
                "type": "string",
                "description": "How long it is to live, such as `10s`; for ever if not given.",
                "pattern": "^[0-9]{1,6}(ms|s|m|h)$",
            } }),
        ),
        "Changes": object(json!({ "transactions": list(transaction), "next": text() }), json!({})),
    })
}

fn accounts() -> Value {
    let flag = || json!({ "type": "boolean" });
    let names = || json!({ "type": "array", "items": reference("Name"), "uniqueItems": true });
    let permissions = || {
        let permission = json!({
            "type": "string",
            "description": "What is allowed on what, such as `read,write on collection shop/orders`.",
        });
        list(permission)
    };
    let password = || json!({ "type": "string", "minLength": 8 });
    // What may be left out may be null too.
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let user = object(
        json!({ "name": reference("Name"), "roles": names(), "disabled": flag(), "hasPassword": flag() }),
        json!({}),
    );
    let role = object(
        json!({ "name": reference("Name"), "permissions": permissions() }),
        json!({}),
    );
    let owner = || json!({ "user": reference("Name"), "roles": names() });
    let shown = |more: Value| {
        let (Value::Object(mut owner), Value::Object(more)) = (owner(), more) else {
            return Value::Null;
        };
        owner.extend(more);
        object(json!({ "name": reference("Name") }), Value::Object(owner))
    };
    json!({
        "Login": object(json!({ "user": text(), "password": text() }), json!({})),
        "Session": object(json!({ "user": text(), "token": text() }), json!({})),
        "WhoAmI": object(
            json!({
                "name": text(),
                "user": { "anyOf": [reference("Name"), { "type": "null" }] },
                "permissions": permissions(),
            }),
            json!({}),
        ),
        "PasswordChange": object(json!({ "old": text(), "new": password() }), json!({})),
        "Users": object(json!({ "users": list(user) }), json!({})),
        "UserChange": object(
            json!({}),
            json!({
                "password": or_null(password()),
                "roles": or_null(names()),
                "disabled": or_null(flag()),
            }),
        ),
        "Roles": object(json!({ "roles": list(role) }), json!({})),
        "RoleChange": object(json!({ "permissions": permissions() }), json!({})),
        "ApiKeys": object(
            json!({ "keys": list(shown(json!({ "expires": { "type": "string", "format": "date-time" } }))) }),
            json!({}),
        ),
        "ApiKeyCreation": object(
            json!({ "name": reference("Name") }),
            json!({
                "user": or_null(reference("Name")),
                "roles": or_null(names()),
                "expiresIn": or_null(json!({ "type": "string", "pattern": "^[1-9][0-9]{0,5}(s|m|h)$" })),
            }),
        ),
        "ApiKeyCreated": object(json!({ "name": reference("Name"), "key": text() }), json!({})),
    })
}
