//! Three nodes, and what any of them is asked about the cluster.

use serde_json::{Value, json};

use super::nodes::{ADMIN, Places, is_at_rest, names, node, send, status, token, until};
use crate::node::Node;

#[test]
fn every_node_tells_how_the_cluster_is() {
    let places = Places::new();
    let a = places.found("a", &["--node-attributes", "zone=east", "--cluster-name", "shop"]);
    let given = token(&a);
    let b = places.join("b", &given, &[]);
    let status = until(&b, |status| names(status) == ["a", "b"] && is_at_rest(status));
    assert_eq!((&status["node"], &status["leader"]), (&json!("b"), &json!("a")));
    assert_eq!(
        (&status["mode"], &status["survivesMinorities"]),
        (&json!("OneLeader"), &json!(false))
    );
    assert_eq!(status["failover"], json!({"policy": "Manual"}));
    let first = node(&status, "a");
    assert_eq!(
        (&first["role"], &first["state"]),
        (&json!("Leader"), &json!("Active"))
    );
    assert_eq!(node(&status, "b")["role"], "Replica");
    assert_eq!(first["attributes"], json!({"zone": "east"}));
    assert_eq!(first["http"], format!("http://{}", a.address));
    assert_eq!(
        (&first["quic"], &first["fingerprint"]),
        (&json!(a.quic.to_string()), &json!(a.fingerprint))
    );
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    let seed = given["seeds"][0].as_str().unwrap();
    assert_eq!(first["address"], seed);

    // A certificate that clients do not know yet is told of.
    let before = first["fingerprint"].clone();
    let renewed = crate::node::run(&["certificate", "renew", "--data", places.of("a").to_str().unwrap()]);
    assert!(renewed.status.success());
    until(&b, |status| node(status, "a")["fingerprint"] != before);
}

#[test]
fn a_token_is_good_for_one_node() {
    let places = Places::new();
    let a = places.found("a", &[]);
    let given = token(&a);
    let b = places.join("b", &given, &[]);
    until(&b, |status| names(status) == ["a", "b"]);
    // Another with the same.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, given["token"].as_str().unwrap()).unwrap();
    let refused = crate::node::run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--quic-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--nodes-listen",
        "127.0.0.1:0",
        "--node-name",
        "c",
        "--log-level",
        "error",
        "--data",
        folder.path().join("data").to_str().unwrap(),
        "--join",
        given["seeds"][0].as_str().unwrap(),
        "--join-token-file",
        file.to_str().unwrap(),
    ]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("was used already"), "{error}");
    assert!(
        !error.contains(given["token"].as_str().unwrap())
            && !a.log().contains(given["token"].as_str().unwrap())
    );

    let path = format!("{ADMIN}/join-tokens");
    let asked = |body: &str| a.admin_send("POST", &path, &[], body);
    asked(r#"{"lifetime": "soon"}"#).wrong("lifetime", "soon");
    let long = asked(r#"{"lifetime": "200h"}"#).problem(409, "refused");
    assert!(
        long["detail"].as_str().unwrap().contains("choose up to"),
        "{long}"
    );
    let unknown = asked(r#"{"lifetimes": "1h"}"#).problem(400, "invalid-value");
    assert!(
        unknown["detail"].as_str().unwrap().contains("`lifetime`"),
        "{unknown}"
    );
}

#[test]
fn the_mode_is_switched_and_a_node_drains_and_leaves() {
    let places = Places::new();
    let [a, b, c] = places.three();
    // Asked of one that decides nothing.
    let begun = send(&c, "PUT", "/mode", &json!({"mode": "Quorum"}));
    assert_eq!(begun.status, 202, "{}", begun.body);
    assert!(begun.json()["switch"].is_u64());
    let is_quorum = |status: &Value| status["mode"] == "Quorum" && is_at_rest(status);
    until(&b, |status| {
        is_quorum(status) && status["survivesMinorities"] == true
    });
    until(&c, is_quorum);
    let again = send(&c, "PUT", "/mode", &json!({"mode": "Quorum"}));
    assert_eq!((again.status, again.json()), (200, json!({"switch": null})));
    let refused = send(&b, "POST", "/nodes/c/drain", &Value::Null).problem(409, "refused");
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("needs 3 active nodes"),
        "{refused}"
    );
    let refused = send(&b, "POST", "/promote", &json!({"node": "c"})).problem(409, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("quorum mode"),
        "{refused}"
    );

    // Back, with another leader.
    let back = send(&b, "PUT", "/mode", &json!({"mode": "OneLeader", "leader": "b"}));
    assert_eq!(back.status, 202, "{}", back.body);
    until(&a, |status| status["leader"] == "b" && is_at_rest(status));
    let refused = send(&a, "DELETE", "/nodes/b", &Value::Null).problem(409, "refused");
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("n2 (b) is the leader"),
        "{refused}"
    );
    let promoted = send(&a, "POST", "/promote", &json!({"node": "a"}));
    assert_eq!(promoted.status, 202, "{}", promoted.body);
    until(&a, |status| status["leader"] == "a" && is_at_rest(status));

    // It leaves when it holds nothing any more.
    let refused = send(&a, "DELETE", "/nodes/c", &Value::Null).problem(409, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("drain it first"),
        "{refused}"
    );
    for (path, state) in [
        ("drain", "Draining"),
        ("undrain", "Active"),
        ("drain", "Draining"),
    ] {
        assert_eq!(
            send(&b, "POST", &format!("/nodes/c/{path}"), &Value::Null).status,
            204
        );
        until(&a, |status| {
            node(status, "c")["state"] == state && is_at_rest(status)
        });
    }
    assert_eq!(send(&b, "DELETE", "/nodes/c", &Value::Null).status, 204);
    until(&a, |status| names(status) == ["a", "b"]);
}

#[test]
fn a_change_that_is_under_way_is_given_up() {
    let places = Places::new();
    let [a, b, mut c] = places.three();
    c.kill();
    let begun = send(&a, "PUT", "/mode", &json!({"mode": "Quorum"}));
    assert_eq!(begun.status, 202, "{}", begun.body);
    let status = until(&b, |status| status["switch"]["phase"] == "Running");
    assert_eq!(
        (&status["switch"]["to"], &status["mode"]),
        (&json!("Quorum"), &json!("OneLeader"))
    );
    // It waits for the node that is gone.
    let other =
        send(&a, "PUT", "/mode", &json!({"mode": "OneLeader", "leader": "b"})).problem(409, "refused");
    assert!(
        other["detail"].as_str().unwrap().contains("is under way"),
        "{other}"
    );
    assert_eq!(
        send(&b, "PUT", "/mode", &json!({"mode": "OneLeader"})).status,
        202
    );
    until(&b, |status| status["switch"]["phase"] == "Aborting");
    // It was a voter of the group that knows about the cluster; that is over when its owner says that it is lost.
    assert_eq!(send(&b, "DELETE", "/nodes/c?lost=true", &Value::Null).status, 204);
    let status = until(&a, |status| status["switch"].is_null() && is_at_rest(status));
    assert_eq!(
        (&status["mode"], &status["leader"]),
        (&json!("OneLeader"), &json!("a"))
    );
    assert_eq!(names(&status), ["a", "b"]);
}

#[test]
fn a_leader_that_is_gone_is_replaced_by_consent_only() {
    let places = Places::new();
    let [mut a, b, c] = places.three();
    a.kill();
    let neither = send(&b, "POST", "/promote", &json!({"node": "b", "force": true}));
    neither.wrong("force", "neither");
    let both = json!({"node": "b", "force": true, "acceptSplitBrain": true, "oldLeaderIsGone": true});
    send(&b, "POST", "/promote", &both).wrong("force", "both");
    let without = send(
        &b,
        "POST",
        "/promote",
        &json!({"node": "b", "acceptSplitBrain": true}),
    );
    without.wrong("force", "false");
    let alone = json!({"node": "b", "force": true, "oldLeaderIsGone": true, "alone": true});
    send(&c, "POST", "/promote", &alone).wrong("node", "b");
    let unknown = send(&b, "POST", "/promote", &json!({"node": "d"})).problem(404, "unknown-node");
    assert_eq!(unknown["known"], json!(["a", "b", "c"]));
    let promotion = json!({"node": "b", "force": true, "oldLeaderIsGone": true});
    let start = std::time::Instant::now();
    loop {
        let forced = send(&c, "POST", "/promote", &promotion);
        match forced.status {
            200 => {
                until(&c, |status| status["leader"] == "b" && status["switch"].is_null());
                break;
            }
            // Nothing was stored yet, so the others have a leader without force.
            409 => {
                let refused = forced.problem(409, "refused");
                assert!(
                    refused["detail"]
                        .as_str()
                        .unwrap()
                        .contains("promote without force"),
                    "{refused}"
                );
                break;
            }
            // The one that is gone was asked.
            _ => forced.problem(504, "unknown-outcome"),
        };
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }
}

#[test]
fn of_two_nodes_one_goes_on_alone() {
    let places = Places::new();
    let mut a = places.found("a", &[]);
    let b = places.join("b", &token(&a), &[]);
    until(&a, |status| names(status) == ["a", "b"] && is_at_rest(status));
    a.kill();
    let together = json!({"node": "b", "force": true, "oldLeaderIsGone": true});
    let answer = send(&b, "POST", "/promote", &together);
    // The one that is gone may have been asked.
    if answer.status != 504 {
        let undecided = answer.problem(503, "undecided");
        assert!(
            undecided["detail"].as_str().unwrap().contains("with alone"),
            "{undecided}"
        );
    }
    let promotion = json!({"node": "b", "force": true, "oldLeaderIsGone": true, "alone": true});
    let start = std::time::Instant::now();
    loop {
        // At first it cannot know that the other is gone.
        let answer = send(&b, "POST", "/promote", &promotion);
        if answer.status == 200 {
            break;
        }
        answer.problem(409, "refused");
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    until(&b, |status| {
        status["leader"] == "b" && status["supervised"] == true
    });
}

#[test]
fn says_what_cannot_be_done() {
    let places = Places::new();
    let a = places.found("a", &[]);
    until(&a, |status| status["supervised"] == true);
    let few = send(&a, "PUT", "/mode", &json!({"mode": "Quorum"})).problem(409, "refused");
    assert!(
        few["detail"]
            .as_str()
            .unwrap()
            .contains("quorum mode needs 3 active nodes, and there are 1"),
        "{few}"
    );
    send(&a, "PUT", "/mode", &json!({"mode": "Quorum", "leader": "a"})).wrong("leader", "a");
    let unknown = send(&a, "POST", "/nodes/b/drain", &Value::Null).problem(404, "unknown-node");
    assert_eq!(
        (&unknown["node"], &unknown["known"]),
        (&json!("b"), &json!(["a"]))
    );
    let few = send(
        &a,
        "PUT",
        "/failover",
        &json!({"policy": "Automatic", "delay": "10s"}),
    );
    few.problem(409, "refused");
    send(
        &a,
        "PUT",
        "/failover",
        &json!({"policy": "Automatic", "delay": "soon"}),
    )
    .wrong("delay", "soon");
    send(
        &a,
        "PUT",
        "/failover",
        &json!({"policy": "Manual", "delay": "3s"}),
    )
    .wrong("delay", "3s");
    assert_eq!(
        send(&a, "PUT", "/failover", &json!({"policy": "Manual"})).status,
        204
    );
    send(&a, "PUT", "/replication-factor", &json!({"replicationFactor": 4})).wrong("replicationFactor", "4");
    assert_eq!(
        send(&a, "PUT", "/replication-factor", &json!({"replicationFactor": 5})).status,
        204
    );
    until(&a, |status| status["replicationFactor"] == 5);
    send(&a, "DELETE", "/nodes/a?lost=maybe", &Value::Null).problem(400, "invalid-value");
    send(&a, "POST", "/mode", &json!({})).problem(405, "method-not-allowed");

    let alone = tempfile::tempdir().unwrap();
    let alone = Node::start(alone.path());
    let problem = alone.admin_get(ADMIN, &[]).problem(409, "no-cluster");
    assert!(
        problem["detail"].as_str().unwrap().contains("--nodes-listen"),
        "{problem}"
    );
    assert_eq!(alone.get(ADMIN).status, 404, "clients have no such thing");
}

#[test]
fn any_input_is_answered() {
    let places = Places::new();
    let a = places.found("a", &[]);
    let before = until(&a, |status| status["supervised"] == true);
    let long = format!("{{\"node\": \"{}\"}}", "x".repeat(100_000));
    let bodies = [
        "",
        "[]",
        "{",
        "\"x\"",
        "null",
        "{\"mode\":1}",
        "{\"node\":[]}",
        "\u{7f}",
        &long,
    ];
    let paths = [
        ("POST", "/join-tokens"),
        ("PUT", "/mode"),
        ("POST", "/promote"),
        ("PUT", "/failover"),
        ("PUT", "/replication-factor"),
    ];
    for (method, path) in paths {
        for body in bodies {
            let answer = a.admin_send(method, &format!("{ADMIN}{path}"), &[], body);
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path} {body:.40}: {}",
                answer.body
            );
            assert!(answer.body.len() < 4000, "{}", answer.body);
        }
    }
    let name = "n".repeat(10_000);
    for name in ["%00", "a%2Fb", "%FF", "..", "%20", name.as_str()] {
        for (method, path) in [("POST", "/drain"), ("POST", "/undrain"), ("DELETE", "")] {
            let answer = a.admin_send(method, &format!("{ADMIN}/nodes/{name}{path}"), &[], "");
            assert!((400..500).contains(&answer.status), "{name:.40}: {}", answer.body);
            assert!(answer.body.len() < 4000, "{}", answer.body);
        }
    }
    let after = status(&a);
    assert_eq!(
        (&before["mode"], &before["failover"]),
        (&after["mode"], &after["failover"])
    );
    assert_eq!(names(&after), ["a"]);
}

#[test]
fn only_an_administrator_changes_the_cluster() {
    let places = Places::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef").unwrap();
    let a = places.found("a", &["--token-file", file.to_str().unwrap()]);
    assert_eq!(status(&a), json!({}));
    a.admin_get(ADMIN, &[]).problem(401, "unauthorized");
    let bearer = [("Authorization", "Bearer 0123456789abcdef")];
    let path = format!("{ADMIN}/join-tokens");
    assert_eq!(a.admin_send("POST", &path, &[], "{}").status, 401);
    let start = std::time::Instant::now();
    while a.admin_send("POST", &path, &bearer, "{}").status != 201 {
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The same from the command line.
    let admin = format!("http://{}", a.admin);
    let cli = |more: &[&str]| {
        let arguments = ["cluster", "status", "--admin", &admin];
        crate::node::command()
            .args(arguments)
            .args(more)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(
        (cli(&[]), cli(&["--token-file", file.to_str().unwrap()])),
        (Some(5), Some(0))
    );
    // Remembered, without the token.
    a.wait_for_log("make join token");
    assert!(!a.log().contains("pliant-join-v1"));
    assert_eq!(a.admin_get("/metrics", &[]).status, 200, "as before on loopback");
}

#[test]
fn metrics_tell_what_a_node_does_for_its_cluster() {
    let places = Places::new();
    let [a, b, c] = places.three();
    let of = |node: &Node, name: &str| {
        let metrics = node.admin_get("/metrics", &[]).body;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("pliantdb_cluster_{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert_eq!([&a, &b, &c].map(|node| of(node, "supervises")), [1.0, 0.0, 0.0]);
    assert_eq!((of(&b, "nodes"), of(&b, "switching")), (3.0, 0.0));
    assert!(of(&a, "leaderships_total") >= 1.0);
    let days = of(&b, "certificate_expires_seconds") / 86_400.0;
    assert!((89.0..=90.0).contains(&days), "{days}");
    assert_eq!((of(&a, "entries_lost_total"), of(&c, "halts_total")), (0.0, 0.0));
    for name in [
        "log_syncs_total",
        "log_written_bytes_total",
        "envelopes_sent_total",
        "sent_bytes_total",
    ] {
        assert!(of(&b, name) > 0.0, "{name}");
    }
    let metrics = a.admin_get("/metrics", &[]).body;
    // Of its stores and its disk as of a node alone.
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().parse::<f64>().unwrap())
    };
    assert_eq!(value("pliantdb_store_writable "), Some(1.0), "{metrics}");
    for name in [
        "store_wal_syncs_total ",
        "store_memtables_bytes ",
        "disk_free_bytes ",
        "uptime_seconds ",
    ] {
        assert!(
            value(&format!("pliantdb_{name}")) > Some(0.0),
            "{name}: {metrics}"
        );
    }
    for node in ["a", "b", "c"] {
        let name = format!("pliantdb_cluster_node_silent_seconds{{node=\"{node}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        assert!(line.parse::<f64>().unwrap() < 3.0, "{line}");
    }
    assert!(!b.admin_get("/metrics", &[]).body.contains("cluster_node_silent"));
}
