//! Clients by HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use load::Failure;
use load::http::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::schema::{THINGS, Thing, group, id};
use crate::work::Work;

/// How many keep their connections.
const KEPT: usize = 4;
/// Between the steps of one.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts them.
pub fn start(work: &Arc<Work>, running: &mut Vec<JoinHandle<()>>) {
    for _ in 0..KEPT {
        let work = Arc::clone(work);
        running.push(tokio::spawn(async move {
            let connection = match Connection::open(work.http).await {
                Ok(connection) => Arc::new(Mutex::new(connection)),
                Err(failure) => return work.failed("http", &failure),
            };
            let step = |dice| {
                let connection = Arc::clone(&connection);
                async move { kept(&mut *connection.lock().await, dice).await }
            };
            work.repeat("http", PAUSE, step).await;
        }));
    }
    let (events, feeds) = (Arc::clone(work), Arc::clone(work));
    running.push(tokio::spawn(async move {
        events
            .repeat("http events", PAUSE, |dice| messages(events.http, dice))
            .await;
    }));
    running.push(tokio::spawn(async move {
        feeds.repeat("http feed", PAUSE, |_| feed(feeds.http)).await;
    }));
}

async fn kept(connection: &mut Connection, dice: u64) -> Result<(), Failure> {
    let (number, version) = ((dice >> 8) % THINGS, dice >> 24);
    let thing = || serde_json::to_string(&Thing::new(number, version));
    let (method, path, body) = match dice % 12 {
        0 | 1 => ("PUT", format!("/v1/default/things/{}", id(number)), thing()?),
        2 => (
            "GET",
            format!("/v1/default/things?after={}&limit=20", id(number)),
            String::new(),
        ),
        3 => ("GET", "/v1/default/things/_count".to_owned(), String::new()),
        4 => {
            let key = format!("%22{}%22", group(version));
            let path = format!("/v1/default/things/_views/by-group?key={key}&limit=20");
            ("GET", path, String::new())
        }
        5 => {
            let body = format!("\"{version}\"");
            ("PUT", format!("/v1/default/_kv/soak/key-{}", number % 200), body)
        }
        6 => {
            let path = format!("/v1/default/_kv/soak/number-{}/_increment", number % 20);
            ("POST", path, "{\"by\": 1}".to_owned())
        }
        7 => (
            "POST",
            "/v1/default/_topics/soak.http".to_owned(),
            version.to_string(),
        ),
        8 => ("GET", "/v1/default/_changes?from=now".to_owned(), String::new()),
        9 => {
            let thing = thing()?;
            let id = id(number);
            let body = format!(
                "[{{\"overwrite\": {{\"collection\": \"things\", \"id\": \"{id}\", \"body\": {thing}}}}}]"
            );
            ("POST", "/v1/default/_transaction".to_owned(), body)
        }
        10 => ("POST", "/api/echo".to_owned(), "{\"text\": \"here\"}".to_owned()),
        _ => ("GET", "/openapi.json".to_owned(), String::new()),
    };
    connection.ask(method, &path, &body).await.map(drop)
}

/// Reads what an answer has until `sign` is in it.
pub async fn read_until(stream: &mut TcpStream, sign: &str) -> Result<String, Failure> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if text.contains(sign) {
            return Ok(text.into_owned());
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(format!(
                "the answer ended without {sign:?}: {}",
                String::from_utf8_lossy(&answer)
            )
            .into());
        }
    }
}

/// Subscribes, hears one message and goes.
async fn messages(address: SocketAddr, dice: u64) -> Result<(), Failure> {
    let topic = format!("soak.events.{dice}");
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/default/_subscribe?topic={topic} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    read_until(&mut stream, "\r\n\r\n").await?;
    let mut connection = Connection::open(address).await?;
    let path = format!("/v1/default/_topics/{topic}");
    connection.ask("POST", &path, &dice.to_string()).await?;
    read_until(&mut stream, "data: ").await.map(drop)
}

/// Follows the changes until the first, and goes.
async fn feed(address: SocketAddr) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        "GET /v1/default/_changes?from=now HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    read_until(&mut stream, "data: ").await.map(drop)
}
