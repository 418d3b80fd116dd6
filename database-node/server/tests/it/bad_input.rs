//! Everything a client can get wrong has an answer that names it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::node::Node;

#[test]
fn names_the_part_that_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let long = "x".repeat(64);
    let long_id = "y".repeat(1025);
    for (path, field) in [
        ("/v1/_x/c/a", "database"),
        (&format!("/v1/{long}/c/a"), "database"),
        ("/v1/default/_x/a", "collection"),
        ("/v1/default/a%2Fb/a", "collection"),
        ("/v1/default/c/%00", "id"),
        ("/v1/default/c/a%0Ab", "id"),
        ("/v1/default/c/%2E", "id"),
        (&format!("/v1/default/c/{long_id}"), "id"),
        ("/v1/default/c/%FF", "path"),
        ("/v1/default/%C3%28/a", "path"),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let problem = node.send(method, path, &[], "1").problem(400, "invalid-value");
            assert_eq!(problem["field"], field, "{method} {path}");
            assert!(problem.to_string().len() < 700, "{problem}");
        }
    }
    let problem = node.put("/v1/other/c/a", "1").problem(404, "unknown-database");
    assert_eq!(problem["database"], "other");
    node.get("/v1/other/c/a").problem(404, "unknown-database");
    for path in [
        "/",
        "/v2",
        "/v1/default/c/a/b",
        "/v1/default/c/",
        "/metrics",
        "/v2/default/c/a",
    ] {
        node.get(path).problem(404, "unknown-route");
    }
}

#[test]
fn refuses_bodies_that_are_not_json() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let deep = "[".repeat(129) + &"]".repeat(129);
    for (body, line, column) in [
        ("", 1, 0),
        ("{\"a\":1,\n}", 2, 1),
        ("1 2", 1, 3),
        (&deep, 1, 130),
        ("\"\\ud800\"", 1, 8),
    ] {
        let problem = node.put("/v1/default/c/a", body).problem(400, "invalid-json");
        assert_eq!(
            (&problem["line"], &problem["column"]),
            (&line.into(), &column.into()),
            "{problem}"
        );
    }
    for (header, value) in [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "nonsense"),
        ("Content-Encoding", "gzip"),
    ] {
        let answer = node.send("PUT", "/v1/default/c/a", &[(header, value)], "1");
        let problem = answer.problem(415, "unsupported-media-type");
        assert_eq!(
            (problem["field"].as_str(), problem["value"].as_str()),
            (Some(header), Some(value))
        );
    }
    let answer = node.send(
        "PUT",
        "/v1/default/c/a",
        &[("Content-Type", "application/merge-patch+json")],
        "1",
    );
    assert_eq!(answer.status, 201);
}

#[test]
fn refuses_methods_and_says_which_there_are() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (method, path, allow) in [
        ("PATCH", "/v1/default/c/a", "GET,HEAD,PUT,DELETE"),
        ("POST", "/v1/default/c/a", "GET,HEAD,PUT,DELETE"),
        ("DELETE", "/v1/default/c", "GET,HEAD,POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ] {
        let answer = node.send(method, path, &[], "");
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[test]
fn limits_the_size_of_bodies() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &["--max-body-size", "1Ki"]);
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(node.put("/v1/default/c/a", &body(1024)).status, 201);
    let problem = node
        .put("/v1/default/c/a", &body(1025))
        .problem(413, "body-too-large");
    assert_eq!(problem["limit"], 1024);

    let head = "PUT /v1/default/c/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let announced = node.raw(format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes());
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked =
        node.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n").as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    // A client that sends much more than it may still reads why.
    node.put("/v1/default/c/a", &body(2 << 20))
        .problem(413, "body-too-large");
    assert_eq!(node.get("/v1/default/c/a").body.len(), 1024);
}

#[test]
fn a_refused_body_does_not_end_the_connection() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let body = "x".repeat(300_000);
    for (path, status) in [
        ("/nothing", "404"),
        ("/v1/_/c/a", "400"),
        ("/v1/default/c/a", "400"),
    ] {
        let refused = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answers = node.raw(format!("{refused}{next}").as_bytes());
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{answers}");
        assert!(answers.contains("HTTP/1.1 200"), "{path}: {answers}");
    }
    // Who waits to be asked for the body is not asked, and told that the connection ends.
    let head =
        "PUT /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    let answer = node.raw(head.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let limits = [
        "--max-connections",
        "1",
        "--request-timeout",
        "1s",
        "--header-timeout",
        "300ms",
    ];
    let node = Node::start_with(data.path(), &limits);
    let large = format!("\"{}\"", "x".repeat(15 << 20));
    assert_eq!(node.put("/v1/default/c/large", &large).status, 201);
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream
        .write_all(b"GET /v1/default/c/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    let start = Instant::now();
    assert_eq!(node.get("/healthz").status, 200, "it gets the only place");
    assert!(
        start.elapsed() > Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn answers_nonsense_or_hangs_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let many_headers = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let long_header = "x".repeat(200_000);
    for (request, expected) in [
        ("\r\n\r\nnonsense\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "\u{16}\u{3}\u{1}\0tls".to_owned() + &"\0".repeat(100),
            "HTTP/1.1 400",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many_headers}\r\n"),
            "HTTP/1.1 431",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nx: {long_header}\r\n\r\n"),
            "HTTP/1.1 431",
        ),
        (
            "PUT /v1/default/c/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
        (
            "PUT /v1/default/c/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
                .to_owned(),
            "HTTP/1.1 400",
        ),
    ] {
        let answer = node.raw(request.as_bytes());
        let start = &request[..request.len().min(60)];
        assert!(answer.starts_with(expected), "{start:?}: {answer}");
    }
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn does_not_wait_for_slow_clients_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(
        data.path(),
        &["--header-timeout", "300ms", "--request-timeout", "300ms"],
    );
    let ends_soon = |bytes: &str| {
        let start = Instant::now();
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{bytes}");
        answer
    };
    ends_soon("");
    ends_soon("GET /v1/default/c/a HTTP/1.1\r\nHo");
    let idle = ends_soon("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    let half = ends_soon("PUT /v1/default/c/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n[1,");
    assert!(
        half.starts_with("HTTP/1.1 408") && half.contains("request-timeout"),
        "{half}"
    );
}

#[test]
fn serves_no_more_connections_than_it_may() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &["--max-connections", "2", "--header-timeout", "1s"]);
    let idle = (0..2)
        .map(|_| TcpStream::connect(node.address).unwrap())
        .collect::<Vec<_>>();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(node.get("/healthz").status, 200, "it waits for a place");
    assert!(
        start.elapsed() > Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(node.admin_get("/healthz", &[]).status, 200);
    drop(idle);
}

#[test]
fn refuses_framing_that_others_may_read_differently() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let put = "PUT /v1/default/c/a HTTP/1.1\r\n";
    let chunk = "\r\n1\r\n1\r\n0\r\n\r\n";
    let end = "Content-Length: 1\r\n\r\n1";
    for (request, status, name) in [
        (
            format!("{put}Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n{chunk}"),
            "501",
            "unsupported-transfer-encoding",
        ),
        (
            format!(
                "{put}Host: localhost\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n{chunk}"
            ),
            "501",
            "unsupported-transfer-encoding",
        ),
        (format!("{put}{end}"), "400", "invalid-value"),
        (
            format!("{put}Host: localhost\r\nHost: localhost\r\n{end}"),
            "400",
            "invalid-value",
        ),
        (
            format!("{put}Host: localhost\r\nContent-Range: bytes 0-0/2\r\n{end}"),
            "400",
            "invalid-value",
        ),
        (
            format!("POST /v1/default/c HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n{end}"),
            "400",
            "invalid-value",
        ),
        (
            format!("POST /v1/default/c HTTP/1.1\r\nHost: localhost\r\nIf-Match: \"1\"\r\n{end}"),
            "400",
            "invalid-value",
        ),
    ] {
        let answer = node.raw(request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.contains(name), "{request}: {answer}");
        assert!(answer.contains("connection: close"), "{request}: {answer}");
    }
    assert_eq!(
        node.get("/v1/default/c").body,
        "{\"documents\":[]}",
        "nothing was written"
    );
    // Read by the transfer encoding, and nothing that follows is taken for a request.
    let both = format!(
        "{put}Host: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n{chunk}GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    let answer = node.raw(both.as_bytes());
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}
