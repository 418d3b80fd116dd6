//! Every route that clients have: the one table of which the router is made, and the document at `/openapi.json`.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::{
    accounts, apis, databases, documents, feed, key_values, listing, messages, openapi, transactions, views,
};
use crate::app::App;

/// A method of a path.
pub(super) struct Operation {
    /// In lower case.
    pub(super) method: &'static str,
    /// As axum writes it, which is as OpenAPI does.
    pub(super) path: &'static str,
    /// What programs that are generated from the document call it.
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) handler: fn() -> MethodRouter<Arc<App>>,
    /// Of the query and in headers.
    pub(super) parameters: &'static [Parameter],
    /// The schema of the body it takes, and whether there must be one.
    pub(super) body: Option<(&'static str, bool)>,
    pub(super) answers: &'static [Answer],
    /// The statuses of the problems that it can come to, beside those that every request can.
    pub(super) problems: &'static [u16],
}

/// A parameter of a query, or a header.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `query` or `header`.
    pub(super) place: &'static str,
    /// Its JSON schema.
    pub(super) schema: &'static str,
    pub(super) about: &'static str,
}

/// What an operation comes to when it succeeds.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

/// What an answer holds.
pub(super) enum Content {
    Nothing,
    /// JSON of a schema among the components.
    Json(&'static str),
    /// JSON of a schema, or events that hold such.
    JsonOrEvents(&'static str),
    /// Events.
    Events,
}

/// Everything that there is.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    let needing = OPERATIONS.iter().chain(accounts::OPERATIONS);
    needing.chain([&accounts::LOGIN])
}

/// The routes that need credentials.
pub(super) fn router() -> Router<Arc<App>> {
    OPERATIONS
        .iter()
        .chain(accounts::OPERATIONS)
        .fold(Router::new(), add)
}

/// The route that gives them.
pub(super) fn login() -> Router<Arc<App>> {
    add(Router::new(), &accounts::LOGIN)
}

fn add(router: Router<Arc<App>>, operation: &Operation) -> Router<Arc<App>> {
    router.route(operation.path, (operation.handler)())
}

const fn query(name: &'static str, schema: &'static str, about: &'static str) -> Parameter {
    let place = "query";
    Parameter {
        name,
        place,
        schema,
        about,
    }
}

const fn header(name: &'static str, schema: &'static str, about: &'static str) -> Parameter {
    let place = "header";
    Parameter {
        name,
        place,
        schema,
        about,
    }
}

pub(super) const fn ok(content: Content) -> Answer {
    let (status, about) = (200, "It is done.");
    Answer {
        status,
        about,
        content,
    }
}

pub(super) const fn created(content: Content) -> Answer {
    let (status, about) = (201, "It is new.");
    Answer {
        status,
        about,
        content,
    }
}

pub(super) const GONE: Answer = Answer {
    status: 204,
    about: "It is gone.",
    content: Content::Nothing,
};

const TEXT: &str = r#"{"type": "string"}"#;
const FLAG: &str = r#"{"type": "boolean", "default": false}"#;
const LIMIT: Parameter = query(
    "limit",
    r#"{"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}"#,
    "At most so many.",
);
const ORDER: Parameter = query(
    "order",
    r#"{"type": "string", "enum": ["asc", "desc"], "default": "asc"}"#,
    "Which way.",
);
const MAX_BYTES: Parameter = query(
    "max_bytes",
    r#"{"type": "integer", "minimum": 1, "maximum": 4194304, "default": 4194304}"#,
    "A page ends before what would make it larger than so many bytes, unless that is its first.",
);
const PREFIX: Parameter = query("prefix", TEXT, "Only those that begin with this.");
const AFTER_ID: Parameter = query(
    "after",
    r##"{"$ref": "#/components/schemas/DocumentId"}"##,
    "Only those behind this one in the order: the `next` of the page before.",
);
const AFTER_KEY: Parameter = query(
    "after",
    r##"{"$ref": "#/components/schemas/KeyName"}"##,
    "Only those behind this one in the order: the `next` of the page before.",
);
const IDEMPOTENCY_KEY: Parameter = header(
    "Idempotency-Key",
    r#"{"type": "string", "format": "uuid", "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"}"#,
    "A UUID of version 7, made anew for each write: sent again with the same one, the write is made once.",
);
const REVISION_TAG: &str = r#"{"type": "string", "pattern": "^(\\*|\"[0-9a-f]{16}\")$"}"#;
const IF_MATCH: Parameter = header(
    "If-Match",
    REVISION_TAG,
    "Only if this is the document's revision, in double quotes; `*`: only if it exists.",
);
const IF_NONE_MATCH: Parameter = header(
    "If-None-Match",
    r#"{"type": "string", "enum": ["*"]}"#,
    "`*`: only if there is no such document.",
);

/// JSON in a parameter is a text to OpenAPI.
const KEY: Parameter = query(
    "key",
    TEXT,
    "Only entries with this key, as JSON: `\"UK\"`, `36`, `[\"UK\",36]`.",
);
const KEYS: Parameter = query(
    "keys",
    TEXT,
    "Only entries with one of these keys: a JSON array of them.",
);
const KEY_PREFIX: Parameter = query(
    "prefix",
    TEXT,
    "Only entries whose key begins with this: a text in quotes, or an array of the first parts.",
);
const START: Parameter = query("start", TEXT, "Only entries from this key on, as JSON.");
const START_EXCLUSIVE: Parameter = query("start_exclusive", FLAG, "Without the key `start` itself.");
const END: Parameter = query("end", TEXT, "Only entries before this key, as JSON.");
const END_INCLUSIVE: Parameter = query("end_inclusive", FLAG, "With the key `end` itself.");

const DURATION: &str = r#"{"type": "string", "pattern": "^[0-9]{1,2}(ms|s)$", "examples": ["10s"]}"#;

/// Those that are about databases and what is in them.
const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/v1",
        id: "listDatabases",
        tag: "databases",
        summary: "The names of all databases.",
        handler: || get(databases::list),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("Databases"))],
        problems: &[],
    },
    Operation {
        method: "get",
        path: "/v1/{db}",
        id: "describeDatabase",
        tag: "databases",
        summary: "What a database is: its schema, and the collections with views and how these are doing.",
        handler: || get(databases::describe),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("Database"))],
        problems: &[404],
    },
    Operation {
        method: "put",
        path: "/v1/{db}",
        id: "createDatabase",
        tag: "databases",
        summary: "Creates a database, with a schema if one is named.",
        handler: || put(databases::create),
        parameters: &[],
        body: Some(("SchemaChoice", false)),
        answers: &[created(Content::Json("DatabaseHandle"))],
        problems: &[409, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/{db}",
        id: "deleteDatabase",
        tag: "databases",
        summary: "Deletes a database with everything in it.",
        handler: || delete(databases::delete),
        parameters: &[],
        body: None,
        answers: &[GONE],
        problems: &[404, 422],
    },
    Operation {
        method: "put",
        path: "/v1/{db}/_schema",
        id: "defineSchema",
        tag: "databases",
        summary: "Gives a database a schema, or another version of its schema.",
        handler: || put(databases::define),
        parameters: &[],
        body: Some(("SchemaChange", true)),
        answers: &[ok(Content::Json("DatabaseHandle"))],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/_transaction",
        id: "transact",
        tag: "documents",
        summary: "Changes documents, of several collections, together or not at all. Each change sees those before it.",
        handler: || post(transactions::transact),
        parameters: &[IDEMPOTENCY_KEY],
        body: Some(("Transaction", true)),
        answers: &[ok(Content::Json("Outcomes"))],
        problems: &[404, 409, 412, 422, 507],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/_topics/{topic}",
        id: "publish",
        tag: "messages",
        summary: "Sends a message to all who listen to its topic now.",
        handler: || post(messages::publish),
        parameters: &[],
        body: Some(("AnyJson", true)),
        answers: &[ok(Content::Json("Receivers"))],
        problems: &[404],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/_subscribe",
        id: "subscribe",
        tag: "messages",
        summary: "Listens to topics, by server-sent events: `message`, `lagged` when some were dropped, and `end`.",
        handler: || get(messages::subscribe),
        parameters: &[query(
            "topic",
            r##"{"type": "array", "minItems": 1, "maxItems": 100, "items": {"$ref": "#/components/schemas/TopicPattern"}}"##,
            "A topic, or a pattern in which `*` stands for any one word, and `**` at the end for one or more; several times.",
        )],
        body: None,
        answers: &[ok(Content::Events)],
        problems: &[404],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/_changes",
        id: "changes",
        tag: "changes",
        summary: "What was changed, in the order of the commits; with `Accept: text/event-stream`, as it happens.",
        handler: || get(feed::changes),
        parameters: &[
            query("after", TEXT, "Go on here: the `next` of the page before."),
            query(
                "from",
                r#"{"type": "string", "enum": ["oldest", "now"], "default": "oldest"}"#,
                "Begin with the oldest change that is kept, or with what comes.",
            ),
            LIMIT,
            query(
                "wait",
                DURATION,
                "How long to wait for a change if there is none, up to 60s.",
            ),
            header("Last-Event-ID", TEXT, "For events: go on behind this one."),
        ],
        body: None,
        answers: &[ok(Content::JsonOrEvents("Changes"))],
        problems: &[404, 410, 422],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/_kv/{namespace}",
        id: "listKeys",
        tag: "key-value",
        summary: "Keys with their values, in order.",
        handler: || get(key_values::list),
        parameters: &[PREFIX, AFTER_KEY, LIMIT, ORDER, MAX_BYTES],
        body: None,
        answers: &[ok(Content::Json("Keys"))],
        problems: &[404],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/_kv/{namespace}/{key}",
        id: "getKey",
        tag: "key-value",
        summary: "The value of a key.",
        handler: || get(key_values::read),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[404],
    },
    Operation {
        method: "put",
        path: "/v1/{db}/_kv/{namespace}/{key}",
        id: "setKey",
        tag: "key-value",
        summary: "Sets the value of a key, unless a condition does not hold.",
        handler: || put(key_values::set),
        parameters: &[
            query(
                "ttl",
                DURATION,
                "How long it is to live, also as in `1h 30m`; for ever if not given.",
            ),
            query(
                "keep_ttl",
                FLAG,
                "It is to live as long as the value before was to.",
            ),
            query("if_present", FLAG, "Only if there is a value."),
            query("if_vacant", FLAG, "Only if there is none."),
            query(
                "if_equals",
                TEXT,
                "Only if there is this value: JSON, byte for byte.",
            ),
            query("return_previous", FLAG, "Answers with the value before, too."),
            IDEMPOTENCY_KEY,
        ],
        body: Some(("AnyJson", true)),
        answers: &[
            ok(Content::Json("KeyChanged")),
            created(Content::Json("KeyChanged")),
        ],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/{db}/_kv/{namespace}/{key}",
        id: "deleteKey",
        tag: "key-value",
        summary: "Removes a key, unless a condition does not hold.",
        handler: || delete(key_values::delete),
        parameters: &[
            query(
                "if_equals",
                TEXT,
                "Only if there is this value: JSON, byte for byte.",
            ),
            query("return_previous", FLAG, "Answers with the value before, too."),
            IDEMPOTENCY_KEY,
        ],
        body: None,
        answers: &[ok(Content::Json("KeyChanged"))],
        problems: &[404, 409, 422],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/_kv/{namespace}/{key}/_increment",
        id: "incrementKey",
        tag: "key-value",
        summary: "Adds to a number; no value counts as 0. When it expires stays.",
        handler: || post(key_values::increment),
        parameters: &[IDEMPOTENCY_KEY],
        body: Some(("Increment", false)),
        answers: &[ok(Content::Json("Incremented"))],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/_kv/{namespace}/{key}/_expire",
        id: "expireKey",
        tag: "key-value",
        summary: "Sets when a value expires.",
        handler: || post(key_values::expire),
        parameters: &[IDEMPOTENCY_KEY],
        body: Some(("Expire", false)),
        answers: &[ok(Content::Json("KeyChanged"))],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/{collection}",
        id: "listDocuments",
        tag: "documents",
        summary: "Documents in the order of their ids.",
        handler: || get(listing::list),
        parameters: &[PREFIX, AFTER_ID, LIMIT, ORDER, MAX_BYTES],
        body: None,
        answers: &[ok(Content::Json("Documents"))],
        problems: &[404],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/{collection}",
        id: "insertDocument",
        tag: "documents",
        summary: "Writes a new document under an id that is made for it.",
        handler: || post(documents::insert),
        parameters: &[IDEMPOTENCY_KEY],
        body: Some(("AnyJson", true)),
        answers: &[created(Content::Json("Written"))],
        problems: &[404, 409, 412, 422, 507],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/{collection}/_count",
        id: "countDocuments",
        tag: "documents",
        summary: "How many documents there are.",
        handler: || get(listing::count),
        parameters: &[PREFIX, AFTER_ID, ORDER],
        body: None,
        answers: &[ok(Content::Json("Count"))],
        problems: &[404],
    },
    Operation {
        method: "post",
        path: "/v1/{db}/{collection}/_get",
        id: "getDocuments",
        tag: "documents",
        summary: "Several documents, as they were at one moment. Those that do not exist are left out.",
        handler: || post(documents::read_many),
        parameters: &[],
        body: Some(("DocumentIds", true)),
        answers: &[ok(Content::Json("Documents"))],
        problems: &[404, 422],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/{collection}/{id}",
        id: "getDocument",
        tag: "documents",
        summary: "A document, byte for byte as it was written.",
        handler: || get(documents::read),
        parameters: &[
            header("If-Match", TEXT, "Only if one of these is its revision."),
            header("If-None-Match", TEXT, "Only if none of these is its revision."),
        ],
        body: None,
        answers: &[
            ok(Content::Json("AnyJson")),
            Answer {
                status: 304,
                about: "The revision is still the one that If-None-Match names.",
                content: Content::Nothing,
            },
        ],
        problems: &[404, 412],
    },
    Operation {
        method: "put",
        path: "/v1/{db}/{collection}/{id}",
        id: "putDocument",
        tag: "documents",
        summary: "Writes a document whole.",
        handler: || put(documents::write),
        parameters: &[IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY],
        body: Some(("AnyJson", true)),
        answers: &[ok(Content::Json("Written")), created(Content::Json("Written"))],
        problems: &[404, 409, 412, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/{db}/{collection}/{id}",
        id: "deleteDocument",
        tag: "documents",
        summary: "Deletes a document.",
        handler: || delete(documents::delete),
        parameters: &[IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY],
        body: None,
        answers: &[GONE],
        problems: &[404, 409, 412, 422],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/{collection}/_views/{view}",
        id: "queryView",
        tag: "views",
        summary: "Entries of a view; with `reduce=true` one value for them, with `group=true` one for each key.",
        handler: || get(views::query),
        parameters: &[
            KEY,
            KEYS,
            KEY_PREFIX,
            START,
            START_EXCLUSIVE,
            END,
            END_INCLUSIVE,
            ORDER,
            LIMIT,
            query("after", TEXT, "Go on here: the `next` of the page before."),
            query(
                "freshness",
                r#"{"type": "string", "enum": ["current", "stale"], "default": "current"}"#,
                "`current` shows what was committed before, and waits for a view that is built; `stale` waits for nothing.",
            ),
            query("with_docs", FLAG, "With the document of each entry."),
            query("reduce", FLAG, "One value for all entries."),
            query("group", FLAG, "One value for each key."),
        ],
        body: None,
        answers: &[ok(Content::Json("ViewAnswer"))],
        problems: &[404, 422, 507],
    },
    Operation {
        method: "delete",
        path: "/v1/{db}/{collection}/_views/{view}",
        id: "deleteMatching",
        tag: "views",
        summary: "Deletes the documents behind entries of a view; those that are changed meanwhile stay.",
        handler: || delete(views::delete),
        parameters: &[
            KEY,
            KEYS,
            KEY_PREFIX,
            START,
            START_EXCLUSIVE,
            END,
            END_INCLUSIVE,
            ORDER,
            query(
                "limit",
                r#"{"type": "integer", "minimum": 1}"#,
                "Of at most so many entries.",
            ),
            query("all", FLAG, "Of all entries: needed when nothing selects some."),
        ],
        body: None,
        answers: &[ok(Content::Json("Deleted"))],
        problems: &[404, 409, 422, 507],
    },
    Operation {
        method: "get",
        path: "/v1/{db}/{collection}/_views/{view}/_status",
        id: "viewStatus",
        tag: "views",
        summary: "How a view is doing.",
        handler: || get(views::status),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("ViewStatus"))],
        problems: &[404, 422],
    },
    Operation {
        method: "get",
        path: "/api/{name}",
        id: "callDefaultApiByQuery",
        tag: "apis",
        summary: "Calls a custom API of the database `default`; the parameters are the members of the request.",
        handler: || get(apis::call_by_query),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[404, 422],
    },
    Operation {
        method: "post",
        path: "/api/{name}",
        id: "callDefaultApi",
        tag: "apis",
        summary: "Calls a custom API of the database `default`.",
        handler: || post(apis::call),
        parameters: &[],
        body: Some(("AnyJson", true)),
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[404, 422],
    },
    Operation {
        method: "get",
        path: "/api/{db}/{name}",
        id: "callApiByQuery",
        tag: "apis",
        summary: "Calls a custom API; the parameters are the members of the request.",
        handler: || get(apis::call_by_query),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[404, 422],
    },
    Operation {
        method: "post",
        path: "/api/{db}/{name}",
        id: "callApi",
        tag: "apis",
        summary: "Calls a custom API.",
        handler: || post(apis::call),
        parameters: &[],
        body: Some(("AnyJson", true)),
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[404, 422],
    },
    Operation {
        method: "get",
        path: "/openapi.json",
        id: "openApi",
        tag: "server",
        summary: "This document.",
        handler: || get(openapi::document),
        parameters: &[],
        body: None,
        answers: &[ok(Content::Json("AnyJson"))],
        problems: &[],
    },
];
