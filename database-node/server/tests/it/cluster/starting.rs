//! A node founds a cluster, comes back as who it was, and says why it cannot join.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use pliantdb_cluster_transport::{Authority, CertificateFiles};
use serde_json::json;

use super::nodes::{Places, is_at_rest, names, node, send, until};
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

/// A certificate by somebody else than the cluster, as arguments.
fn certified(authority: &Authority, folder: &Path) -> Vec<String> {
    let files = CertificateFiles::within(folder);
    let day = Duration::from_secs(24 * 60 * 60);
    authority.certify(files.clone(), day, SystemTime::now()).unwrap();
    let arguments = [
        ("--nodes-certificate-file", files.certificate),
        ("--nodes-key-file", files.key),
        ("--nodes-authority-file", files.authority),
    ];
    let arguments = arguments.iter();
    arguments
        .flat_map(|(flag, file)| [(*flag).to_owned(), file.display().to_string()])
        .collect()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn nodes_with_certificates_of_their_owner_need_no_token() {
    let places = Places::new();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(&folder.path().join("authority"), "mine", SystemTime::now()).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| certified(&authority, &folder.path().join(name)));
    let first = places.found("a", &words(&a));
    let status = until(&first, |status| status["supervised"] == true);
    let seed = node(&status, "a")["address"].as_str().unwrap().to_owned();
    let second = places.found("b", &[&words(&b)[..], &["--join", &seed]].concat());
    until(&second, |status| {
        names(status) == ["a", "b"] && is_at_rest(status)
    });
    assert!(!places.of("b").join("authority/authority.pem").exists());
    let refused = send(&second, "POST", "/join-tokens", &json!({})).problem(409, "refused");
    assert!(
        refused["detail"].as_str().unwrap().contains("one of its own"),
        "{refused}"
    );
    // One of another authority is not heard.
    let other = Authority::create(&folder.path().join("other"), "other", SystemTime::now()).unwrap();
    let foreign = certified(&other, &folder.path().join("foreign"));
    let log = folder.path().join("log");
    let mut third = command();
    third
        .args([
            "serve",
            "--data",
            places.of("c").to_str().unwrap(),
            "--node-name",
            "c",
        ])
        .args(["--nodes-listen", "127.0.0.1:0", "--join", &seed])
        .args(words(&foreign))
        .stderr(std::fs::File::create(&log).unwrap());
    for listener in ["--listen", "--quic-listen", "--admin-listen"] {
        third.args([listener, "127.0.0.1:0"]);
    }
    let mut third = third.spawn().unwrap();
    let began = Instant::now();
    while !std::fs::read_to_string(&log)
        .unwrap()
        .contains("no node of the cluster is found there yet")
    {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    third.kill().unwrap();
    third.wait().unwrap();
    let third = places.found("c", &[&words(&c)[..], &["--join", &seed]].concat());
    until(&third, |status| names(status) == ["a", "b", "c"]);
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
