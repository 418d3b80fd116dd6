//! A client by HTTP/1.1, which asks again, also other nodes, with the same `Idempotency-Key`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use load::Failure;
use pliantdb_client::RequestId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use super::ask::{Answer, Ask, DATABASE, DOCUMENTS, LEDGER, NUMBERS, Trouble, When};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long an answer is waited for before it is asked again.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What is sent.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The path and what is behind the `?`.
    pub path: String,
    /// The value of If-Match.
    pub if_match: Option<String>,
    /// Whether nothing must be there.
    pub if_absent: bool,
    /// The value of Idempotency-Key.
    pub once: Option<String>,
    /// A JSON value, if any.
    pub body: String,
}

impl Request {
    fn new(method: &'static str, path: String) -> Self {
        Self {
            method,
            path,
            ..Self::default()
        }
    }

    /// To read something.
    #[must_use]
    pub fn get(path: String) -> Self {
        Self::new("GET", path)
    }

    /// To have something done.
    #[must_use]
    pub fn post(path: String, body: String) -> Self {
        Self {
            body,
            ..Self::new("POST", path)
        }
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The entity tag without its quotes.
    pub tag: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; null, if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The end of a problem's type, and its detail.
    fn problem(&self) -> (String, String) {
        let json = self.json();
        let text = |name: &str| {
            json.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let kind = text("type");
        let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
        (kind, text("detail"))
    }
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    host: String,
    token: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn open(address: SocketAddr, token: &str) -> Result<Self, Failure> {
        let stream = timeout(CONNECTING, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host: address.to_string(),
            token: token.to_owned(),
        })
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    /// When the connection is lost before; then the request may have been carried out.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        self.send(request, "application/json").await?;
        let mut answer = Vec::with_capacity(1024);
        let head = loop {
            if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut answer).await?;
        };
        let text = str::from_utf8(answer.get(..head).unwrap_or_default())?;
        let header = |wanted: &str| {
            text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let status = text
            .split_whitespace()
            .nth(1)
            .ok_or("the answer has no status")?
            .parse()?;
        let tag = header("etag").map(|tag| tag.trim_matches('"').to_owned());
        let length = header("content-length").map_or(Ok(0), |length| length.parse::<usize>())?;
        while answer.len() < head + length {
            self.more(&mut answer).await?;
        }
        let body = answer.get(head..head + length).unwrap_or_default().to_vec();
        Ok(Response { status, tag, body })
    }

    /// Sends a request whose answer never ends; gives what it is read from.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn listen(mut self, request: &Request) -> Result<TcpStream, Failure> {
        self.send(request, "text/event-stream").await?;
        Ok(self.stream)
    }

    async fn send(&mut self, request: &Request, accept: &str) -> Result<(), Failure> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n",
            request.method, request.path, self.host, self.token
        );
        if let Some(revision) = &request.if_match {
            text.push_str(&format!("If-Match: \"{revision}\"\r\n"));
        }
        if request.if_absent {
            text.push_str("If-None-Match: *\r\n");
        }
        if let Some(once) = &request.once {
            text.push_str(&format!("Idempotency-Key: {once}\r\n"));
        }
        if !request.body.is_empty() {
            let length = request.body.len();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        text.push_str("\r\n");
        text.push_str(&request.body);
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    async fn more(&mut self, answer: &mut Vec<u8>) -> Result<(), Failure> {
        match self.stream.read_buf(answer).await? {
            0 => Err("the node closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// An id for a write, by which it is made once.
///
/// # Errors
/// When the system has no random numbers.
pub fn request_id() -> Result<RequestId, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    // Uncommon enough: drawn for each process and thread by the standard library, with a count.
    use std::hash::{BuildHasher, RandomState};
    let random =
        u128::from(RandomState::new().hash_one(0)) << 64 | u128::from(RandomState::new().hash_one(1));
    Ok(RequestId::new(u64::try_from(now)?, random))
}

/// A client.
pub struct HttpClient {
    shared: Arc<Shared>,
    node: usize,
    /// Whether it asks this node only.
    is_pinned: bool,
    connection: Option<Connection>,
}

/// What an attempt came to.
enum Attempt {
    Answer(Answer),
    /// It was not done, and never will be.
    Failed(String),
    /// It was not done; it may be asked again.
    NotYet(String),
    /// Nobody knows.
    Unknown(String),
}

impl HttpClient {
    /// One that begins at a node.
    #[must_use]
    pub fn new(shared: Arc<Shared>, node: usize) -> Self {
        Self {
            shared,
            node,
            is_pinned: false,
            connection: None,
        }
    }

    /// One that asks this node only.
    #[must_use]
    pub fn pinned(shared: Arc<Shared>, node: usize) -> Self {
        Self {
            is_pinned: true,
            ..Self::new(shared, node)
        }
    }

    /// The node that is asked.
    #[must_use]
    pub fn node(&self) -> usize {
        self.node % self.shared.places.len().max(1)
    }

    /// Asks, for as long as the clients' patience lasts, one node after the other unless it is pinned to one.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let began = Instant::now();
        let request = request(ask).map_err(|error| Trouble::Failed(error.to_string()))?;
        let is_write = ask.kind().is_write();
        // Why it may have been done.
        let mut unknown = None;
        loop {
            let left = self.shared.patience.saturating_sub(began.elapsed());
            let reason = match self.attempt(ask, &request, left.min(ATTEMPT)).await {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Failed(reason) => return Err(trouble(unknown, reason)),
                Attempt::NotYet(reason) => reason,
                Attempt::Unknown(reason) => {
                    if is_write {
                        unknown = Some(reason.clone());
                    }
                    reason
                }
            };
            self.connection = None;
            if !self.is_pinned {
                self.node += 1;
            }
            if began.elapsed() + PAUSE >= self.shared.patience {
                return Err(trouble(unknown, reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&mut self, ask: &Ask, request: &Request, patience: Duration) -> Attempt {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let Some(place) = self.shared.place(self.node) else {
                    return Attempt::Failed("there is no node".to_owned());
                };
                match Connection::open(place.http(), &self.shared.token).await {
                    Ok(connection) => connection,
                    Err(error) => return Attempt::NotYet(format!("connecting: {error}")),
                }
            }
        };
        let connection = self.connection.insert(connection);
        match timeout(patience, connection.ask(request)).await {
            Ok(Ok(response)) => understand(ask, &response),
            Ok(Err(error)) => Attempt::Unknown(error.to_string()),
            Err(_) => Attempt::Unknown("there was no answer in time".to_owned()),
        }
    }
}

fn trouble(unknown: Option<String>, last: String) -> Trouble {
    match unknown {
        Some(reason) => Trouble::Unknown(format!("{reason}; at last: {last}")),
        None => Trouble::Failed(last),
    }
}

fn request(ask: &Ask) -> Result<Request, Failure> {
    let document = |id: &str| format!("/v1/{DATABASE}/{DOCUMENTS}/{id}");
    let number = |key: &str| format!("/v1/{DATABASE}/_kv/{NUMBERS}/{key}");
    let mut request = match ask {
        Ask::Get { id } => Request::get(document(id)),
        Ask::Put { id, value, .. } => Request {
            body: json!({ "value": value }).to_string(),
            ..Request::new("PUT", document(id))
        },
        Ask::Delete { id, .. } => Request::new("DELETE", document(id)),
        Ask::Read { key } => Request::get(number(key)),
        Ask::Set { key, value } => Request {
            body: value.to_string(),
            ..Request::new("PUT", number(key))
        },
        Ask::Add { key, by } => {
            let path = format!("{}/_increment", number(key));
            Request::post(path, json!({ "by": by }).to_string())
        }
        Ask::Append { ids, value } => {
            let change = |id: &String| {
                let body = json!({ "value": value });
                json!({ "insert": { "collection": LEDGER, "id": id, "body": body } })
            };
            let changes: Vec<_> = ids.iter().map(change).collect();
            Request::post(
                format!("/v1/{DATABASE}/_transaction"),
                Value::from(changes).to_string(),
            )
        }
    };
    if let Ask::Put { when, .. } | Ask::Delete { when, .. } = ask {
        match when {
            When::Always => {}
            When::Absent => request.if_absent = true,
            When::At(revision) => request.if_match = Some(revision.clone()),
        }
    }
    if ask.kind().is_write() {
        request.once = Some(request_id()?.to_string());
    }
    Ok(request)
}

/// What a response means: `docs/http-api.md`.
fn understand(ask: &Ask, response: &Response) -> Attempt {
    let (kind, detail) = match response.status {
        200..300 => (String::new(), String::new()),
        _ => response.problem(),
    };
    let reason = || format!("{} {kind}: {detail}", response.status);
    match (response.status, kind.as_str(), ask) {
        (200..300, ..) => match answer(ask, response) {
            Some(answer) => Attempt::Answer(answer),
            None => {
                let body = String::from_utf8_lossy(&response.body);
                Attempt::Unknown(format!("{} with an unexpected body: {body}", response.status))
            }
        },
        (404, "unknown-document", Ask::Get { .. }) => Attempt::Answer(Answer::Document(None)),
        (404, "unknown-key", Ask::Read { .. }) => Attempt::Answer(Answer::Number(None)),
        (404, "unknown-document", Ask::Delete { .. }) => Attempt::Answer(Answer::Missing),
        (412, "precondition-failed", _) => {
            let current = response.json();
            let current = current
                .get("currentRevision")
                .and_then(Value::as_str)
                .map(str::to_owned);
            Attempt::Answer(Answer::Conflict(current))
        }
        (503, "busy" | "shutting-down", _) | (504, "timed-out", _) => Attempt::NotYet(reason()),
        // It changed nothing now, but may have before.
        (_, "unknown-outcome" | "request-expired", _) => Attempt::Unknown(reason()),
        (507, ..) | (400..500, ..) => Attempt::Failed(reason()),
        _ => Attempt::Unknown(reason()),
    }
}

fn answer(ask: &Ask, response: &Response) -> Option<Answer> {
    let json = response.json();
    let revision = |json: &Value| Some(json.get("revision")?.as_str()?.to_owned());
    Some(match ask {
        Ask::Get { .. } => {
            let value = json.get("value")?.as_i64()?;
            Answer::Document(Some((response.tag.clone()?, value)))
        }
        Ask::Put { .. } => Answer::Written(revision(&json)?),
        Ask::Delete { .. } => Answer::Deleted,
        Ask::Read { .. } => Answer::Number(Some(json.as_i64()?)),
        Ask::Set { .. } => Answer::Done,
        Ask::Add { .. } => Answer::Number(Some(json.get("value")?.as_i64()?)),
        Ask::Append { .. } => Answer::Written(revision(json.get("outcomes")?.get(0)?)?),
    })
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            tag: Some("r1".to_owned()),
            body: body.as_bytes().to_vec(),
        }
    }

    fn get() -> Ask {
        Ask::Get { id: "a".to_owned() }
    }

    fn put() -> Ask {
        Ask::Put {
            id: "a".to_owned(),
            value: 7,
            when: When::Always,
        }
    }

    #[test]
    fn answers_are_understood() {
        let answered = |ask: &Ask, status, body: &str| match understand(ask, &response(status, body)) {
            Attempt::Answer(answer) => answer,
            _ => panic!("{ask:?} has no answer in {status} {body}"),
        };
        assert_eq!(
            answered(&get(), 200, r#"{"value":7}"#),
            Answer::Document(Some(("r1".to_owned(), 7)))
        );
        let none = r#"{"type":"https://pliantdb.dev/problems/unknown-document"}"#;
        assert_eq!(answered(&get(), 404, none), Answer::Document(None));
        assert_eq!(
            answered(&put(), 201, r#"{"id":"a","revision":"r2"}"#),
            Answer::Written("r2".to_owned())
        );
        let conflict = r#"{"type":"x/precondition-failed","currentRevision":"r3"}"#;
        assert_eq!(
            answered(&put(), 412, conflict),
            Answer::Conflict(Some("r3".to_owned()))
        );
        let conflict = r#"{"type":"x/precondition-failed","currentRevision":null}"#;
        assert_eq!(answered(&put(), 412, conflict), Answer::Conflict(None));
    }

    #[test]
    fn what_may_have_been_done_is_told_from_what_was_not() {
        let attempt = |status, kind: &str| {
            let body = format!(r#"{{"type":"https://pliantdb.dev/problems/{kind}"}}"#);
            understand(&put(), &response(status, &body))
        };
        assert!(matches!(attempt(503, "busy"), Attempt::NotYet(_)));
        assert!(matches!(attempt(507, "disk-full"), Attempt::Failed(_)));
        assert!(matches!(attempt(404, "unknown-database"), Attempt::Failed(_)));
        assert!(matches!(attempt(409, "request-expired"), Attempt::Unknown(_)));
        for (status, kind) in [
            (500, "unknown-outcome"),
            (504, "unknown-outcome"),
            (500, "storage-failed"),
        ] {
            assert!(matches!(attempt(status, kind), Attempt::Unknown(_)));
        }
        assert!(matches!(
            trouble(Some("lost".to_owned()), "507".to_owned()),
            Trouble::Unknown(_)
        ));
        assert!(matches!(trouble(None, "507".to_owned()), Trouble::Failed(_)));
    }

    #[test]
    fn writes_are_made_once_and_each_by_an_id_of_its_own() {
        let once = |ask: &Ask| request(ask).ok().and_then(|request| request.once);
        assert_eq!(once(&get()), None);
        assert!(once(&put()).is_some() && once(&put()) != once(&put()));
    }
}
