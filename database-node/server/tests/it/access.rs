//! The token.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::node::{Node, run};

const TOKEN: &str = "correct-horse-battery-staple";

fn token_file(folder: &Path, token: &str) -> String {
    let path = folder.join("token");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn is_asked_for_everywhere_but_by_probes() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), TOKEN);
    let node = Node::start_with(
        &folder.path().join("data"),
        &[
            "--token-file",
            &file,
            "--listen",
            "0.0.0.0:0",
            "--admin-listen",
            "0.0.0.0:0",
            "--log-level",
            "trace",
        ],
    );
    let status = |authorization: &str| {
        let headers = [("Authorization", authorization)];
        node.send("PUT", "/v1/default/c/a", &headers, "1").status
    };
    for wrong in [
        "Bearer",
        "Bearer ",
        "Basic abc",
        TOKEN,
        "Bearer correct-horse-battery-staplf",
        &bearer(&TOKEN[1..]),
    ] {
        assert_eq!(status(wrong), 401, "{wrong}");
    }
    assert_eq!(status(&bearer(TOKEN)), 201);
    assert_eq!(status(&format!("bearer   {TOKEN}")), 200);

    let refused = node.get("/v1/default/c/a");
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"pliantdb\"");
    let refused = node.send("GET", "/v1/default/c/a", &[("Authorization", "Bearer x")], "");
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    for (method, path) in [
        ("GET", "/nothing"),
        ("PATCH", "/v1/default/c/a"),
        ("GET", "/v1/_/c/a"),
    ] {
        node.send(method, path, &[], "").problem(401, "unauthorized");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            (node.get(path).status, node.admin_get(path, &[]).status),
            (200, 200),
            "{path}"
        );
    }
    node.admin_get("/metrics", &[]).problem(401, "unauthorized");
    let authorized = bearer(TOKEN);
    assert_eq!(
        node.admin_get("/metrics", &[("Authorization", &authorized)])
            .status,
        200
    );
    assert!(!node.log().contains("correct-horse"), "no secret in the log");
}

#[test]
fn protects_metrics_only_off_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), TOKEN);
    let node = Node::start_with(&folder.path().join("data"), &["--token-file", &file]);
    assert_eq!(node.admin_get("/metrics", &[]).status, 200);
    node.get("/v1/default/c/a").problem(401, "unauthorized");
}

#[test]
fn changes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), TOKEN);
    let node = Node::start_with(&folder.path().join("data"), &["--token-file", &file]);
    let status = |token: &str| {
        let authorization = bearer(token);
        node.send("GET", "/v1/default/c", &[("Authorization", &authorization)], "")
            .status
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "{what}: {}",
                node.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // A file that is no good changes nothing.
    std::fs::write(&file, "short").unwrap();
    until("it notices", &|| node.log().contains("stays in force"));
    assert_eq!(status(TOKEN), 200);
    // As Kubernetes does it: a new file under the old name.
    let new = folder.path().join("new");
    std::fs::write(&new, "another-token-entirely").unwrap();
    std::fs::rename(&new, &file).unwrap();
    until("it takes the new one", &|| {
        status("another-token-entirely") == 200
    });
    assert_eq!(status(TOKEN), 401);
    assert!(!node.log().contains("another-token"), "no secret in the log");
}

#[test]
fn is_needed_off_loopback() {
    for (arguments, setting) in [
        (&["--listen", "0.0.0.0:0"][..], "listen is 0.0.0.0:0"),
        (&["--listen", "[::]:0"], "listen is [::]:0"),
        (&["--admin-listen", "0.0.0.0:0"], "adminListen is 0.0.0.0:0"),
    ] {
        let output = run(&[&["serve"], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{error}");
        for part in [setting, "tokenFile", "--token-file", "PLIANT_TOKEN_FILE"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn must_be_worth_something() {
    let folder = tempfile::tempdir().unwrap();
    for content in ["", "too-short"] {
        let file = token_file(folder.path(), content);
        let output = run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--token-file",
            &file,
        ]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("16 to 4096") && !error.contains("too-short"),
            "{error}"
        );
    }
    let output = run(&["serve", "--token-file", "/not/there"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("/not/there"));
}

#[test]
fn without_one_no_web_page_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let own = node.address.to_string();
    let same = format!("http://{own}");
    let json = ("Content-Type", "application/json");
    let put = |headers: &[(&str, &str)]| node.send("PUT", "/v1/default/c/a", headers, "1");
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://localhost",
    ] {
        let refused = put(&[("Origin", origin), json]).problem(403, "foreign-origin");
        assert_eq!(
            (&refused["field"], &refused["value"]),
            (&"Origin".into(), &origin.into())
        );
    }
    for host in ["evil.example", "evil.example:6480", "10.0.0.1"] {
        for path in ["/v1/default/c/a", "/healthz"] {
            let refused = node
                .send("GET", path, &[("Host", host)], "")
                .problem(403, "foreign-origin");
            assert_eq!(refused["field"], "Host");
        }
        node.admin_get("/metrics", &[("Host", host)])
            .problem(403, "foreign-origin");
    }
    assert_eq!(put(&[("Origin", &same), json]).status, 201);
    for host in ["localhost", "localhost:6480", "[::1]:6480"] {
        assert_eq!(put(&[("Host", host)]).status, 200, "{host}");
    }
}

#[test]
fn with_one_names_and_origins_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), TOKEN);
    let node = Node::start_with(&folder.path().join("data"), &["--token-file", &file]);
    let authorization = bearer(TOKEN);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Host", "db.example"),
        ("Origin", "https://app.example"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(node.send("PUT", "/v1/default/c/a", &headers, "1").status, 201);
    assert_eq!(
        node.send("GET", "/healthz", &[("Host", "db.example")], "").status,
        200
    );
    let untyped = format!(
        "PUT /v1/default/c/a HTTP/1.1\r\nHost: db.example\r\nOrigin: https://app.example\r\nAuthorization: {authorization}\r\nContent-Length: 1\r\n\r\n2"
    );
    let refused = node.raw(untyped.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 415"), "{refused}");
}
