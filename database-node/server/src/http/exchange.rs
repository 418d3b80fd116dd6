//! One request and what it takes to answer it: who asks, of which database, and what the path names.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::Method;
use axum::http::request::Parts;
use pliantdb_core::protocol::{Ask, DatabaseHandle, Reply};
use pliantdb_core::{
    ApiName, CollectionName, Consistency, DatabaseName, Document, DocumentId, Error, KeyName, NamespaceName,
    Request, RequestId, Response, Topic, ViewName,
};
use pliantdb_storage::Found;

use super::parameters::parse;
use super::{Problem, conditions, consistency};
use crate::access::Caller;
use crate::app::App;
use crate::dispatch::{Answered, Terms};
use crate::metrics::{self, Asked, Door};
use crate::request_memory::Reserved;

/// The header by which a write is made once.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header that says which database of a name is meant.
const DATABASE_NUMBER: &str = "Database-Number";

/// One request, without its query and body.
pub(super) struct Exchange {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    /// What stands for each parameter of the route.
    segments: Vec<(String, String)>,
    number: Option<u32>,
    request_id: Option<RequestId>,
    consistency: Consistency,
    told: consistency::Told,
}

impl FromRequestParts<Arc<App>> for Exchange {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if parts.method == Method::POST {
            conditions::of_post(&parts.headers)?;
        }
        let segments = Path::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        let Path(segments) = segments.map_err(|error| unreadable(parts, &error))?;
        let caller = Extension::<Caller>::from_request_parts(parts, app).await;
        let Extension(caller) = caller.map_err(|_| Problem::from(Error::unexpected_answer()))?;
        Ok(Self {
            app: Arc::clone(app),
            caller,
            segments,
            number: header(
                parts,
                DATABASE_NUMBER,
                "a whole number, as GET /v1/{database} answers it",
            )?,
            request_id: header(
                parts,
                IDEMPOTENCY_KEY,
                "a UUID of version 7, such as 0190f2a4-c1d3-7a5e-9c41-5be2f0a6d3c8, made anew for each write",
            )?,
            consistency: consistency::asked(parts)?,
            told: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// A header that stands at most once.
pub(super) fn header<T: std::str::FromStr>(
    parts: &Parts,
    name: &'static str,
    right: &str,
) -> Result<Option<T>, Problem> {
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let parsed = text.trim().parse().ok().filter(|_| values.next().is_none());
    let wrong = || Problem::invalid(name, &text, format!("{name} must be given once, and be {right}"));
    parsed.map(Some).ok_or_else(wrong)
}

fn unreadable(parts: &Parts, error: &PathRejection) -> Problem {
    let detail = format!("the path must be percent-encoded UTF-8: {error}");
    Problem::invalid("path", parts.uri.path(), detail)
}

/// What the path says.
impl Exchange {
    fn segment<T: TryFrom<String, Error: std::fmt::Display>>(
        &self,
        parameter: &str,
        field: &'static str,
    ) -> Result<T, Problem> {
        let found = self.segments.iter().find(|(name, _)| name == parameter);
        let value = found.map(|(_, value)| value.clone()).unwrap_or_default();
        parse(field, value)
    }

    /// The database; `default` on routes that do not name one.
    pub(super) fn database(&self) -> Result<DatabaseHandle, Problem> {
        let name = match self.segments.iter().any(|(name, _)| name == "db") {
            true => self.database_name()?,
            false => DatabaseName::default_database(),
        };
        let number = self.number;
        Ok(DatabaseHandle { name, number })
    }

    pub(super) fn database_name(&self) -> Result<DatabaseName, Problem> {
        self.segment("db", "database")
    }

    pub(super) fn collection(&self) -> Result<CollectionName, Problem> {
        self.segment("collection", "collection")
    }

    pub(super) fn id(&self) -> Result<DocumentId, Problem> {
        self.segment("id", "id")
    }

    pub(super) fn view(&self) -> Result<ViewName, Problem> {
        self.segment("view", "view")
    }

    pub(super) fn namespace(&self) -> Result<NamespaceName, Problem> {
        self.segment("namespace", "namespace")
    }

    pub(super) fn key(&self) -> Result<KeyName, Problem> {
        self.segment("key", "key")
    }

    pub(super) fn topic(&self) -> Result<Topic, Problem> {
        self.segment("topic", "topic")
    }

    pub(super) fn api(&self) -> Result<ApiName, Problem> {
        self.segment("name", "name")
    }
}

/// What is asked.
impl Exchange {
    /// Counts a question.
    pub(super) fn asked(&self, operation: &'static str) -> Asked<'_> {
        self.app.metrics.asked(Door::Http, operation)
    }

    /// Asks the server, for as long as a request may take.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Reply, Problem> {
        self.refuse_request_id()?;
        let asked = self.asked(metrics::operation(&ask));
        let asking = asked.when(self.app.dispatcher().ask(&self.caller, ask, self.terms()));
        match tokio::time::timeout(self.app.request_timeout, asking).await {
            Ok(answered) => Ok(self.told(answered?)),
            Err(_) => Err(Problem::unknown_outcome()),
        }
    }

    /// Asks a database for something that changes nothing.
    pub(super) async fn read(&self, database: DatabaseHandle, request: Request) -> Result<Response, Problem> {
        self.refuse_request_id()?;
        self.read_within(self.app.request_timeout, database, request)
            .await
    }

    /// As [`Exchange::read`], with a time of its own.
    pub(super) async fn read_within(
        &self,
        timeout: Duration,
        database: DatabaseHandle,
        request: Request,
    ) -> Result<Response, Problem> {
        let ask = Ask::Request { database, request };
        let asked = self.asked(metrics::operation(&ask));
        let asking = asked.when(self.app.dispatcher().ask(&self.caller, ask, self.terms()));
        match tokio::time::timeout(timeout, asking).await {
            Ok(answered) => response(self.told(answered?)),
            Err(_) => Err(Problem::timed_out(timeout)),
        }
    }

    /// Reads documents from one moment; `None` when they are too large together.
    pub(super) async fn read_many(
        &self,
        database: DatabaseHandle,
        collection: CollectionName,
        ids: Vec<DocumentId>,
    ) -> Result<Option<Vec<Document>>, Problem> {
        self.refuse_request_id()?;
        let asked = self.asked("get");
        let dispatcher = self.app.dispatcher();
        let reading = dispatcher.read_many(&self.caller, database, collection, ids, self.consistency);
        match tokio::time::timeout(self.app.request_timeout, asked.when(reading)).await {
            Ok(read) => {
                let (found, position) = read?;
                self.told.note(position);
                Ok(found)
            }
            Err(_) => Err(Problem::timed_out(self.app.request_timeout)),
        }
    }

    /// Asks a database for a change. It goes on when nobody waits for it any longer, and only then its memory is given
    /// back.
    pub(super) async fn write(
        &self,
        database: DatabaseHandle,
        request: Request,
        memory: Option<Reserved>,
    ) -> Result<Response, Problem> {
        if !request.is_write() {
            self.refuse_request_id()?;
        }
        let ask = Ask::Request { database, request };
        let asked = self.asked(metrics::operation(&ask));
        let dispatcher = self.app.dispatcher();
        let asking = asked.when(dispatcher.ask_holding(&self.caller, ask, self.terms(), memory));
        match tokio::time::timeout(self.app.request_timeout, asking).await {
            Ok(answered) => response(self.told(answered?)),
            Err(_) => Err(Problem::unknown_outcome()),
        }
    }

    /// Reads one document, unless its body is larger than `within` bytes.
    pub(super) async fn look_up(
        &self,
        database: &DatabaseHandle,
        collection: &CollectionName,
        id: &DocumentId,
        within: usize,
    ) -> Result<Found, Problem> {
        let asked = self.asked("get");
        let (dispatcher, key) = (self.app.dispatcher(), (collection.clone(), id.clone()));
        let reading = dispatcher.look_up(&self.caller, database, key, within, self.consistency);
        match tokio::time::timeout(self.app.request_timeout, asked.when(reading)).await {
            Ok(read) => {
                let (found, position) = read?;
                self.told.note(position);
                Ok(found)
            }
            Err(_) => Err(Problem::timed_out(self.app.request_timeout)),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            id: self.request_id,
            consistency: self.consistency,
        }
    }

    /// What was answered; the client is told of which moment.
    fn told(&self, answered: Answered) -> Reply {
        self.told.note(answered.position);
        answered.reply
    }

    /// Refuses a promise that cannot be kept.
    fn refuse_request_id(&self) -> Result<(), Problem> {
        match self.request_id {
            None => Ok(()),
            Some(id) => Err(Problem::invalid(
                IDEMPOTENCY_KEY,
                &id.to_string(),
                "only writes of documents and keys can be made once: leave the header out",
            )),
        }
    }
}

fn response(reply: Reply) -> Result<Response, Problem> {
    match reply {
        Reply::Response(response) => Ok(response),
        _ => Err(unexpected()),
    }
}

/// An answer of another kind than was asked for, which is a fault of this program.
pub(super) fn unexpected() -> Problem {
    Error::unexpected_answer().into()
}
