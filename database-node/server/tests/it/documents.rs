//! One document: written, read, replaced, deleted, on conditions.

use crate::node::Node;

#[test]
fn lives_from_insert_to_delete() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = "/v1/default/users/ada";
    node.get(path).problem(404, "unknown-document");

    let written = node.put(path, " {\"born\": 1815, \"x\": 1.50} ");
    assert_eq!(written.status, 201, "{}", written.body);
    let revision = written.json()["revision"].as_str().unwrap().to_owned();
    assert_eq!(
        written.json(),
        serde_json::json!({"id": "ada", "revision": revision})
    );
    assert_eq!(written.header("etag"), format!("\"{revision}\""));

    let read = node.get(path);
    assert_eq!(
        (read.status, read.body.as_str()),
        (200, " {\"born\": 1815, \"x\": 1.50} ")
    );
    assert_eq!(read.header("content-type"), "application/json");
    assert_eq!(read.header("etag"), written.header("etag"));
    let head = node.send("HEAD", path, &[], "");
    assert_eq!(
        (head.status, head.body.as_str(), head.header("content-length")),
        (200, "", "27")
    );

    let replaced = node.put(path, "2");
    assert_eq!(replaced.status, 200);
    assert!(replaced.header("etag") > written.header("etag"));
    assert_eq!(node.send("DELETE", path, &[], "").status, 204);
    node.get(path).problem(404, "unknown-document");
    node.send("DELETE", path, &[], "")
        .problem(404, "unknown-document");
    let again = node.put(path, "1");
    assert_eq!(again.status, 201);
    assert!(
        again.header("etag") > replaced.header("etag"),
        "a revision never comes back"
    );
}

#[test]
fn obeys_conditions() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = "/v1/default/users/ada";
    let conditional = |method: &str, header: (&str, &str)| node.send(method, path, &[header], "1");

    let problem = conditional("PUT", ("If-Match", "*")).problem(412, "precondition-failed");
    assert_eq!(problem["currentRevision"], serde_json::Value::Null);
    let first = conditional("PUT", ("If-None-Match", "*"));
    assert_eq!(first.status, 201);
    let problem = conditional("PUT", ("If-None-Match", "*")).problem(412, "precondition-failed");
    assert_eq!(problem["currentRevision"], first.json()["revision"]);
    let second = conditional("PUT", ("If-Match", first.header("etag")));
    assert_eq!(second.status, 200);
    let problem = conditional("PUT", ("If-Match", first.header("etag"))).problem(412, "precondition-failed");
    assert_eq!(problem["currentRevision"], second.json()["revision"]);
    assert_eq!(conditional("PUT", ("If-Match", "*")).status, 200);

    let current = node.get(path).header("etag").to_owned();
    let get = |header: (&str, &str)| node.send("GET", path, &[header], "");
    let unchanged = get(("If-None-Match", &format!("\"other\", W/{current}")));
    assert_eq!(
        (
            unchanged.status,
            unchanged.body.as_str(),
            unchanged.header("etag")
        ),
        (304, "", current.as_str())
    );
    assert_eq!(get(("If-None-Match", first.header("etag"))).status, 200);
    assert_eq!(get(("If-Match", &current)).status, 200);
    get(("If-Match", first.header("etag"))).problem(412, "precondition-failed");

    let delete = |value: &str| node.send("DELETE", path, &[("If-Match", value)], "");
    delete(first.header("etag")).problem(412, "precondition-failed");
    for refused in [
        format!("W/{current}"),
        format!("{current}, \"x\""),
        "\"x\"".to_owned(),
        "x".to_owned(),
    ] {
        let problem = delete(&refused).problem(400, "invalid-value");
        assert_eq!(
            (problem["field"].as_str(), problem["value"].as_str()),
            (Some("If-Match"), Some(refused.as_str()))
        );
    }
    assert_eq!(delete(&current).status, 204);
    delete(&current).problem(412, "precondition-failed");
}

#[test]
fn only_one_of_many_inserts_wins() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let statuses = std::thread::scope(|scope| {
        let insert = || {
            node.send("PUT", "/v1/default/c/one", &[("If-None-Match", "*")], "1")
                .status
        };
        let threads = (0..16).map(|_| scope.spawn(insert)).collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 412).count(),
        15,
        "{statuses:?}"
    );
}

#[test]
fn gets_an_id_when_it_has_none() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let inserted = node.send(
        "POST",
        "/v1/default/users",
        &[("Content-Type", "application/json; charset=utf-8")],
        "[1]",
    );
    assert_eq!(inserted.status, 201, "{}", inserted.body);
    let id = inserted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    assert_eq!(inserted.header("location"), format!("/v1/default/users/{id}"));
    let read = node.get(inserted.header("location"));
    assert_eq!(
        (read.body.as_str(), read.header("etag")),
        ("[1]", inserted.header("etag"))
    );
    assert_ne!(
        node.send("POST", "/v1/default/users", &[], "[1]").json()["id"],
        id.as_str()
    );
}

#[test]
fn ids_are_percent_decoded_segments() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (segment, id) in [
        ("a%2Fb", "a/b"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("50%25", "50%"),
        ("Gr%C3%BC%C3%9Fe", "Grüße"),
        ("%E6%97%A5", "日"),
        ("%3F%23%26", "?#&"),
        ("%2E%2E%2E", "..."),
        ("_views", "_views"),
    ] {
        let path = format!("/v1/default/odd.names-1_2/{segment}");
        let written = node.put(&path, "1");
        assert_eq!(
            (written.status, written.json()["id"].as_str()),
            (201, Some(id)),
            "{segment}"
        );
        assert_eq!(node.get(&path).status, 200, "{segment}");
    }
    let listed = node.get("/v1/default/odd.names-1_2?prefix=a%2Fb").json();
    assert_eq!(listed["documents"][0]["id"], "a/b");
    let listed = node.get("/v1/default/odd.names-1_2?prefix=a+b").json();
    assert_eq!(listed["documents"][0]["id"], "a b", "in a query, + is a space");
}

#[test]
fn may_be_any_json_and_large() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let large = format!("\"{}\"", "x".repeat((16 << 20) - 2));
    for body in [
        "null",
        "true",
        "-0.0",
        "\"é\\u00e9\"",
        "{}",
        "123456789012345678901234567890",
        large.as_str(),
    ] {
        assert!(node.put("/v1/default/c/d", body).status <= 201);
        assert!(node.get("/v1/default/c/d").body == body);
    }
}
