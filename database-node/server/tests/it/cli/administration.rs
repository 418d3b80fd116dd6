//! Backups of running nodes, certificates, completions and man pages.

use std::fs;

use serde_json::json;

use super::{at, done, failed, on};
use crate::node::{Node, command, run};

#[test]
fn a_running_node_backs_up_where_it_may() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (data, places, restored) = (root.path().join("data"), path("backups"), path("restored"));
    let mut node = Node::start_with(&data, &["--backup-places", &places]);
    done(&at(&node, &["shell", "-c", "put users 1 {\"name\": \"Ada\"}"]));
    let place = format!("{places}/daily");
    let made = done(&at(&node, &["backup", "--to", &place]));
    assert!(made[0]["files"].as_u64().unwrap() > 0, "{made:?}");
    done(&at(&node, &["shell", "-c", "put users 2 {}"]));
    for elsewhere in [
        path("elsewhere"),
        format!("{places}/../elsewhere"),
        "s3://bucket/x".to_owned(),
    ] {
        let error = failed(&at(&node, &["backup", "--to", &elsewhere]), 1);
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("backupPlaces") && message.contains(&places),
            "{error}"
        );
    }
    assert!(!root.path().join("elsewhere").exists());
    node.stop();

    let done_restoring = done(&command_json(&["restore", "--from", &place, "--data", &restored]));
    assert_eq!(done_restoring[0]["backup"], made[0]["backup"]);
    let found = done(&on(restored.as_ref(), &["shell", "-c", "list users"]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["body"], json!({"name": "Ada"}));
}

fn command_json(arguments: &[&str]) -> std::process::Output {
    command()
        .args(["--output", "json"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn certificates_are_shown_and_renewed() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let error = failed(&on(&data, &["certificate", "show"]), 1);
    assert!(
        error["message"].as_str().unwrap().contains("certificate.pem"),
        "{error}"
    );
    failed(&on(&data, &["certificate", "renew"]), 1);
    let node = Node::start(&data);
    let shown = done(&on(&data, &["certificate", "show"]));
    assert_eq!(shown[0]["fingerprint"], node.fingerprint);
    let names = shown[0]["names"].as_array().unwrap();
    assert!(
        names.contains(&json!("localhost"))
            && names.contains(&json!("127.0.0.1"))
            && names.contains(&json!("::1"))
    );
    let renewed = done(&on(&data, &["certificate", "renew"]));
    assert_ne!(renewed[0]["fingerprint"], node.fingerprint);
    let left: Vec<_> = fs::read_dir(data.join("tls"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    drop(node);
    let node = Node::start(&data);
    assert_eq!(renewed[0]["fingerprint"], node.fingerprint);
}

#[test]
fn completions_and_man_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success() && script.stdout.len() > 1000, "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(run(&["man", folder.path().to_str().unwrap()]).status.success());
    for page in [
        "pliant-node.1",
        "pliant-node-import.1",
        "pliant-node-certificate-show.1",
    ] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    assert!(String::from_utf8(run(&["man"]).stdout).unwrap().contains("shell"));
}
