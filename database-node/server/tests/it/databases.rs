//! Databases.

use serde_json::json;

use crate::node::Node;
use crate::served::Served;

#[test]
fn come_and_go() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    assert_eq!(node.get("/v1").json(), json!({ "databases": ["default"] }));
    let created = node.put("/v1/a", "");
    assert_eq!(
        (created.status, &created.json()["name"]),
        (201, &json!("a")),
        "{}",
        created.body
    );
    node.put("/v1/a", "{}").problem(409, "database-exists");
    assert_eq!(node.get("/v1").json()["databases"], json!(["a", "default"]));
    let described = node.get("/v1/a").json();
    assert_eq!(
        (&described["schema"], &described["collections"]),
        (&json!(null), &json!([]))
    );
    assert_eq!(described["number"], created.json()["number"]);
    assert_eq!(node.put("/v1/a/_schema", "{\"schema\": \"plain\"}").status, 200);
    assert_eq!(node.get("/v1/a").json()["schema"], "plain");
    node.put("/v1/a/_schema", "{\"schema\": \"other\"}")
        .problem(409, "other-schema");
    assert_eq!(node.put("/v1/a/c/d", "1").status, 201);

    let number = created.json()["number"].to_string();
    let numbered = |method| node.send(method, "/v1/a/c/d", &[("Database-Number", &number)], "");
    assert_eq!(numbered("GET").status, 200);
    assert_eq!(node.send("DELETE", "/v1/a", &[], "").status, 204);
    node.send("DELETE", "/v1/a", &[], "")
        .problem(404, "unknown-database");
    node.get("/v1/a").problem(404, "unknown-database");
    assert_eq!(node.put("/v1/a", "").status, 201);
    numbered("GET").problem(404, "unknown-database");
    node.get("/v1/a/c/d").problem(404, "unknown-document");
    node.send("GET", "/v1/a/c/d", &[("Database-Number", "one")], "")
        .wrong("Database-Number", "one");
}

#[test]
fn say_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    node.put("/v1/_a", "").wrong("database", "_a");
    node.put("/v1/a", "[]").wrong("body", "[]");
    node.put("/v1/a", "{\"schema\": 7}").wrong("schema", "7");
    node.put("/v1/a", "{\"schema\": \"_\"}").wrong("schema", "_");
    node.put("/v1/a", "{\"scheme\": \"s\"}").wrong("scheme", "scheme");
    node.put("/v1/a", "{\"views\": []}").wrong("views", "[]");
    node.put("/v1/a", "{").problem(400, "invalid-json");
    let with_view = |view: &str| node.put("/v1/a", &format!("{{\"schema\": \"s\", \"views\": [{view}]}}"));
    with_view("{\"name\": \"v\"}").wrong("views[0].collection", "");
    with_view("{\"collection\": \"c\", \"name\": \"v\", \"version\": -1}").wrong("views[0].version", "-1");
    with_view("{\"collection\": \"c\", \"name\": \"v\", \"policy\": \"x\"}").wrong("views[0].policy", "x");
    let unknown = with_view("{\"collection\": \"c\", \"name\": \"v\"}");
    let detail = unknown.problem(422, "unfit-request")["detail"].to_string();
    assert!(detail.contains("does not have the code"), "{detail}");
    node.put("/v1/default/_schema", "").wrong("schema", "");
    assert_eq!(
        node.get("/v1").json()["databases"],
        json!(["default"]),
        "none was created"
    );
}

#[test]
fn tell_of_their_views() {
    let served = Served::start();
    // Which waits until it is built.
    assert_eq!(served.get("/v1/shop/users/_views/by-place").status, 200);
    let described = served.get("/v1/shop").json();
    assert_eq!(described["schema"], "shop");
    let collection = &described["collections"][0];
    assert_eq!(collection["name"], "users");
    let views = collection["views"].as_array().unwrap();
    let named = |name: &str| views.iter().find(|view| view["name"] == name).unwrap();
    assert_eq!(
        named("by-place"),
        &json!({"name": "by-place", "version": 0, "policy": "lazy", "reduces": true, "status": {"state": "ready"}})
    );
    assert_eq!(named("by-email")["policy"], "unique");
}
