//! The key-value store.

use serde_json::json;

use crate::node::Node;

#[test]
fn sets_reads_and_deletes() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = "/v1/default/_kv/n/a%2Fb";
    let problem = node.get(path).problem(404, "unknown-key");
    assert_eq!(
        (&problem["namespace"], &problem["key"]),
        (&json!("n"), &json!("a/b"))
    );
    let set = node.put(path, " {\"x\": 1.50} ");
    assert_eq!((set.status, set.body.as_str()), (201, "{\"status\":\"created\"}"));
    let read = node.get(path);
    assert_eq!(
        (read.body.as_str(), read.header("content-type")),
        (" {\"x\": 1.50} ", "application/json")
    );
    let set = node.put(&format!("{path}?return_previous=true"), "2");
    assert_eq!(
        (set.status, set.json()),
        (200, json!({"status": "updated", "previous": {"x": 1.5}}))
    );
    for (query, status) in [
        ("if_vacant=true", "unchanged"),
        ("if_equals=1", "unchanged"),
        ("if_equals=2", "updated"),
        ("if_present=true", "updated"),
    ] {
        assert_eq!(
            node.put(&format!("{path}?{query}"), "3").json()["status"],
            status,
            "{query}"
        );
    }
    let delete = |query: &str| node.send("DELETE", &format!("{path}?{query}"), &[], "").json();
    assert_eq!(delete("if_equals=1"), json!({ "status": "unchanged" }));
    assert_eq!(
        delete("return_previous=true"),
        json!({"status": "deleted", "previous": 3})
    );
    assert_eq!(delete(""), json!({ "status": "unchanged" }));
}

#[test]
fn expires_and_counts() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    assert_eq!(node.put("/v1/default/_kv/n/now?ttl=0s", "1").status, 201);
    node.get("/v1/default/_kv/n/now").problem(404, "unknown-key");
    assert_eq!(node.put("/v1/default/_kv/n/later?ttl=1h%2030m", "1").status, 201);
    assert_eq!(node.put("/v1/default/_kv/n/later?keep_ttl=true", "2").status, 200);
    let post = |path: &str, body: &str| node.send("POST", &format!("/v1/default/_kv/n/{path}"), &[], body);
    assert_eq!(
        post("later/_expire", "{\"ttl\": \"0ms\"}").json(),
        json!({ "status": "updated" })
    );
    node.get("/v1/default/_kv/n/later").problem(404, "unknown-key");
    assert_eq!(post("later/_expire", "").json(), json!({ "status": "unchanged" }));

    assert_eq!(post("hits/_increment", "").body, "{\"value\":1}");
    assert_eq!(post("hits/_increment", "{\"by\": -3}").body, "{\"value\":-2}");
    assert_eq!(post("hits/_increment", "{\"by\": 0.5}").body, "{\"value\":-1.5}");
    assert_eq!(node.put("/v1/default/_kv/n/text", "\"1\"").status, 201);
    let problem = post("text/_increment", "{}").problem(409, "not-countable");
    assert_eq!(problem["key"], "text");
}

#[test]
fn lists_in_order() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for key in ["b/1", "a", "b/2", "c"] {
        let path = format!("/v1/default/_kv/n/{}", key.replace('/', "%2F"));
        assert_eq!(node.put(&path, &format!("\"{key}\"")).status, 201);
    }
    let list = |query: &str| node.get(&format!("/v1/default/_kv/n?{query}")).json();
    assert_eq!(
        list("limit=1"),
        json!({"keys": [{"key": "a", "value": "a"}], "next": "a"})
    );
    assert_eq!(
        list("prefix=b/&order=desc"),
        json!({"keys": [{"key": "b/2", "value": "b/2"}, {"key": "b/1", "value": "b/1"}]})
    );
    assert_eq!(list("after=b%2F2&max_bytes=1")["keys"][0]["key"], "c");
}

#[test]
fn names_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (query, field, value) in [
        ("ttl=10", "ttl", "10"),
        ("ttl=-1s", "ttl", "-1s"),
        ("ttl=soon", "ttl", "soon"),
        ("ttl=1s&keep_ttl=true", "keep_ttl", "true"),
        ("keep_ttl=1", "keep_ttl", "1"),
        ("if_vacant=true&if_present=true", "if_present", "true"),
        ("if_vacant=true&if_equals=1", "if_vacant", "true"),
        ("if_equals=x", "if_equals", "x"),
        ("return_previous=2", "return_previous", "2"),
        ("lifetime=2", "query", "lifetime"),
    ] {
        node.put(&format!("/v1/default/_kv/n/k?{query}"), "1")
            .wrong(field, value);
    }
    node.put("/v1/default/_kv/_n/k", "1").wrong("namespace", "_n");
    node.put("/v1/default/_kv/n/%00", "1").wrong("key", "\0");
    node.put("/v1/default/_kv/n/k", "x").problem(400, "invalid-json");
    node.put("/v1/nope/_kv/n/k", "1").problem(404, "unknown-database");
    node.get("/v1/default/_kv/n?limit=0").wrong("limit", "0");
    node.get("/v1/default/_kv/n?after=").wrong("after", "");
    let post = |path: &str, body: &str| node.send("POST", &format!("/v1/default/_kv/n/k/{path}"), &[], body);
    post("_increment", "{\"by\": \"1\"}").wrong("by", "\"1\"");
    post("_increment", "{\"to\": 1}").wrong("to", "to");
    post("_expire", "{\"ttl\": 10}").wrong("ttl", "10");
    post("_expire", "{\"ttl\": \"x\"}").wrong("ttl", "x");
    let get = node.send("PATCH", "/v1/default/_kv/n/k", &[], "");
    get.problem(405, "method-not-allowed");
    assert_eq!(get.header("allow"), "GET,HEAD,PUT,DELETE");
    node.get("/v1/default/_kv/n/k").problem(404, "unknown-key");
}
