//! Stopping.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::node::Node;

/// Sends the first part of a PUT; the node waits for the rest.
fn half_a_put(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all(b"PUT /v1/default/c/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n[")
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    stream
}

#[test]
fn finishes_what_is_in_flight() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let mut stream = half_a_put(&node);
    node.terminate();
    let start = Instant::now();
    while node.admin_get("/readyz", &[]).status != 503 {
        assert!(start.elapsed() < Duration::from_secs(5), "{}", node.log());
    }
    assert_eq!(node.admin_get("/healthz", &[]).status, 200);
    assert!(TcpStream::connect(node.address).is_err(), "no new connections");
    stream.write_all(b"1]").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(node.wait().success());
    assert!(node.log().contains("stopped"), "{}", node.log());
    assert_eq!(Node::start(data.path()).get("/v1/default/c/half").body, "[1]");
}

#[test]
fn does_not_wait_longer_than_it_may() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(data.path(), &["--shutdown-timeout", "300ms"]);
    let _stream = half_a_put(&node);
    let start = Instant::now();
    node.terminate();
    assert!(node.wait().success(), "{}", node.log());
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(5)).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    assert!(node.log().contains("cut off"), "{}", node.log());
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    assert_eq!(node.get("/healthz").status, 200);
    let _silent = TcpStream::connect(node.address).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    node.signal(rustix::process::Signal::INT);
    assert!(node.wait().success());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    node.put("/v1/default/c/a", "1");
    let _stream = half_a_put(&node);
    node.terminate();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    node.terminate();
    assert_eq!(node.wait().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(Node::start(data.path()).get("/v1/default/c/a").body, "1");
}
