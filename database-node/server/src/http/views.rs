//! Views: entries, reduced values, and the documents behind them.

use axum::Json;
use axum::extract::RawQuery;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pliantdb_core::protocol::DatabaseHandle;
use pliantdb_core::{
    Freshness, Group, InvalidKeyJson, KeySelection, Query, Request, Response as DatabaseResponse, RowCursor,
    Rows, ViewStatus, key, key_json,
};
use serde_json::{Value, json};

use super::Problem;
use super::exchange::{Exchange, unexpected};
use super::listing::{MAX_BYTES, encode_document};
use super::parameters::Parameters;
use crate::request_memory::held;

/// What selects entries.
const SELECTING: [&str; 7] = [
    "key",
    "keys",
    "prefix",
    "start",
    "start_exclusive",
    "end",
    "end_inclusive",
];

/// `GET /v1/{db}/{collection}/_views/{view}`
pub(super) async fn query(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let known = [
        SELECTING.as_slice(),
        &[
            "order",
            "limit",
            "after",
            "freshness",
            "with_docs",
            "reduce",
            "group",
        ],
    ]
    .concat();
    let (database, parameters) = (exchange.database()?, Parameters::read(query, &known)?);
    let query = read(&exchange, &parameters)?;
    let with_documents = parameters.flag("with_docs")?;
    match (parameters.flag("reduce")?, parameters.flag("group")?) {
        (false, false) => rows(&exchange, database, &parameters, query, with_documents).await,
        (_, is_grouped) => {
            let entries_only = ["limit", "after", "with_docs"];
            if let Some((name, value)) = entries_only
                .iter()
                .find_map(|name| Some((*name, parameters.get(name)?)))
            {
                let detail = format!("{name} is for entries: leave it out with reduce and group");
                return Err(Problem::invalid(name, value, detail));
            }
            reduce(&exchange, database, query, is_grouped).await
        }
    }
}

async fn rows(
    exchange: &Exchange,
    database: DatabaseHandle,
    parameters: &Parameters,
    mut query: Query,
    with_documents: bool,
) -> Result<Response, Problem> {
    query.limit = Some(parameters.limit()?);
    // The entries and the answer made of them; one of the documents can be larger.
    let documents = if with_documents {
        2 * exchange.app.max_body_size
    } else {
        0
    };
    let reserved = exchange.app.reserve(2 * MAX_BYTES + documents, 1).await?;
    let request = Request::Query {
        query,
        with_documents,
    };
    let DatabaseResponse::Rows(rows) = exchange.read(database, request).await? else {
        return Err(unexpected());
    };
    let answer = encode(&rows).ok_or_else(unexpected)?;
    Ok(([(CONTENT_TYPE, "application/json")], held(answer, reserved)).into_response())
}

async fn reduce(
    exchange: &Exchange,
    database: DatabaseHandle,
    query: Query,
    is_grouped: bool,
) -> Result<Response, Problem> {
    let reserved = exchange.app.reserve(2 * MAX_BYTES, 1).await?;
    let request = match is_grouped {
        true => Request::ReduceGrouped(query),
        false => Request::Reduce(query),
    };
    let DatabaseResponse::Groups(groups) = exchange.read(database, request).await? else {
        return Err(unexpected());
    };
    let answer = match is_grouped {
        true => encode_groups(&groups),
        false => groups
            .first()
            .map(|group| [b"{\"value\":", group.value.as_slice(), b"}"].concat()),
    };
    let answer = held(answer.ok_or_else(unexpected)?, reserved);
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// `DELETE /v1/{db}/{collection}/_views/{view}`: the documents behind the entries.
pub(super) async fn delete(exchange: Exchange, query: RawQuery) -> Result<Response, Problem> {
    let known = [SELECTING.as_slice(), &["order", "limit", "all"]].concat();
    let (database, parameters) = (exchange.database()?, Parameters::read(query, &known)?);
    let mut query = read(&exchange, &parameters)?;
    query.limit = parameters.number("limit", usize::MAX)?;
    let all = parameters.flag("all")?;
    match (&query.keys, all) {
        (KeySelection::All, false) => {
            let detail = "this would delete every document of the view: select some, as with key=\"UK\", or say all=true";
            return Err(Problem::invalid("all", "", detail));
        }
        (KeySelection::Range(..) | KeySelection::These(_), true) => {
            let detail = "select some documents, or say all=true, not both";
            return Err(Problem::invalid("all", "true", detail));
        }
        _ => {}
    }
    match exchange
        .write(database, Request::DeleteMatching(query), None)
        .await?
    {
        DatabaseResponse::Count(count) => Ok(Json(json!({ "deleted": count })).into_response()),
        _ => Err(unexpected()),
    }
}

/// `GET /v1/{db}/{collection}/_views/{view}/_status`
pub(super) async fn status(exchange: Exchange) -> Result<Response, Problem> {
    let request = Request::ViewStatus {
        collection: exchange.collection()?,
        view: exchange.view()?,
    };
    match exchange.read(exchange.database()?, request).await? {
        DatabaseResponse::ViewStatus(status) => Ok(Json(status_json(&status)).into_response()),
        _ => Err(unexpected()),
    }
}

/// How a view is doing.
pub(super) fn status_json(status: &ViewStatus) -> Value {
    match status {
        ViewStatus::Ready => json!({ "state": "ready" }),
        ViewStatus::Building {
            documents,
            slots_done,
            slots,
            serves_previous,
        } => json!({
            "state": "building",
            "documents": documents,
            "slotsDone": slots_done,
            "slots": slots,
            "servesPrevious": serves_previous,
        }),
        ViewStatus::Failed(reason) => json!({ "state": "failed", "reason": reason }),
    }
}

/// The query that parameters ask for, without a limit.
fn read(exchange: &Exchange, parameters: &Parameters) -> Result<Query, Problem> {
    let after = parameters.get("after").map(|text| {
        let wrong = || {
            Problem::invalid(
                "after",
                text,
                "after must be the next of the page before, as it was",
            )
        };
        read_cursor(text).ok_or_else(wrong)
    });
    Ok(Query {
        collection: exchange.collection()?,
        view: exchange.view()?,
        keys: selection(parameters)?,
        order: parameters.order()?,
        limit: None,
        after: after.transpose()?,
        freshness: match parameters.get("freshness") {
            None | Some("current") => Freshness::Current,
            Some("stale") => Freshness::Stale,
            Some(value) => {
                let detail = "freshness must be current or stale";
                return Err(Problem::invalid("freshness", value, detail));
            }
        },
    })
}

/// The keys that parameters ask for.
fn selection(parameters: &Parameters) -> Result<KeySelection, Problem> {
    let json = |name: &'static str, read: fn(&str) -> Result<Vec<u8>, InvalidKeyJson>| {
        let value = parameters.get(name)?;
        Some(read(value).map_err(|error| wrong_key(name, value, &error)))
    };
    let ways = [
        &["key"] as &[_],
        &["keys"],
        &["prefix"],
        &["start", "start_exclusive", "end", "end_inclusive"],
    ];
    let is_given = |way: &&&[&str]| way.iter().any(|name| parameters.get(name).is_some());
    let mut given = ways.iter().filter(is_given);
    if let (Some(_), Some(second)) = (given.next(), given.next()) {
        let name = second
            .iter()
            .find(|name| parameters.get(name).is_some())
            .unwrap_or(&"key");
        let detail = "select by one of key, keys, prefix, or start and end";
        return Err(Problem::invalid(
            *name,
            parameters.get(name).unwrap_or_default(),
            detail,
        ));
    }
    if let Some(key) = json("key", key_json::read) {
        return Ok(KeySelection::These(vec![key?]));
    }
    if let Some(value) = parameters.get("keys") {
        let keys = key_json::read_many(value).map_err(|error| wrong_key("keys", value, &error))?;
        return Ok(KeySelection::These(keys));
    }
    if let Some(value) = parameters.get("prefix") {
        let (start, end) =
            key_json::read_prefix(value).map_err(|error| wrong_key("prefix", value, &error))?;
        return Ok(KeySelection::Range(start, end));
    }
    let (start, end) = (
        json("start", key_json::read).transpose()?,
        json("end", key_json::read).transpose()?,
    );
    for (flag, bound, has_bound) in [
        ("start_exclusive", "start", start.is_some()),
        ("end_inclusive", "end", end.is_some()),
    ] {
        if parameters.flag(flag)? && !has_bound {
            return Err(Problem::invalid(
                flag,
                "true",
                format!("{flag} says how {bound} is meant: add {bound}"),
            ));
        }
    }
    let end_inclusive = parameters.flag("end_inclusive")?;
    match (start, end) {
        (None, None) => Ok(KeySelection::All),
        (start, end) => {
            let end = match end {
                Some(end) if end_inclusive => key::behind(end),
                end => end,
            };
            match start {
                Some(start) if parameters.flag("start_exclusive")? => Ok(match key::behind(start) {
                    Some(start) => KeySelection::Range(start, end),
                    None => KeySelection::These(Vec::new()),
                }),
                start => Ok(KeySelection::Range(start.unwrap_or_default(), end)),
            }
        }
    }
}

fn wrong_key(name: &'static str, value: &str, error: &InvalidKeyJson) -> Problem {
    Problem::invalid(name, value, error.to_string())
}

/// A place in a view as a text, in which whoever reads it should see nothing.
fn write_cursor(cursor: &RowCursor) -> String {
    cursor.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cursor(text: &str) -> Option<RowCursor> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    (!bytes.is_empty()).then_some(RowCursor(bytes))
}

/// `{"rows":[{"key","id","value","document"?}…],"next"?}`, by hand because values are JSON text already.
fn encode(rows: &Rows) -> Option<Vec<u8>> {
    let mut out = b"{\"rows\":[".to_vec();
    let mut documents = rows.documents.iter();
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let id = Value::from(str::from_utf8(row.id).ok()?);
        out.extend_from_slice(
            format!("{{\"key\":{},\"id\":{id},\"value\":", key_json::write(row.key)?).as_bytes(),
        );
        out.extend_from_slice(row.value);
        if let Some(document) = documents.next() {
            out.extend_from_slice(b",\"document\":");
            encode_document(document, &mut out);
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = &rows.next {
        out.extend_from_slice(format!(",\"next\":\"{}\"", write_cursor(next)).as_bytes());
    }
    out.push(b'}');
    Some(out)
}

/// `{"groups":[{"key","value"}…]}`
fn encode_groups(groups: &[Group]) -> Option<Vec<u8>> {
    let mut out = b"{\"groups\":[".to_vec();
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"key\":{},\"value\":", key_json::write(&group.key)?).as_bytes());
        out.extend_from_slice(&group.value);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Some(out)
}

#[cfg(test)]
mod tests {
    use axum::extract::RawQuery;
    use pliantdb_core::{Key, KeySelection, RowCursor};

    use super::*;

    fn select(query: &str) -> Result<KeySelection, Problem> {
        selection(&Parameters::read(RawQuery(Some(query.to_owned())), &SELECTING)?)
    }

    #[test]
    fn selects_by_one_way() {
        let key = |n: u8| n.encoded();
        assert_eq!(select("").unwrap(), KeySelection::All);
        assert_eq!(select("key=1").unwrap(), KeySelection::These(vec![key(1)]));
        assert_eq!(
            select("keys=[1,%202]").unwrap(),
            KeySelection::These(vec![key(1), key(2)])
        );
        assert_eq!(
            select("start=1&end=3").unwrap(),
            KeySelection::Range(key(1), Some(key(3)))
        );
        assert_eq!(
            select("start=1&start_exclusive=true&end=3&end_inclusive=true").unwrap(),
            KeySelection::Range(key(2), Some(key(4)))
        );
        assert_eq!(
            select("end=3").unwrap(),
            KeySelection::Range(vec![], Some(key(3)))
        );
        for wrong in [
            "key=UK",
            "key=1&keys=[]",
            "prefix=\"a\"&start=1",
            "start_exclusive=true",
            "end_inclusive=true&start=1",
            "keys=1",
            "prefix=1",
            "end=1&end_inclusive=yes",
        ] {
            assert!(select(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cursors_come_back() {
        let cursor = RowCursor(vec![0, 0x1f, 0xff]);
        assert_eq!(write_cursor(&cursor), "001fff");
        assert_eq!(read_cursor("001fff"), Some(cursor));
        for wrong in ["", "0", "0g", "é"] {
            assert_eq!(read_cursor(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_selection() {
        let seeds = [
            "key=\"UK\"",
            "keys=[1,[2,null]]",
            "start=1.5&start_exclusive=true&end={\"$bytes\":\"00ff\"}&end_inclusive=true",
            "prefix=[\"a\"]",
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                if let Ok(text) = str::from_utf8(&bytes) {
                    let _ = (select(text), read_cursor(text));
                }
            });
    }
}
