//! Listings, page by page.

use crate::node::Node;

fn ids(page: &serde_json::Value) -> Vec<String> {
    let documents = page["documents"].as_array().unwrap();
    documents
        .iter()
        .map(|document| document["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn goes_through_a_collection_in_order() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    assert_eq!(node.get("/v1/default/empty").body, "{\"documents\":[]}");
    let mut expected = Vec::new();
    for n in 0..120 {
        let id = format!("{}/{n}", ["a", "b", "é"][n % 3]);
        let segment = id.replace('/', "%2F").replace('é', "%C3%A9");
        assert_eq!(
            node.put(&format!("/v1/default/c/{segment}"), &format!("{{\"n\": {n}}}"))
                .status,
            201
        );
        expected.push(id);
    }
    node.put("/v1/default/c2/other", "1");
    expected.sort();

    let first = node.get("/v1/default/c").json();
    assert_eq!(ids(&first), expected[..100]);
    assert_eq!(first["next"], expected[99].as_str());
    let document = &first["documents"][0];
    assert_eq!(document["body"]["n"], 0);
    assert_eq!(document["revision"].as_str().unwrap().len(), 16);

    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = node.get(&format!("/v1/default/c?limit=7{after}")).json();
        all.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F").replace('é', "%C3%A9")),
            None => break,
        }
    }
    assert_eq!(all, expected);
    let page = node.get("/v1/default/c?prefix=%C3%A9%2F&limit=1000").json();
    assert_eq!(ids(&page), expected[80..]);
    assert!(page.get("next").is_none());
    assert_eq!(
        ids(&node.get("/v1/default/c?prefix=a&after=a%2F9").json()),
        expected[36..40]
    );
    assert_eq!(node.send("HEAD", "/v1/default/c", &[], "").status, 200);
}

#[test]
fn bounds_its_answers() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    for n in 0..10 {
        assert_eq!(node.put(&format!("/v1/default/c/{n}"), &body).status, 201);
    }
    let page = node.get("/v1/default/c").json();
    assert_eq!((ids(&page).len(), page["next"].as_str()), (3, Some("2")));
}

#[test]
fn refuses_impossible_parameters() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (query, field, value) in [
        ("limit=0", "limit", "0"),
        ("limit=1001", "limit", "1001"),
        ("limit=-1", "limit", "-1"),
        ("limit=many", "limit", "many"),
        ("limit=", "limit", ""),
        ("limit=1&limit=2", "query", "limit"),
        ("after=", "after", ""),
        ("after=%00", "after", "\0"),
        ("prefix=%FF", "prefix", "%FF"),
        ("offset=3", "query", "offset"),
    ] {
        let problem = node
            .get(&format!("/v1/default/c?{query}"))
            .problem(400, "invalid-value");
        assert_eq!(
            (problem["field"].as_str(), problem["value"].as_str()),
            (Some(field), Some(value)),
            "{query}"
        );
    }
    node.get("/v1/nope/c").problem(404, "unknown-database");
}
