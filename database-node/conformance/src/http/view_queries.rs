//! Queries of views as requests.

use pliantdb_core::{
    Document, Error, Freshness, Group, KeySelection, Query, Response, RowCursor, Rows, ViewStatus, key_json,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Database;
use super::translation::{JsonDocument, Parameters, read};

impl Database {
    pub(crate) fn view(&self, query: &Query) -> String {
        self.path(&format!("{}/_views/{}", query.collection, query.view))
    }

    pub(crate) fn selected(&self, query: &Query) -> Parameters {
        let json = |key: &[u8]| key_json::write(key).unwrap();
        let parameters = Parameters::default()
            .order(query.order)
            .with_some("limit", query.limit.map(|limit| limit.to_string()).as_deref());
        let parameters = match query.freshness {
            Freshness::Current => parameters,
            Freshness::Stale => parameters.with("freshness", "stale"),
        };
        match &query.keys {
            KeySelection::All => parameters,
            KeySelection::These(keys) => match keys.as_slice() {
                [key] => parameters.with("key", &json(key)),
                keys => {
                    let keys: Vec<_> = keys.iter().map(|key| json(key)).collect();
                    parameters.with("keys", &format!("[{}]", keys.join(",")))
                }
            },
            KeySelection::Range(start, end) => match key_json::write(start) {
                // The beginning of texts.
                None if !start.is_empty() => {
                    let prefix = key_json::write(&[start.as_slice(), &[0, 1]].concat()).unwrap();
                    parameters.with("prefix", &prefix)
                }
                start => {
                    let parameters = parameters.with_some("start", start.as_deref());
                    match end {
                        None => parameters,
                        Some(end) => end_of(parameters, end),
                    }
                }
            },
        }
    }

    pub(crate) fn query(&self, query: &Query, with_documents: bool) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct JsonRow {
            key: Box<RawValue>,
            id: String,
            value: Box<RawValue>,
            document: Option<JsonDocument>,
        }
        #[derive(Deserialize)]
        struct JsonRows {
            rows: Vec<JsonRow>,
            next: Option<String>,
        }
        let limited = Query {
            limit: Some(query.limit.unwrap_or(1000).min(1000)),
            ..query.clone()
        };
        let after = query
            .after
            .as_ref()
            .map(|after| str::from_utf8(&after.0).unwrap());
        let parameters = self.selected(&limited).with_some("after", after);
        let parameters = match with_documents {
            true => parameters.with("with_docs", "true"),
            false => parameters,
        };
        let answer = self.send("GET", &parameters.to(&self.view(query)), None)?;
        let found: JsonRows = read(&answer);
        let mut rows = Rows::default();
        for row in found.rows {
            let key = key_json::read(row.key.get()).unwrap();
            rows.push(&key, row.id.as_bytes(), row.value.get().as_bytes());
            rows.documents.extend(row.document.map(Document::from));
        }
        rows.next = found.next.map(|next| RowCursor(next.into_bytes()));
        Ok(Response::Rows(rows))
    }

    pub(crate) fn groups(&self, query: &Query) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct JsonGroup {
            key: Box<RawValue>,
            value: Box<RawValue>,
        }
        #[derive(Deserialize)]
        struct JsonGroups {
            groups: Vec<JsonGroup>,
        }
        let path = self.selected(query).with("group", "true").to(&self.view(query));
        let answer = self.send("GET", &path, None)?;
        let groups = read::<JsonGroups>(&answer).groups.into_iter().map(|group| Group {
            key: key_json::read(group.key.get()).unwrap(),
            value: group.value.get().as_bytes().to_vec(),
        });
        Ok(Response::Groups(groups.collect()))
    }
}

/// The end of a range: a key that is not in it, or the first bytes behind one that is.
fn end_of(parameters: Parameters, end: &[u8]) -> Parameters {
    if let Some(end) = key_json::write(end) {
        return parameters.with("end", &end);
    }
    let mut last = end.to_vec();
    if let Some(byte) = last.last_mut() {
        *byte -= 1;
    }
    let last = key_json::write(&last).unwrap();
    parameters.with("end", &last).with("end_inclusive", "true")
}

/// How a view is doing.
pub(crate) fn view_status(json: &Value) -> ViewStatus {
    let number = |name: &str| json[name].as_u64().unwrap();
    match json["state"].as_str().unwrap() {
        "ready" => ViewStatus::Ready,
        "failed" => ViewStatus::Failed(json["reason"].as_str().unwrap().to_owned()),
        _ => ViewStatus::Building {
            documents: number("documents"),
            slots_done: number("slotsDone").try_into().unwrap(),
            slots: number("slots").try_into().unwrap(),
            serves_previous: json["servesPrevious"].as_bool().unwrap(),
        },
    }
}
