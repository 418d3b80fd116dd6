//! Several changes at once, and writes that are made once.

use serde_json::json;

use crate::node::Node;

fn transact(node: &Node, changes: &str) -> crate::node::Answer {
    node.send("POST", "/v1/default/_transaction", &[], changes)
}

#[test]
fn changes_are_made_together_or_not_at_all() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let made = transact(
        &node,
        r#"[{"insert": {"collection": "c", "id": "a", "body":  {"x": 1.50} }},
            {"insert": {"collection": "c", "body": 2}},
            {"overwrite": {"collection": "d", "id": "b", "body": null}},
            {"update": {"collection": "d", "id": "b", "body": 3}},
            {"check": {"collection": "c", "id": "nobody", "exists": false}},
            {"delete": {"collection": "d", "id": "b"}}]"#,
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let outcomes = made.json()["outcomes"].clone();
    let kinds: Vec<_> = outcomes
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| &outcome["outcome"])
        .collect();
    assert_eq!(
        kinds,
        ["created", "created", "created", "updated", "checked", "deleted"]
    );
    assert_eq!(outcomes[0]["id"], "a");
    assert_eq!(outcomes[1]["id"].as_str().unwrap().len(), 36);
    let revision = outcomes[0]["revision"].as_str().unwrap().to_owned();
    let read = node.get("/v1/default/c/a");
    assert_eq!(
        (read.body.as_str(), read.header("etag")),
        ("{\"x\": 1.50}", format!("\"{revision}\"").as_str())
    );

    let updated = |revision: &str| {
        transact(
            &node,
            &format!(
                r#"[{{"overwrite": {{"collection": "c", "id": "n", "body": 1}}}},
                    {{"update": {{"collection": "c", "id": "a", "body": 2, "revision": "{revision}"}}}}]"#
            ),
        )
    };
    assert_eq!(updated(&revision).status, 200);
    let problem = updated(&revision).problem(412, "precondition-failed");
    assert_eq!((&problem["index"], &problem["id"]), (&json!(1), &json!("a")));
    let checked = r#"[{"insert": {"collection": "c", "id": "new", "body": 1}}, {"check": {"collection": "c", "id": "a", "revision": "0000000000000001"}}]"#;
    transact(&node, checked).problem(412, "precondition-failed");
    node.get("/v1/default/c/new").problem(404, "unknown-document");
    let gone = r#"[{"delete": {"collection": "c", "id": "nobody"}}]"#;
    assert_eq!(transact(&node, gone).problem(404, "unknown-document")["index"], 0);
    assert_eq!(transact(&node, "[]").json(), json!({ "outcomes": [] }));
}

#[test]
fn every_wrong_part_is_named() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (changes, field, value) in [
        ("{}", "body", "{}"),
        ("[1]", "[0]", "1"),
        ("[{}]", "[0]", ""),
        (r#"[{"check": {}, "insert": {}}]"#, "[0]", "check, insert"),
        (r#"[{"upsert": {}}]"#, "[0]", "upsert"),
        (r#"[{"insert": 1}]"#, "[0].insert", "1"),
        (r#"[{"insert": {"body": 1}}]"#, "[0].insert.collection", ""),
        (
            r#"[{"insert": {"collection": "_", "body": 1}}]"#,
            "[0].insert.collection",
            "_",
        ),
        (r#"[{"insert": {"collection": "c"}}]"#, "[0].insert.body", ""),
        (
            r#"[{"insert": {"collection": "c", "body": 1, "revision": "x"}}]"#,
            "[0].insert.revision",
            "revision",
        ),
        (
            r#"[{"delete": {"collection": "c", "id": "a"}}, {"delete": {"collection": "c"}}]"#,
            "[1].delete.id",
            "",
        ),
        (
            r#"[{"delete": {"collection": "c", "id": ".."}}]"#,
            "[0].delete.id",
            "..",
        ),
        (
            r#"[{"delete": {"collection": "c", "id": 7}}]"#,
            "[0].delete.id",
            "7",
        ),
        (
            r#"[{"update": {"collection": "c", "id": "a", "body": 1, "revision": "1"}}]"#,
            "[0].update.revision",
            "1",
        ),
        (
            r#"[{"check": {"collection": "c", "id": "a"}}]"#,
            "[0].check.exists",
            "",
        ),
        (
            r#"[{"check": {"collection": "c", "id": "a", "exists": 1}}]"#,
            "[0].check.exists",
            "1",
        ),
    ] {
        transact(&node, changes).wrong(field, value);
    }
    let problem =
        transact(&node, "[{\"insert\": {\"collection\": \"c\",\n \"body\": }}]").problem(400, "invalid-json");
    assert_eq!(problem["line"], 2);
    let deep = "[".repeat(129) + &"]".repeat(129);
    let deep = transact(
        &node,
        &format!(r#"[{{"insert": {{"collection": "c", "body": {deep}}}}}]"#),
    );
    let problem = deep.problem(400, "invalid-value");
    assert_eq!(problem["field"], "[0].insert.body");
    assert!(
        problem["detail"].as_str().unwrap().contains("128 levels"),
        "{problem}"
    );
    node.send("POST", "/v1/nope/_transaction", &[], "[]")
        .problem(404, "unknown-database");
    assert_eq!(
        node.get("/v1/default/c").body,
        "{\"documents\":[]}",
        "nothing was written"
    );
}

#[test]
fn a_write_with_a_key_is_made_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = uuid::Uuid::now_v7().to_string();
    let once = [("Idempotency-Key", id.as_str())];
    let first = node.send("POST", "/v1/default/c", &once, "1");
    let second = node.send("POST", "/v1/default/c", &once, "1");
    assert_eq!((first.status, &first.body), (201, &second.body));
    assert_eq!(node.get("/v1/default/c/_count").json(), json!({ "count": 1 }));
    let id = uuid::Uuid::now_v7().to_string();
    let once = [("Idempotency-Key", id.as_str())];
    for _ in 0..3 {
        let counted = node.send("POST", "/v1/default/_kv/n/k/_increment", &once, "{\"by\": 2}");
        assert_eq!(counted.json(), json!({ "value": 2 }));
    }
    for wrong in ["", "1", "018bcfe5-6800-4000-9234-56789abcdef0"] {
        node.send("PUT", "/v1/default/c/a", &[("Idempotency-Key", wrong)], "1")
            .wrong("Idempotency-Key", wrong);
    }
    let old = [("Idempotency-Key", "018bcfe5-6800-7000-9234-56789abcdef0")];
    node.send("PUT", "/v1/default/c/a", &old, "1")
        .problem(409, "request-expired");
    // What cannot be made once is not.
    node.send("POST", "/v1/default/_topics/t", &once, "1")
        .wrong("Idempotency-Key", &id);
    node.send("PUT", "/v1/new", &once, "")
        .wrong("Idempotency-Key", &id);
}

#[test]
fn several_documents_are_read_at_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for id in ["a", "b", "_count"] {
        let segment = id.replace('_', "%5F");
        assert_eq!(
            node.put(&format!("/v1/default/c/{segment}"), &format!("\"{id}\""))
                .status,
            201
        );
    }
    let get = |ids: &str| node.send("POST", "/v1/default/c/_get", &[], ids);
    let found = get("[\"b\", \"nobody\", \"_count\", \"a\"]").json();
    let bodies: Vec<_> = found["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["body"])
        .collect();
    assert_eq!(bodies, ["b", "_count", "a"]);
    assert_eq!(get("[]").body, "{\"documents\":[]}");
    get("{}").wrong("body", "{}");
    get("[1]").wrong("[0]", "1");
    get("[\"a\", \"\"]").wrong("[1]", "");
    let many = serde_json::to_string(&vec!["a"; 1001]).unwrap();
    get(&many).wrong("body", "1001 ids");
    assert_eq!(
        node.get("/v1/default/c/_count?prefix=a").json(),
        json!({ "count": 1 })
    );
    assert_eq!(
        node.get("/v1/default/c/_count?after=a&order=asc").json(),
        json!({ "count": 1 })
    );
    node.get("/v1/default/c/_count?limit=1").wrong("query", "limit");
    node.get("/v1/default/c?order=up").wrong("order", "up");
    node.get("/v1/default/c?max_bytes=0").wrong("max_bytes", "0");
    let last = node.get("/v1/default/c?order=desc&limit=1").json();
    assert_eq!(
        (&last["documents"][0]["id"], &last["next"]),
        (&json!("b"), &json!("b"))
    );
}
