//! A cluster, looked after from the command line.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use super::nodes::{Places, is_at_rest, names, until};
use crate::node::{Node, command};

fn at(node: &Node, arguments: &[&str]) -> Command {
    let mut command = command();
    let admin = format!("http://{}", node.admin);
    command.arg("cluster").args(arguments).args(["--admin", &admin]);
    command
}

fn text(node: &Node, arguments: &[&str]) -> String {
    let output = at(node, arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let text = text(node, &[&["--output", "json"], arguments].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn refused(node: &Node, arguments: &[&str], code: i32) -> String {
    let output: Output = at(node, arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    error
}

/// Runs what was printed, as a shell does.
fn join(places: &Path, name: &str, printed: &str) -> Node {
    let program = Path::new(env!("CARGO_BIN_EXE_pliant-node"));
    let mut shell = Command::new("sh");
    shell
        .env_clear()
        .args(["-c", &format!("exec env {printed}")])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        )
        .env("PLIANT_DATA", places.join(name))
        .env("PLIANT_LOG_FORMAT", "json");
    for listener in ["PLIANT_LISTEN", "PLIANT_QUIC_LISTEN", "PLIANT_ADMIN_LISTEN"] {
        shell.env(listener, "127.0.0.1:0");
    }
    Node::spawn(shell)
}

#[test]
fn nodes_join_by_what_is_printed_switch_and_leave() {
    let places = Places::new();
    let folder = tempfile::tempdir().unwrap();
    let a = places.found("a", &[]);
    until(&a, |status| status["supervised"] == true);
    let printed = text(&a, &["join", "--name", "b"]);
    let b = join(folder.path(), "b", printed.trim());
    until(&b, |status| names(status) == ["a", "b"]);
    let made = json(&b, &["join", "--name", "c"]);
    assert_eq!(made["seeds"].as_array().unwrap().len(), 2);
    assert!(made["token"].as_str().unwrap().starts_with("pliant-join-v1."));
    let _c = join(folder.path(), "c", made["command"].as_str().unwrap());
    until(&a, |status| {
        names(status) == ["a", "b", "c"] && is_at_rest(status)
    });

    let shown = text(&b, &["status"]);
    for part in [
        "mode         one leader, a",
        "failover     manual",
        "a\tLeader\tactive",
        "c\tReplica\tactive",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(json(&b, &["status"])["node"], "b");

    assert_eq!(text(&b, &["switch", "quorum"]), "the mode is Quorum\n");
    let shown = text(&b, &["status"]);
    assert!(
        shown.contains("mode         quorum") && shown.contains("any minority"),
        "{shown}"
    );
    let error = refused(&b, &["remove", "c"], 1);
    assert!(error.contains("needs 3 active nodes"), "{error}");
    let back = json(&b, &["switch", "one-leader", "--leader", "b"]);
    assert_eq!((&back["leader"], &back["switch"]), (&"b".into(), &Value::Null));
    assert_eq!(text(&a, &["promote", "a"]), "promoted a\n");
    assert_eq!(
        text(&a, &["failover", "automatic", "--delay", "5s"]),
        "failover is Automatic after 5s\n"
    );
    assert!(text(&a, &["status"]).contains("failover     automatic, after 5s"));
    let error = refused(&a, &["drain", "c"], 1);
    assert!(error.contains("automatic failover needs 3"), "{error}");
    text(&a, &["failover", "manual"]);

    assert_eq!(text(&a, &["drain", "c"]), "drained c\n");
    assert_eq!(text(&a, &["undrain", "c"]), "undrained c\n");
    assert_eq!(json(&a, &["remove", "c"])["done"], "removed");
    until(&b, |status| names(status) == ["a", "b"]);
}

#[test]
fn says_what_is_missing() {
    let places = Places::new();
    let [a, b, mut c] = places.three();
    let error = refused(&a, &["promote", "b", "--force"], 3);
    assert!(
        error.contains("--old-leader-is-gone") && error.contains("--accept-split-brain"),
        "{error}"
    );
    let error = refused(&a, &["drain", "d"], 1);
    assert!(error.contains("there are a, b, c"), "{error}");
    let error = refused(&a, &["switch", "quorum", "--leader", "b"], 3);
    assert!(error.contains("leave the leader out"), "{error}");
    refused(&a, &["failover", "automatic"], 3);
    c.kill();
    let error = refused(&b, &["switch", "quorum", "--timeout", "6s"], 1);
    assert!(
        error.contains("goes on") && error.contains("not heard: c"),
        "{error}"
    );
    let shown = text(&b, &["status"]);
    assert!(shown.contains("under way    to quorum; 0 of "), "{shown}");
    text(&b, &["switch", "one-leader", "--no-wait"]);
    assert!(text(&b, &["status"]).contains("given up"));
    text(&b, &["remove", "c", "--lost"]);
    assert!(text(&b, &["switch", "one-leader"]).contains("led by a"));

    let error = command()
        .args(["cluster", "status", "--admin", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(error.status.code(), Some(4));
}

#[test]
fn of_two_nodes_one_goes_on_alone() {
    let places = Places::new();
    let mut a = places.found("a", &[]);
    let b = places.join("b", &super::nodes::token(&a), &[]);
    until(&a, |status| names(status) == ["a", "b"] && is_at_rest(status));
    a.kill();
    let force = ["promote", "b", "--force", "--old-leader-is-gone"];
    let start = Instant::now();
    loop {
        let output = at(&b, &[&force[..], &["--alone"]].concat()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => break,
            // It has heard it a moment ago.
            _ => assert!(
                error.contains("promote without forcing it") && start.elapsed().as_secs() < 20,
                "{error}"
            ),
        }
    }
    assert!(text(&b, &["status"]).contains("mode         one leader, b"));
    assert_eq!(text(&b, &["remove", "a", "--lost"]), "removed a\n");
}
