//! The document at `/openapi.json`.

use std::collections::BTreeSet;

use crate::node::Node;

/// Every operation that it tells of is there, and what it does not tell of is not.
#[test]
fn tells_of_what_there_is() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let answer = node.get("/openapi.json");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        let told: BTreeSet<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        // Names with which nothing is done.
        let path = path
            .replace("{db}", "nowhere")
            .replace("{collection}", "c")
            .replace("{id}", "a")
            .replace("{view}", "v")
            .replace("{namespace}", "n")
            .replace("{key}", "k")
            .replace("{topic}", "t")
            .replace("{name}", "nothing");
        let refused = node.send("PATCH", &path, &[], "");
        refused.problem(405, "method-not-allowed");
        let allowed = refused.header("allow").to_lowercase();
        let mut allowed: BTreeSet<_> = allowed.split(',').collect();
        assert_eq!(allowed.remove("head"), allowed.contains("get"), "{path}");
        allowed.insert("parameters");
        assert_eq!(told, allowed, "{path}");
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let is_told = told.contains(method.to_lowercase().as_str());
            // Creating it is the one thing that can be done with a database that is nowhere.
            if path == "/v1/nowhere" && method == "PUT" {
                continue;
            }
            let answer = node.send(method, &path, &[], "");
            assert_eq!(answer.status != 405, is_told, "{method} {path}: {}", answer.body);
            if is_told {
                let responses = &item[method.to_lowercase().as_str()]["responses"];
                let status = answer.status.to_string();
                assert!(responses.get(&status).is_some(), "{method} {path} {status}");
            }
        }
    }
}
