//! Whatever is done by one node is so for all: logins, users and keys, databases, positions and messages.

use std::process::Command;

use pliantdb_client::blocking::{Client, RemoteSnapshot};
use pliantdb_client::{Collection, Connection, Options, StorageConnection, TakeSnapshot};
use serde_json::{Value, json};

use super::nodes::{Places, is_at_rest, names, send as administer, token, until};
use crate::node::{Answer, Node, command};

#[derive(serde::Serialize, serde::Deserialize, Collection)]
#[collection(name = "items", id = String)]
struct Item(u32);

const PASSWORD: &str = "correct horse battery";

fn send(node: &Node, bearer: &str, method: &str, path: &str, body: &Value) -> Answer {
    send_with(node, bearer, method, path, body, &[])
}

fn send_with(
    node: &Node,
    bearer: &str,
    method: &str,
    path: &str,
    body: &Value,
    more: &[(&str, &str)],
) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let authorization = format!("Bearer {bearer}");
    let mut headers = more.to_vec();
    if !bearer.is_empty() {
        headers.push(("Authorization", authorization.as_str()));
    }
    node.send(method, path, &headers, &body)
}

fn is(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
}

#[test]
fn whoever_is_known_to_one_node_is_known_to_all() {
    let places = Places::new();
    let [a, b, c] = places.three();
    let root = json!({ "password": PASSWORD, "roles": ["administrator"] });
    is(&send(&b, "", "PUT", "/v1/_users/root", &root), 204);
    // From that moment on, everywhere.
    for node in [&a, &b, &c] {
        is(&send(node, "", "GET", "/v1", &Value::Null), 401);
    }
    let login = json!({ "user": "root", "password": PASSWORD });
    let session = send(&c, "", "POST", "/v1/_login", &login);
    is(&session, 200);
    let session = session.json()["token"].as_str().unwrap().to_owned();
    for node in [&a, &b, &c] {
        is(&send(node, &session, "GET", "/v1/_whoami", &Value::Null), 200);
    }
    let asked = json!({ "name": "ci", "roles": ["administrator"] });
    let key = send(&a, &session, "POST", "/v1/_keys", &asked);
    is(&key, 201);
    let key = key.json()["key"].as_str().unwrap().to_owned();
    for node in [&b, &c, &a] {
        is(&send(node, &key, "GET", "/v1", &Value::Null), 200);
    }
    is(&send(&c, &session, "DELETE", "/v1/_keys/ci", &Value::Null), 204);
    for node in [&b, &a, &c] {
        is(&send(node, &key, "GET", "/v1", &Value::Null), 401);
    }
    let twice = json!({ "name": "ci", "roles": ["nobody"] });
    let refused = send(&b, &session, "POST", "/v1/_keys", &twice);
    assert!(
        refused.status >= 400 && refused.body.contains("nobody"),
        "{}",
        refused.body
    );
    is(&send(&a, &session, "POST", "/v1/_logout", &Value::Null), 204);
    for node in [&b, &c, &a] {
        is(&send(node, &session, "GET", "/v1/_whoami", &Value::Null), 401);
    }
}

#[test]
fn what_was_written_by_one_node_is_read_by_all() {
    let places = Places::new();
    let [a, b, c] = places.three();
    is(&send(&c, "", "PUT", "/v1/shop", &json!({})), 201);
    for (number, node) in [&a, &b, &c].into_iter().enumerate() {
        is(
            &send(node, "", "PUT", "/v1/shop/items/x", &json!({ "number": number })),
            200 + u16::from(number == 0),
        );
        for other in [&a, &b, &c] {
            let read = send(other, "", "GET", "/v1/shop/items/x", &Value::Null);
            is(&read, 200);
            assert_eq!(read.json()["number"], number);
        }
    }
    // What it wrote somebody reads from any replica by the position of the answer.
    let written = send(&b, "", "PUT", "/v1/shop/items/y", &json!(1));
    is(&written, 201);
    let position = written.header("position").to_owned();
    let read = send_with(
        &c,
        "",
        "GET",
        "/v1/shop/items/y",
        &Value::Null,
        &[("At-Least", &position)],
    );
    is(&read, 200);
    assert!(!read.header("position").is_empty());
    let local = [("Consistency", "local"), ("Max-Staleness", "30")];
    is(
        &send_with(&b, "", "GET", "/v1/shop/items/y", &Value::Null, &local),
        200,
    );
    for (name, value) in [
        ("Consistency", "eventual"),
        ("At-Least", "1.2.3"),
        ("Max-Staleness", "3"),
    ] {
        let refused = send_with(&b, "", "GET", "/v1/shop/items/y", &Value::Null, &[(name, value)]);
        refused.wrong(name, value);
    }
    let other = position.replacen(|first: char| first.is_ascii_digit(), "9", 1);
    let refused = send_with(
        &b,
        "",
        "GET",
        "/v1/shop/items/y",
        &Value::Null,
        &[("At-Least", &other)],
    );
    assert!(
        refused.status == 422 && refused.body.contains("another database"),
        "{}",
        refused.body
    );

    let switched = administer(&b, "PUT", "/mode", &json!({"mode": "Quorum"}));
    is(&switched, 202);
    until(&a, |status| status["mode"] == "Quorum" && is_at_rest(status));
    for node in [&c, &b, &a] {
        let read = send_with(
            node,
            "",
            "GET",
            "/v1/shop/items/y",
            &Value::Null,
            &[("At-Least", &position)],
        );
        is(&read, 200);
    }
    is(&send(&a, "", "DELETE", "/v1/shop", &Value::Null), 204);
    for node in [&a, &b, &c] {
        is(&send(node, "", "GET", "/v1/shop/items/y", &Value::Null), 404);
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_backup_by_any_node_is_one_of_a_node_alone() {
    let places = Places::new();
    let backups = places.of("backups");
    let allowed = ["--backup-places", backups.to_str().unwrap()];
    let [a, b, c] = places.three_with(&allowed);
    is(&administer(&a, "PUT", "/mode", &json!({"mode": "Quorum"})), 202);
    until(&a, |status| status["mode"] == "Quorum" && is_at_rest(status));
    let root = json!({ "password": PASSWORD, "roles": ["administrator"] });
    is(&send(&b, "", "PUT", "/v1/_users/root", &root), 204);
    let login = json!({ "user": "root", "password": PASSWORD });
    let session = send(&c, "", "POST", "/v1/_login", &login).json()["token"].clone();
    let session = session.as_str().unwrap();
    is(&send(&c, session, "PUT", "/v1/shop", &json!({})), 201);
    // Each backup has what was written before it was asked for, by whichever nodes.
    for (number, (writer, maker)) in [(&a, &b), (&b, &c), (&c, &a)].into_iter().enumerate() {
        let item = format!("/v1/shop/items/{number}");
        is(
            &send(writer, session, "PUT", &item, &json!({ "number": number })),
            201,
        );
        let mut backing_up = command();
        backing_up.args(["backup", "--to", allowed[1], "--server", &maker.quic_url()]);
        succeeds(
            backing_up
                .args(["--user", "root"])
                .env("PLIANT_PASSWORD", PASSWORD),
        );
        let restored = places.of(&format!("restored-{number}"));
        let mut restoring = command();
        succeeds(
            restoring
                .args(["restore", "--from", allowed[1], "--data"])
                .arg(&restored),
        );
        let alone = Node::start(&restored);
        is(&send(&alone, "", "GET", &item, &Value::Null), 401);
        let login = send(&alone, "", "POST", "/v1/_login", &login).json()["token"].clone();
        let session = login.as_str().unwrap();
        for number in 0..=number {
            let item = format!("/v1/shop/items/{number}");
            let read = send(&alone, session, "GET", &item, &Value::Null);
            is(&read, 200);
            assert_eq!(read.json()["number"], number);
        }
    }
    // It becomes a cluster again.
    let again = places.found("restored-2", &[]);
    let login = send(&again, "", "POST", "/v1/_login", &login).json()["token"].clone();
    let read = send(
        &again,
        login.as_str().unwrap(),
        "GET",
        "/v1/shop/items/2",
        &Value::Null,
    );
    is(&read, 200);
}

#[test]
fn a_snapshot_is_of_one_moment_at_a_node_without_a_replica_too() {
    let places = Places::new();
    let a = places.found("a", &[]);
    let [b, c, d] = ["b", "c", "d"].map(|name| places.join(name, &token(&a), &[]));
    until(&a, |status| {
        names(status) == ["a", "b", "c", "d"] && is_at_rest(status)
    });
    is(&administer(&a, "PUT", "/mode", &json!({"mode": "Quorum"})), 202);
    is(&send(&a, "", "PUT", "/v1/shop", &json!({})), 201);
    let status = until(&a, |status| status["mode"] == "Quorum" && is_at_rest(status));
    let databases = status["databases"].as_array().unwrap();
    let shop = databases
        .iter()
        .find(|database| database["name"] == "shop")
        .unwrap();
    assert_eq!(shop["voters"].as_array().unwrap().len(), 3, "{shop}");
    let count = |snapshot: &RemoteSnapshot| snapshot.collection::<Item>().list().all().unwrap().len();
    for (number, node) in [&a, &b, &c, &d].into_iter().enumerate() {
        let options = Options {
            finds_nodes: false,
            ..Options::default()
        };
        let client = Client::connect(&node.quic_url(), options).unwrap();
        let shop = client.database::<()>("shop").unwrap();
        let put = |id: &str| {
            is(
                &send(&c, "", "PUT", &format!("/v1/shop/items/{number}-{id}"), &json!(1)),
                201,
            );
        };
        put("before");
        let snapshot = shop.snapshot().unwrap();
        let second = shop.snapshot().unwrap();
        put("after");
        assert_eq!(count(&snapshot), 2 * number + 1);
        drop(snapshot);
        assert_eq!(count(&second), 2 * number + 1);
        assert_eq!(count(&shop.snapshot().unwrap()), 2 * number + 2);
    }
}

#[test]
fn a_backup_that_may_lack_what_others_have_decided_is_refused() {
    let places = Places::new();
    let backups = places.of("backups");
    let allowed = ["--backup-places", backups.to_str().unwrap()];
    let [a, mut b, mut c] = places.three_with(&allowed);
    let back_up = || {
        let mut backing_up = command();
        backing_up.args(["backup", "--to", allowed[1], "--server", &a.quic_url()]);
        backing_up.output().unwrap()
    };
    assert!(back_up().status.success());
    b.kill();
    c.kill();
    until(&a, |status| status["supervised"] == false);
    // It leads its databases by itself; but of users and databases the others could have decided without it.
    is(&send(&a, "", "PUT", "/v1/default/items/x", &json!(1)), 201);
    let refused = back_up();
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && reason.contains("no node can do that"),
        "{reason}"
    );
}
