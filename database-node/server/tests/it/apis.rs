//! Custom APIs.

use serde_json::json;

use crate::served::Served;

#[test]
fn are_called_with_a_body_or_parameters() {
    let served = Served::start();
    for path in ["/api/shop/add", "/api/add", "/api/default/add"] {
        let answer = served.send("POST", path, "{\"a\": 1, \"b\": 2}");
        assert_eq!((answer.status, answer.body.as_str()), (200, "3"), "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(
            served.get(&format!("{path}?a=1&b=-3&twice=true&note=x")).body,
            "-4",
            "{path}"
        );
    }
    assert_eq!(
        served.get("/api/add?a=1&b=1&note=%2236%22").body,
        "2",
        "a text in quotes is one"
    );
}

#[test]
fn refuse_and_fail() {
    let served = Served::start();
    let problem = served.get("/api/add?a=100&b=1").problem(422, "api-refused");
    assert_eq!(problem["error"], json!({"TooLarge": {"most": 100}}));
    for (query, expected) in [
        ("a=1", "missing field `b`"),
        ("a=1&b=2&note=36", "expected a string"),
        ("a=x&b=1", "expected i64"),
    ] {
        let problem = served
            .get(&format!("/api/add?{query}"))
            .problem(422, "unfit-request");
        assert!(
            problem["detail"].as_str().unwrap().contains(expected),
            "{problem}"
        );
    }
    served.get("/api/add?a=1&a=2").wrong("query", "a");
    served.send("POST", "/api/add", "{").problem(400, "invalid-json");
    let problem = served.get("/api/nope").problem(404, "unknown-api");
    assert_eq!(problem["api"], "nope");
    served.get("/api/_nope").wrong("name", "_nope");
    served.get("/api/nowhere/add").problem(404, "unknown-database");
    assert_eq!(
        served
            .send("POST", "/api/add", "{\"a\": 1, \"b\": 2, \"note\": \"panic\"}")
            .status,
        500
    );
    assert_eq!(served.get("/api/add?a=1&b=1").body, "2", "it goes on");
}
