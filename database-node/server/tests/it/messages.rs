//! Messages, by server-sent events.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::node::Node;

/// An answer that goes on.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// Asks for it, and reads its head.
    pub(crate) fn of(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut events = Self(BufReader::new(stream));
        let head = events.until(|line| line == "\r\n");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        events
    }

    /// The lines up to one, which is the last.
    pub(crate) fn until(&mut self, is_last: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended: {text}");
            text.push_str(&line);
            if is_last(&line) {
                return text;
            }
        }
    }

    /// The next event with that name, to its data.
    pub(crate) fn event(&mut self, name: &str) -> String {
        self.until(|line| line.trim() == format!("event: {name}"));
        self.until(|line| line.starts_with("data: "))
    }

    /// Reads to the end.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut self.0, &mut rest);
        rest
    }
}

fn publish(node: &Node, topic: &str, payload: &str) -> u64 {
    let answer = node.send("POST", &format!("/v1/default/_topics/{topic}"), &[], payload);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["receivers"].as_u64().unwrap()
}

#[test]
fn reach_who_listens() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    assert_eq!(publish(&node, "orders.created", "1"), 0);
    let mut orders = Events::of(node.address, "/v1/default/_subscribe?topic=orders.*", "");
    let mut all = Events::of(
        node.address,
        "/v1/default/_subscribe?topic=users.**&topic=orders.created",
        "",
    );
    assert_eq!(publish(&node, "orders.created", "{\n \"x\": 1.50}"), 2);
    assert_eq!(publish(&node, "users.a.b", "\"é\""), 1);
    assert_eq!(
        orders.event("message"),
        "data: {\"topic\":\"orders.created\",\"payload\":{\n"
    );
    assert_eq!(
        orders.until(|line| line.starts_with("data: ")),
        "data:  \"x\": 1.50}}\n"
    );
    all.event("message");
    assert_eq!(
        all.event("message"),
        "data: {\"topic\":\"users.a.b\",\"payload\":\"é\"}\n"
    );
    drop(orders);
    let start = Instant::now();
    while publish(&node, "orders.created", "2") != 1 {
        assert!(start.elapsed() < Duration::from_secs(10), "it is still counted");
        std::thread::sleep(Duration::from_millis(10));
    }
    node.put("/v1/other", "");
    let mut other = Events::of(node.address, "/v1/other/_subscribe?topic=**", "");
    node.send("DELETE", "/v1/other", &[], "");
    assert!(other.event("end").contains("the database is closed"));
    other.rest();
}

#[test]
fn tell_a_slow_listener_what_it_missed() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut slow = Events::of(node.address, "/v1/default/_subscribe?topic=t", "");
    // More than the sockets between take.
    let large = format!("\"{}\"", "x".repeat(64 << 10));
    for _ in 0..1400 {
        publish(&node, "t", &large);
    }
    let lagged = slow.event("lagged");
    let dropped: serde_json::Value = serde_json::from_str(lagged.strip_prefix("data: ").unwrap()).unwrap();
    assert!(
        (1..1400).contains(&dropped["dropped"].as_u64().unwrap()),
        "{dropped}"
    );
    slow.event("message");
}

#[test]
fn do_not_hold_up_the_end() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let mut messages = Events::of(node.address, "/v1/default/_subscribe?topic=**", "");
    let mut changes = Events::of(
        node.address,
        "/v1/default/_changes",
        "Accept: text/event-stream\r\n",
    );
    let start = Instant::now();
    node.terminate();
    assert!(messages.event("end").contains("shutting down"));
    assert!(changes.event("end").contains("shutting down"));
    assert!(node.wait().success());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn name_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for topic in ["a..b", "a.*", "a%20b"] {
        let value = topic.replace("%20", " ");
        node.send("POST", &format!("/v1/default/_topics/{topic}"), &[], "1")
            .wrong("topic", &value);
    }
    node.send("POST", "/v1/default/_topics/t", &[], "x")
        .problem(400, "invalid-json");
    node.get("/v1/default/_subscribe").wrong("topic", "0 of them");
    let many = vec!["topic=a"; 101].join("&");
    node.get(&format!("/v1/default/_subscribe?{many}"))
        .wrong("topic", "101 of them");
    node.get("/v1/default/_subscribe?topic=a&topic=**.a")
        .wrong("topic", "**.a");
    node.get("/v1/default/_subscribe?topics=a")
        .wrong("query", "topics");
    node.get("/v1/nope/_subscribe?topic=a")
        .problem(404, "unknown-database");
    let wrong = node.get("/v1/default/_topics/t");
    wrong.problem(405, "method-not-allowed");
    assert_eq!(wrong.header("allow"), "POST");
    assert_eq!(publish(&node, "t", &json!({}).to_string()), 0);
}
