//! Views.

use serde_json::{Value, json};

use crate::served::Served;

const PLACES: &str = "/v1/shop/users/_views/by-place";

fn with_users() -> Served {
    let served = Served::start();
    for (id, country, age) in [
        ("ada", "UK", 36),
        ("alan", "UK", 41),
        ("konrad", "DE", 85),
        ("grace", "US", 85),
    ] {
        let body = json!({"email": format!("{id}@example.com"), "country": country, "age": age}).to_string();
        assert_eq!(
            served.send("PUT", &format!("/v1/shop/users/{id}"), &body).status,
            201
        );
    }
    served
}

fn ids(served: &Served, query: &str) -> Vec<String> {
    let answer = served.get(&format!("{PLACES}?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let rows = answer.json()["rows"].as_array().unwrap().clone();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn select_by_key() {
    let served = with_users();
    for (query, expected) in [
        ("", vec!["konrad", "ada", "alan", "grace"]),
        ("order=desc", vec!["grace", "alan", "ada", "konrad"]),
        ("key=[\"UK\",36]", vec!["ada"]),
        ("key=[\"UK\",37]", vec![]),
        ("keys=[[\"US\",85],[\"DE\",85]]", vec!["konrad", "grace"]),
        ("prefix=[\"UK\"]", vec!["ada", "alan"]),
        ("start=[\"UK\",41]", vec!["alan", "grace"]),
        ("start=[\"UK\",36]&start_exclusive=true", vec!["alan", "grace"]),
        ("end=[\"UK\",41]", vec!["konrad", "ada"]),
        (
            "end=[\"UK\",41]&end_inclusive=true",
            vec!["konrad", "ada", "alan"],
        ),
        ("start=[\"Z\"]&end=[\"A\"]", vec![]),
        ("freshness=stale&limit=0001", vec!["konrad"]),
    ] {
        let query = query.replace('"', "%22").replace('[', "%5B").replace(']', "%5D");
        assert_eq!(ids(&served, &query), expected, "{query}");
    }
    let row = served.get(&format!("{PLACES}?limit=1&with_docs=true")).json();
    assert_eq!(row["rows"][0]["key"], json!(["DE", 85]));
    assert_eq!(row["rows"][0]["value"], 1);
    assert_eq!(row["rows"][0]["document"]["body"]["email"], "konrad@example.com");
    let email = served
        .get("/v1/shop/users/_views/by-email?prefix=%22al%22")
        .json();
    assert_eq!(
        email["rows"],
        json!([{"key": "alan@example.com", "id": "alan", "value": null}])
    );
}

#[test]
fn go_page_by_page() {
    let served = with_users();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("{PLACES}?limit=3{after}")).json();
        found.extend(page["rows"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found.len(), 4);
    for wrong in ["", "x", "0"] {
        served
            .get(&format!("{PLACES}?after={wrong}"))
            .wrong("after", wrong);
    }
    // One of nowhere is somewhere between the entries.
    assert_eq!(served.get(&format!("{PLACES}?after=00ff")).status, 200);
}

#[test]
fn reduce() {
    let served = with_users();
    let get = |query: &str| served.get(&format!("{PLACES}?{query}"));
    assert_eq!(get("reduce=true").json(), json!({ "value": 4 }));
    assert_eq!(
        get("reduce=true&prefix=%5B%22UK%22%5D").json(),
        json!({ "value": 2 })
    );
    let groups = get("group=true").json();
    assert_eq!(groups["groups"][0], json!({"key": ["DE", 85], "value": 1}));
    assert_eq!(groups["groups"].as_array().unwrap().len(), 4);
    get("reduce=true&limit=1").wrong("limit", "1");
    get("group=true&with_docs=true").wrong("with_docs", "true");
    let problem = served
        .get("/v1/shop/users/_views/by-email?reduce=true")
        .problem(422, "view-failed");
    assert_eq!(problem["view"], "by-email");
}

#[test]
fn delete_what_matches() {
    let served = with_users();
    let delete = |query: &str| served.send("DELETE", &format!("{PLACES}?{query}"), "");
    delete("").wrong("all", "");
    delete("limit=1").wrong("all", "");
    delete("all=true&key=1").wrong("all", "true");
    assert_eq!(
        delete("prefix=%5B%22UK%22%5D&limit=1").json(),
        json!({ "deleted": 1 })
    );
    assert_eq!(delete("prefix=%5B%22UK%22%5D").json(), json!({ "deleted": 1 }));
    assert_eq!(served.get("/v1/shop/users/_count").json(), json!({ "count": 2 }));
    assert_eq!(delete("all=true").json(), json!({ "deleted": 2 }));
}

#[test]
fn tell_how_they_are() {
    let served = with_users();
    assert_eq!(
        served.get(&format!("{PLACES}/_status")).json(),
        json!({ "state": "ready" })
    );
    let unknown = served
        .get("/v1/shop/users/_views/nope/_status")
        .problem(404, "unknown-view");
    assert_eq!(
        (&unknown["collection"], &unknown["view"]),
        (&json!("users"), &json!("nope"))
    );
    served
        .get("/v1/shop/users/_views/nope")
        .problem(404, "unknown-view");
    served.get("/v1/shop/users/_views/_nope").wrong("view", "_nope");
}

#[test]
fn refuse_what_makes_no_sense() {
    let served = with_users();
    for (query, field, value) in [
        ("key=UK", "key", "UK"),
        ("key=", "key", ""),
        ("keys=1", "keys", "1"),
        ("prefix=1", "prefix", "1"),
        ("start=%7B%7D", "start", "{}"),
        ("end=x", "end", "x"),
        ("key=1&start=1", "start", "1"),
        ("keys=[]&key=1", "keys", "[]"),
        ("end_inclusive=true", "end_inclusive", "true"),
        ("start_exclusive=yes&start=1", "start_exclusive", "yes"),
        ("order=up", "order", "up"),
        ("limit=0", "limit", "0"),
        ("limit=1001", "limit", "1001"),
        ("freshness=old", "freshness", "old"),
        ("with_docs=1", "with_docs", "1"),
        ("reduce=1", "reduce", "1"),
        ("where=1", "query", "where"),
    ] {
        served.get(&format!("{PLACES}?{query}")).wrong(field, value);
    }
    let unique = r#"{"email": "ada@example.com", "country": "UK", "age": 1}"#;
    let problem = served
        .send("PUT", "/v1/shop/users/x", unique)
        .problem(409, "not-unique");
    assert_eq!(
        (&problem["existing"], &problem["view"]),
        (&json!("ada"), &json!("by-email"))
    );
    let problem = served
        .send("PUT", "/v1/shop/users/x", "{}")
        .problem(422, "unfit-document");
    assert_eq!(problem["id"], Value::from("x"));
}
