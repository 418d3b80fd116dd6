//! The feed of changes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::messages::Events;
use crate::node::Node;

#[test]
fn tells_what_was_changed() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let first = node.put("/v1/default/c/a", "1").json();
    node.put("/v1/default/c/a", "2");
    node.send("DELETE", "/v1/default/c/a", &[], "");
    let page = node.get("/v1/default/_changes?limit=2").json();
    assert_eq!(
        page["transactions"][0],
        json!({"revision": first["revision"], "changes": [{"collection": "c", "id": "a", "kind": "inserted"}]})
    );
    assert_eq!(page["transactions"][1]["changes"][0]["kind"], "updated");
    let next = page["next"].as_str().unwrap();
    let rest = node.get(&format!("/v1/default/_changes?after={next}")).json();
    assert_eq!(rest["transactions"][0]["changes"][0]["kind"], "deleted");
    let now = node.get("/v1/default/_changes?from=now").json();
    assert_eq!(now["transactions"], json!([]));

    let now = now["next"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let none = node.get(&format!("/v1/default/_changes?after={now}&wait=200ms"));
    assert_eq!(none.json()["transactions"], json!([]));
    assert!(start.elapsed() >= Duration::from_millis(200));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            node.get(&format!("/v1/default/_changes?after={now}&wait=15s"))
                .json()
        });
        node.put("/v1/default/c/b", "1");
        assert_eq!(
            waiting.join().unwrap()["transactions"][0]["changes"][0]["id"],
            "b"
        );
    });
}

#[test]
fn goes_on_as_events() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    node.put("/v1/default/c/a", "1");
    let accept = "Accept: text/event-stream\r\n";
    let mut events = Events::of(node.address, "/v1/default/_changes", accept);
    let first = events.until(|line| line.starts_with("data: "));
    assert!(
        first.contains("event: changes") && first.contains("\"id\":\"a\""),
        "{first}"
    );
    let id = first
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap()
        .to_owned();
    node.put("/v1/default/c/b", "1");
    assert!(events.event("changes").contains("\"id\":\"b\""));
    drop(events);
    // As a browser goes on by itself.
    let resumed = format!("{accept}Last-Event-ID: {id}\r\n");
    let mut events = Events::of(node.address, "/v1/default/_changes?from=oldest", &resumed);
    assert!(events.event("changes").contains("\"id\":\"b\""));
}

#[test]
fn names_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let next = node.get("/v1/default/_changes").json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    for (query, field, value) in [
        ("after=yesterday", "after", "yesterday"),
        ("from=then", "from", "then"),
        (&format!("after={next}&from=now"), "from", "now"),
        ("limit=0", "limit", "0"),
        ("wait=forever", "wait", "forever"),
        ("wait=61s", "wait", "61s"),
        ("since=1", "query", "since"),
    ] {
        node.get(&format!("/v1/default/_changes?{query}"))
            .wrong(field, value);
    }
    let accept = ("Accept", "text/event-stream");
    node.send("GET", "/v1/default/_changes?wait=1s", &[accept], "")
        .wrong("wait", "1s");
    node.send(
        "GET",
        "/v1/default/_changes",
        &[accept, ("Last-Event-ID", "x")],
        "",
    )
    .wrong("Last-Event-ID", "x");
    node.put("/v1/other", "");
    node.get(&format!("/v1/other/_changes?after={next}"))
        .problem(422, "unfit-request");
    node.get("/v1/nope/_changes").problem(404, "unknown-database");
}
