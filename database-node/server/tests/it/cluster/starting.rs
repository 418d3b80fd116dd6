//! A node founds a cluster, comes back as who it was, and says why it cannot join.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::node::{Node, command, run};

const ALONE: [&str; 4] = ["--nodes-listen", "127.0.0.1:0", "--node-name", "first"];

#[test]
fn founds_a_cluster_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start_with(&data, &ALONE);
    node.wait_for_log("this node leads the group");
    let (log, admin) = (node.log(), node.admin_get("/readyz", &[]));
    assert!(log.contains("listening to other nodes"), "{log}");
    assert_eq!(admin.status, 200);
    node.stop();
    assert!(!node.log().contains("ERROR"), "{}", node.log());
    let joining = std::fs::read(data.join("joining")).unwrap();
    let mut again = Node::start_with(&data, &ALONE);
    again.wait_for_log("this node leads the group");
    assert_eq!(std::fs::read(data.join("joining")).unwrap(), joining);
    again.stop();
}

#[test]
fn says_why_it_cannot_join() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let join = |more: &[&str]| {
        let base = ["serve", "--listen", "127.0.0.1:0", "--quic-listen", "127.0.0.1:0"];
        let join = ["--admin-listen", "127.0.0.1:0", "--join", "127.0.0.1:1"];
        let data = ["--data", data.to_str().unwrap(), "--log-level", "error"];
        let output = run(&[&base[..], &join, &data, &ALONE, more].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = join(&[]);
    assert!(error.contains("needs a token"), "{error}");
    let token = folder.path().join("token");
    std::fs::write(&token, "not-a-token-at-all").unwrap();
    let error = join(&["--join-token-file", token.to_str().unwrap()]);
    assert!(
        error.contains("/token cannot be used") && error.contains("pliant-join-v1"),
        "{error}"
    );
    assert!(!error.contains("not-a-token-at-all"), "{error}");
}

#[test]
fn who_waits_for_a_certificate_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--quic-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args([
            "--join",
            "127.0.0.1:1",
            "--data",
            folder.path().join("data").to_str().unwrap(),
        ])
        .args(ALONE)
        .env("PLIANT_JOIN_TOKEN", format!("pliant-join-v1.{}", "A".repeat(86)));
    let mut child = command
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    let status = child.wait().unwrap();
    assert!(
        status.success() && began.elapsed() < Duration::from_secs(10),
        "{status}"
    );
}
