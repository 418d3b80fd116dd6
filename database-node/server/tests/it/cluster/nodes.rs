//! Nodes that are a cluster, each a process with a directory of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{Answer, Node};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the cluster is told and asked.
pub(super) const ADMIN: &str = "/admin/v1/cluster";

/// Directories for nodes.
pub(super) struct Places(TempDir);

impl Places {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The data directory of a node.
    pub(super) fn of(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a node that founds a cluster, or goes on.
    pub(super) fn found(&self, name: &str, more: &[&str]) -> Node {
        let nodes = ["--nodes-listen", "127.0.0.1:0", "--node-name", name];
        Node::start_with(&self.of(name), &[&nodes[..], more].concat())
    }

    /// Starts a node that joins one, with what a node has given for it.
    pub(super) fn join(&self, name: &str, given: &Value, more: &[&str]) -> Node {
        let token = self.0.path().join(format!("{name}.token"));
        std::fs::write(&token, given["token"].as_str().unwrap()).unwrap();
        let seeds: Vec<_> = given["seeds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|seed| seed.as_str().unwrap())
            .collect();
        let seeds = seeds.join(",");
        let join = ["--join", &seeds, "--join-token-file", token.to_str().unwrap()];
        self.found(name, &[&join[..], more].concat())
    }

    /// Three nodes: `a`, which leads, `b` and `c`.
    pub(super) fn three(&self) -> [Node; 3] {
        self.three_with(&[])
    }

    /// The same, each with these arguments.
    pub(super) fn three_with(&self, more: &[&str]) -> [Node; 3] {
        let a = self.found("a", more);
        let [b, c] = ["b", "c"].map(|name| self.join(name, &token(&a), more));
        until(&a, |status| {
            names(status) == ["a", "b", "c"] && is_at_rest(status)
        });
        [a, b, c]
    }
}

/// A token, and where to ask with it.
pub(super) fn token(node: &Node) -> Value {
    until(node, |status| status["supervised"] == true);
    let made = node.admin_send("POST", &format!("{ADMIN}/join-tokens"), &[], "{}");
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()
}

/// Sends a request about the cluster.
pub(super) fn send(node: &Node, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    node.admin_send(method, &format!("{ADMIN}{path}"), &[], &body)
}

/// How the cluster is.
pub(super) fn status(node: &Node) -> Value {
    let answer = node.admin_get(ADMIN, &[]);
    match answer.status {
        200 => answer.json(),
        _ => json!({}),
    }
}

/// Waits until the cluster is so.
pub(super) fn until(node: &Node, is_so: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let status = status(node);
        if is_so(&status) {
            return status;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "it is not so: {status:#}\n{}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn names(status: &Value) -> Vec<&str> {
    let nodes = status["nodes"].as_array();
    nodes
        .into_iter()
        .flatten()
        .map(|node| node["name"].as_str().unwrap())
        .collect()
}

/// A node, by its name.
pub(super) fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap()
}

/// Whether everything is where it is to be.
pub(super) fn is_at_rest(status: &Value) -> bool {
    let is_live =
        |node: &Value| node["lag"] == 0 && node["silentSeconds"].as_f64().is_some_and(|silent| silent < 2.0);
    status["supervised"] == true
        && status["switch"].is_null()
        && status["nodes"].as_array().unwrap().iter().all(is_live)
        && status["settled"] == status["groups"]
}
