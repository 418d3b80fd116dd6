//! Requests as HTTP requests, and what comes back as responses.

use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pliantdb_core::{
    Body, Change, ChangeAction, ChangeKind, ChangeOutcome, ChangedDocument, ChangesPage,
    CommittedTransaction, Document, DocumentId, Error, FeedStart, Group, KeyPage, KeySelection, Order, Page,
    Precondition, Rejection, Request, Response, Revision, Rows,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Answer;
use super::{Database, view_queries};

fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query string.
#[derive(Default)]
pub(crate) struct Parameters(Vec<String>);

impl Parameters {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(format!("{name}={}", segment(value)));
        self
    }

    pub(crate) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn order(self, order: Order) -> Self {
        match order {
            Order::Ascending => self,
            Order::Descending => self.with("order", "desc"),
        }
    }

    pub(crate) fn to(&self, path: &str) -> String {
        format!("{path}?{}", self.0.join("&"))
    }
}

#[derive(Deserialize)]
pub(crate) struct JsonDocument {
    id: DocumentId,
    revision: String,
    body: Box<RawValue>,
}

impl From<JsonDocument> for Document {
    fn from(document: JsonDocument) -> Self {
        Self {
            id: document.id,
            revision: document.revision.parse().unwrap(),
            body: body(&document.body),
        }
    }
}

pub(crate) fn body(json: &RawValue) -> Body {
    Body::try_from(json.get().to_owned()).unwrap()
}

#[derive(Deserialize)]
struct JsonPage {
    documents: Vec<JsonDocument>,
    next: Option<DocumentId>,
}

impl From<JsonPage> for Page {
    fn from(page: JsonPage) -> Self {
        Self {
            documents: page.documents.into_iter().map(Document::from).collect(),
            next: page.next,
            too_large: None,
        }
    }
}

pub(crate) fn read<'j, T: Deserialize<'j>>(answer: &'j Answer) -> T {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

impl Database {
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Error> {
        self.send_with(method, path, Vec::new(), body)
    }

    fn send_with(
        &self,
        method: &str,
        path: &str,
        mut headers: Vec<(&str, String)>,
        body: Option<&str>,
    ) -> Result<Answer, Error> {
        if let Some(number) = self.number {
            headers.push(("Database-Number", number.to_string()));
        }
        self.client.send(method, path, &headers, body)
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/{}/{rest}", self.name)
    }

    pub(crate) fn execute(&self, request: Request) -> Result<Response, Error> {
        match request {
            Request::Get { collection, ids } => match ids.as_slice() {
                [id] => self.get(collection.as_str(), id),
                ids => {
                    let path = self.path(&format!("{collection}/_get"));
                    let answer = self.send("POST", &path, Some(&json!(ids).to_string()))?;
                    Ok(Response::Documents(
                        Page::from(read::<JsonPage>(&answer)).documents,
                    ))
                }
            },
            Request::List { listing, .. } if listing.limit == 0 => Ok(Response::Page(Page::default())),
            Request::List { collection, listing } => {
                let parameters = Parameters::default()
                    .with("prefix", &listing.prefix)
                    .with_some("after", listing.after.as_ref().map(DocumentId::as_str))
                    .with("limit", &listing.limit.min(1000).to_string())
                    .order(listing.order);
                let answer = self.send("GET", &parameters.to(&self.path(collection.as_str())), None)?;
                Ok(Response::Page(read::<JsonPage>(&answer).into()))
            }
            Request::Count { collection, listing } => {
                let parameters = Parameters::default()
                    .with("prefix", &listing.prefix)
                    .with_some("after", listing.after.as_ref().map(DocumentId::as_str))
                    .order(listing.order);
                let path = self.path(&format!("{collection}/_count"));
                let answer = self.send("GET", &parameters.to(&path), None)?;
                Ok(Response::Count(answer.json()["count"].as_u64().unwrap()))
            }
            Request::Transact(changes) => {
                let wanted: Vec<_> = changes.iter().map(wanted).collect();
                self.transact(changes)
                    .map_err(|error| with_wanted(error, &wanted))
            }
            Request::Query { query, .. } if query.limit == Some(0) => Ok(Response::Rows(Rows::default())),
            Request::Query {
                query,
                with_documents,
            } => self.query(&query, with_documents),
            Request::Reduce(query) => {
                #[derive(Deserialize)]
                struct Reduced {
                    value: Box<RawValue>,
                }
                let path = self
                    .selected(&query)
                    .with("reduce", "true")
                    .to(&self.view(&query));
                let answer = self.send("GET", &path, None)?;
                let value = read::<Reduced>(&answer).value.get().as_bytes().to_vec();
                Ok(Response::Groups(vec![Group {
                    key: Vec::new(),
                    value,
                }]))
            }
            Request::ReduceGrouped(query) => self.groups(&query),
            Request::DeleteMatching(query) => {
                let parameters = self.selected(&query);
                let parameters = match query.keys {
                    KeySelection::All => parameters.with("all", "true"),
                    _ => parameters,
                };
                let answer = self.send("DELETE", &parameters.to(&self.view(&query)), None)?;
                Ok(Response::Count(answer.json()["deleted"].as_u64().unwrap()))
            }
            Request::ViewStatus { collection, view } => {
                let answer = self.send(
                    "GET",
                    &self.path(&format!("{collection}/_views/{view}/_status")),
                    None,
                )?;
                Ok(Response::ViewStatus(view_queries::view_status(&answer.json())))
            }
            Request::GetKey { namespace, key } => {
                let path = self.path(&format!("_kv/{namespace}/{}", segment(key.as_str())));
                match self.send("GET", &path, None) {
                    Ok(answer) => Ok(Response::Value(Some(Body::try_from(answer.body).unwrap()))),
                    Err(Error::Storage(problem)) if problem.contains("unknown-key") => {
                        Ok(Response::Value(None))
                    }
                    Err(error) => Err(error),
                }
            }
            Request::ListKeys { listing, .. } if listing.limit == 0 => Ok(Response::Keys(KeyPage::default())),
            Request::ListKeys { namespace, listing } => {
                #[derive(Deserialize)]
                struct Entry {
                    key: String,
                    value: Box<RawValue>,
                }
                #[derive(Deserialize)]
                struct Entries {
                    keys: Vec<Entry>,
                    next: Option<String>,
                }
                let parameters = Parameters::default()
                    .with("prefix", &listing.prefix)
                    .with_some("after", listing.after.as_ref().map(|key| key.as_str()))
                    .with("limit", &listing.limit.min(1000).to_string())
                    .with("max_bytes", &listing.max_bytes.min(4 << 20).to_string())
                    .order(listing.order);
                let path = parameters.to(&self.path(&format!("_kv/{namespace}")));
                let answer = self.send("GET", &path, None)?;
                let found: Entries = read(&answer);
                let keys = found.keys.iter();
                Ok(Response::Keys(KeyPage {
                    keys: keys
                        .map(|entry| (entry.key.parse().unwrap(), body(&entry.value)))
                        .collect(),
                    next: found.next.map(|next| next.parse().unwrap()),
                }))
            }
            Request::ChangeKey {
                namespace,
                key,
                action,
            } => {
                let path = self.path(&format!("_kv/{namespace}/{}", segment(key.as_str())));
                self.change_key(&path, action).map(Response::Key)
            }
            Request::Publish(message) => {
                let path = self.path(&format!("_topics/{}", segment(message.topic.as_str())));
                let answer = self.send("POST", &path, Some(message.payload.as_str()))?;
                Ok(Response::Count(answer.json()["receivers"].as_u64().unwrap()))
            }
            Request::Changes { from, limit, wait } => self.changes(from, limit, wait),
            Request::Call { api, body } => {
                let path = format!("/api/{}/{api}", self.name);
                match self.send("POST", &path, Some(body.as_str())) {
                    Ok(answer) => Ok(Response::Called(Ok(Body::try_from(answer.body).unwrap()))),
                    Err(Error::Storage(problem)) if problem.contains("api-refused") => {
                        let problem: Value = serde_json::from_str(&problem).unwrap();
                        Ok(Response::Called(Err(Body::of(&problem["error"]).unwrap())))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn get(&self, collection: &str, id: &DocumentId) -> Result<Response, Error> {
        let path = self.path(&format!("{collection}/{}", segment(id.as_str())));
        match self.send("GET", &path, None) {
            Ok(answer) => Ok(Response::Documents(vec![Document {
                id: id.clone(),
                revision: answer.etag.unwrap().trim_matches('"').parse().unwrap(),
                body: Body::try_from(answer.body).unwrap(),
            }])),
            Err(Error::Rejected(Rejection::UnknownDocument { .. })) => Ok(Response::Documents(Vec::new())),
            Err(error) => Err(error),
        }
    }

    fn transact(&self, changes: Vec<Change>) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct Outcomes {
            outcomes: Vec<Value>,
        }
        if let [change] = changes.as_slice()
            && let Some(outcome) = self.change(change)?
        {
            return Ok(Response::Transacted(vec![outcome]));
        }
        let asked: Vec<_> = changes.iter().map(change_json).collect();
        let asked = format!("[{}]", asked.join(","));
        let answer = self.send("POST", &self.path("_transaction"), Some(&asked))?;
        let outcomes = read::<Outcomes>(&answer).outcomes;
        let outcome = |outcome: &Value| match outcome["outcome"].as_str().unwrap() {
            "deleted" => ChangeOutcome::Deleted,
            "checked" => ChangeOutcome::Checked,
            written => self::written(outcome, written == "created"),
        };
        Ok(Response::Transacted(outcomes.iter().map(outcome).collect()))
    }

    /// Makes a change that there is a route for.
    fn change(&self, change: &Change) -> Result<Option<ChangeOutcome>, Error> {
        let Change { collection, action } = change;
        let at = |id: &DocumentId| self.path(&format!("{collection}/{}", segment(id.as_str())));
        let answer = match action {
            ChangeAction::Insert { id: None, body } => {
                self.send("POST", &self.path(collection.as_str()), Some(body.as_str()))?
            }
            ChangeAction::Put {
                id,
                body,
                precondition,
            } => self.send_with("PUT", &at(id), condition(precondition), Some(body.as_str()))?,
            ChangeAction::Delete { id, precondition } => {
                self.send_with("DELETE", &at(id), condition(precondition), None)?;
                return Ok(Some(ChangeOutcome::Deleted));
            }
            ChangeAction::Insert { .. } | ChangeAction::Check { .. } => return Ok(None),
        };
        Ok(Some(written(&answer.json(), answer.status == 201)))
    }

    fn changes(&self, from: FeedStart, limit: usize, wait: Duration) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct JsonChange {
            collection: pliantdb_core::CollectionName,
            id: DocumentId,
            kind: String,
        }
        #[derive(Deserialize)]
        struct JsonTransaction {
            revision: String,
            changes: Vec<JsonChange>,
        }
        #[derive(Deserialize)]
        struct JsonChanges {
            transactions: Vec<JsonTransaction>,
            next: String,
        }
        let (start, mut from) = (Instant::now(), from);
        loop {
            let left = wait.saturating_sub(start.elapsed()).min(Duration::from_secs(60));
            let parameters = Parameters::default()
                .with("limit", &limit.to_string())
                .with("wait", &format!("{}ms", left.as_micros().div_ceil(1000)));
            let parameters = match &from {
                FeedStart::Oldest => parameters,
                FeedStart::Now => parameters.with("from", "now"),
                FeedStart::After(cursor) => parameters.with("after", &cursor.to_string()),
            };
            let answer = self.send("GET", &parameters.to(&self.path("_changes")), None)?;
            let page: JsonChanges = read(&answer);
            let next = page.next.parse().unwrap();
            if page.transactions.is_empty() && start.elapsed() < wait {
                from = FeedStart::After(next);
                continue;
            }
            let transactions = page.transactions.into_iter().map(|transaction| {
                let changes = transaction.changes.into_iter().map(|change| ChangedDocument {
                    collection: change.collection,
                    id: change.id,
                    kind: match change.kind.as_str() {
                        "inserted" => ChangeKind::Inserted,
                        "updated" => ChangeKind::Updated,
                        _ => ChangeKind::Deleted,
                    },
                });
                CommittedTransaction {
                    timestamp: transaction.revision.parse::<Revision>().unwrap().timestamp(),
                    changes: changes.collect(),
                }
            });
            let transactions = transactions.collect();
            return Ok(Response::Changes(ChangesPage { transactions, next }));
        }
    }
}

fn written(json: &Value, created: bool) -> ChangeOutcome {
    let text = |name: &str| json[name].as_str().unwrap();
    ChangeOutcome::Written {
        id: text("id").parse().unwrap(),
        revision: text("revision").parse().unwrap(),
        created,
    }
}

/// What a precondition is as headers.
fn condition(precondition: &Precondition) -> Vec<(&'static str, String)> {
    match precondition {
        Precondition::None => Vec::new(),
        Precondition::Absent => vec![("If-None-Match", "*".to_owned())],
        Precondition::Exists => vec![("If-Match", "*".to_owned())],
        Precondition::Revision(revision) => vec![("If-Match", format!("\"{revision}\""))],
    }
}

/// A change as a part of a transaction.
fn change_json(change: &Change) -> String {
    let collection = &change.collection;
    let at = |id: &DocumentId| format!("\"collection\":\"{collection}\",\"id\":{}", json!(id));
    match &change.action {
        ChangeAction::Insert { id: None, body } => {
            let body = body.as_str();
            format!("{{\"insert\":{{\"collection\":\"{collection}\",\"body\":{body}}}}}")
        }
        ChangeAction::Insert { id: Some(id), body } => {
            format!("{{\"insert\":{{{},\"body\":{}}}}}", at(id), body.as_str())
        }
        ChangeAction::Put {
            id,
            body,
            precondition,
        } => {
            let (at, body) = (at(id), body.as_str());
            match precondition {
                Precondition::None => format!("{{\"overwrite\":{{{at},\"body\":{body}}}}}"),
                Precondition::Absent => format!("{{\"insert\":{{{at},\"body\":{body}}}}}"),
                Precondition::Exists => format!("{{\"update\":{{{at},\"body\":{body}}}}}"),
                Precondition::Revision(revision) => {
                    format!("{{\"update\":{{{at},\"body\":{body},\"revision\":\"{revision}\"}}}}")
                }
            }
        }
        ChangeAction::Delete { id, precondition } => match precondition {
            Precondition::Revision(revision) => {
                format!("{{\"delete\":{{{},\"revision\":\"{revision}\"}}}}", at(id))
            }
            _ => format!("{{\"delete\":{{{}}}}}", at(id)),
        },
        ChangeAction::Check { id, precondition } => {
            let what = match precondition {
                Precondition::Revision(revision) => format!("\"revision\":\"{revision}\""),
                precondition => format!("\"exists\":{}", *precondition == Precondition::Exists),
            };
            format!("{{\"check\":{{{},{what}}}}}", at(id))
        }
    }
}

/// What a change wants to hold, and of which document.
fn wanted(change: &Change) -> (Option<DocumentId>, Precondition) {
    match &change.action {
        ChangeAction::Insert { id, .. } => (id.clone(), Precondition::Absent),
        ChangeAction::Put { id, precondition, .. }
        | ChangeAction::Delete { id, precondition }
        | ChangeAction::Check { id, precondition } => (Some(id.clone()), *precondition),
    }
}

/// The error with what was wanted, which problems do not repeat.
fn with_wanted(error: Error, asked: &[(Option<DocumentId>, Precondition)]) -> Error {
    match error {
        Error::Rejected(Rejection::PreconditionFailed { id, current, .. }) => {
            let meant = asked.iter().find(|(of, _)| of.as_ref() == Some(&id));
            let wanted = meant.map_or(Precondition::None, |(_, wanted)| *wanted);
            Rejection::PreconditionFailed { id, wanted, current }.into()
        }
        error => error,
    }
}
