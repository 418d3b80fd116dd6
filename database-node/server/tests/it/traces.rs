//! Spans, and a collector that takes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use pliantdb_client::blocking::Client;
use pliantdb_client::{Error, Options, StorageConnection};
use prost::Message;
use tempfile::TempDir;

use crate::node::{Node, command};

/// Takes requests until the test ends, and hands on what was posted to /v1/traces.
struct Collector {
    address: SocketAddr,
    spans: Receiver<Vec<Span>>,
}

impl Collector {
    fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, spans) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some(spans) = take(&mut stream) {
                        let _ = sender.send(spans);
                    }
                });
            }
        });
        Self { address, spans }
    }

    /// Waits for a span that `is_it`.
    fn wait(&self, is_it: impl Fn(&Span) -> bool) -> Span {
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < Duration::from_secs(20) {
            match self.spans.recv_timeout(Duration::from_millis(100)) {
                Ok(spans) => seen.extend(spans),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some(found) = seen.iter().position(&is_it) {
                return seen.swap_remove(found);
            }
        }
        panic!("no such span in {seen:#?}");
    }
}

/// One request of a connection; `None` at its end.
fn take(stream: &mut BufReader<TcpStream>) -> Option<Vec<Span>> {
    let mut length = 0;
    let mut first = String::new();
    stream.read_line(&mut first).ok().filter(|read| *read > 0)?;
    assert!(first.starts_with("POST /v1/traces "), "{first}");
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim().to_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("content-type", value)) => assert_eq!(value, "application/x-protobuf"),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    stream.get_mut().write_all(answer).ok()?;
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans);
    Some(scopes.flat_map(|scope| scope.spans).collect())
}

/// A field of a span, as text.
fn field(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|field| field.key == name);
    let value = found.and_then(|field| field.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name} is {other:?} in {span:#?}"),
    }
}

/// A node that sends its spans there, every so many milliseconds.
fn start(folder: &TempDir, endpoint: &str, interval: &str) -> Node {
    let mut command = command();
    command
        .args(["serve", "--log-format", "json", "--otlp-endpoint", endpoint])
        .args(["--listen", "127.0.0.1:0", "--quic-listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .env("OTEL_BSP_SCHEDULE_DELAY", interval);
    Node::spawn(command)
}

/// Does a few things by every door.
fn use_it(node: &Node) {
    let headers = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-request-id", "mine"),
    ];
    assert!(node.send("PUT", "/v1/default/c/a", &headers, "1").status < 300);
    assert_eq!(node.get("/v1/default/c/nothing").status, 404);
    for url in [node.quic_url(), node.websocket_url()] {
        let client = Client::connect(&url, Options::default()).unwrap();
        client.databases().unwrap();
        assert!(matches!(
            client.database::<()>("none"),
            Err(Error::UnknownDatabase(_))
        ));
    }
}

#[test]
fn spans_are_sent_to_the_collector() {
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    // What is sent comes when the node ends.
    let mut node = start(&folder, &format!("http://{}", collector.address), "60000");
    use_it(&node);
    let start = Instant::now();
    node.terminate();
    assert!(node.wait().success());
    assert!(start.elapsed() < Duration::from_secs(10));

    let mut seen = Vec::new();
    while let Ok(spans) = collector.spans.recv_timeout(Duration::from_millis(500)) {
        seen.extend(spans);
    }
    let find = |name: &str, is_it: &dyn Fn(&Span) -> bool| {
        let found = seen.iter().find(|span| span.name == name && is_it(span));
        found.unwrap_or_else(|| panic!("no {name} in {seen:#?}"))
    };
    let put = find("PUT /v1/{db}/{collection}/{id}", &|_| true);
    assert_eq!(field(put, "id"), "mine");
    assert_eq!(field(put, "http.request.method"), "PUT");
    assert_eq!(field(put, "http.response.status_code"), "201");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&put.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&put.parent_span_id), "b7ad6b7169203331");
    let get = find("GET /v1/{db}/{collection}/{id}", &|_| true);
    assert_eq!(field(get, "http.response.status_code"), "404");
    assert!(get.parent_span_id.is_empty());
    for door in ["quic", "websocket"] {
        let listed = find("databases", &|span| field(span, "door") == door);
        assert_eq!(field(listed, "result"), "ok");
        assert!(!field(listed, "user.name").is_empty() && field(listed, "id").len() == 36);
        let opened = find("open_database", &|span| field(span, "door") == door);
        assert_eq!(field(opened, "db.namespace"), "none");
        assert_eq!(field(opened, "result"), "unknown_database");
    }
    assert!(!node.log().contains("collector"), "{}", node.log());
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for address in [silent.local_addr().unwrap(), gone] {
        let folder = tempfile::tempdir().unwrap();
        let mut node = start(&folder, &format!("http://{address}"), "20");
        let start = Instant::now();
        for _ in 0..10 {
            use_it(&node);
            std::thread::sleep(Duration::from_millis(30));
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let start = Instant::now();
        node.terminate();
        assert!(node.wait().success());
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        let complaints = node.log().matches("takes no spans").count();
        assert!(complaints <= 1, "{}", node.log());
    }
}

#[test]
fn a_collector_that_comes_back_gets_spans_again() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder, &format!("http://{address}"), "100");
    node.get("/v1/default/c/a");
    node.wait_for_log("takes no spans");
    let collector = Collector::serve(TcpListener::bind(address).unwrap());
    node.get("/v1/default/c/b");
    let span = collector.wait(|span| span.name == "GET /v1/{db}/{collection}/{id}");
    assert_eq!(field(&span, "http.response.status_code"), "404");
    node.wait_for_log("takes spans again");
}
