//! Users, roles and API keys from the command line.

use std::process::{Command, Output};

use super::{done, failed};
use crate::node::{Node, command};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "a staple and a battery";

fn at(node: &Node, arguments: &[&str]) -> Command {
    let mut command = command();
    command
        .args(["--output", "json"])
        .args(arguments)
        .args(["--server", &format!("pliant://{}", node.quic)])
        .args(["--fingerprint", &node.fingerprint]);
    command
}

#[test]
fn users_roles_and_keys() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut outputs = Vec::new();
    let mut run = |command: &mut Command| -> Output {
        let output = command.output().unwrap();
        outputs.extend_from_slice(&output.stdout);
        outputs.extend_from_slice(&output.stderr);
        output
    };
    let set = ["user", "set", "root", "--password", "--roles", "administrator"];
    let error = failed(&run(&mut at(&node, &set)), 3);
    assert!(
        error["message"].as_str().unwrap().contains("PLIANT_NEW_PASSWORD"),
        "{error}"
    );
    done(&run(at(&node, &set).env("PLIANT_NEW_PASSWORD", PASSWORD)));
    failed(&run(&mut at(&node, &["user", "list"])), 5);

    let root = |arguments: &[&str]| {
        let mut command = at(&node, arguments);
        command.args(["--user", "root"]).env("PLIANT_PASSWORD", PASSWORD);
        command
    };
    done(&run(&mut root(&[
        "role",
        "set",
        "clerk",
        "--allow",
        "read,write on collection default/orders",
    ])));
    let error = failed(
        &run(&mut root(&["role", "set", "x", "--allow", "fly on server"])),
        3,
    );
    assert!(error["message"].as_str().unwrap().contains("fly"), "{error}");
    done(&run(root(&[
        "user",
        "set",
        "ada",
        "--password",
        "--roles",
        "clerk",
    ])
    .env("PLIANT_NEW_PASSWORD", PASSWORD)));
    let users = done(&run(&mut root(&["user", "list"])));
    assert_eq!(users[0]["user"], "ada");
    assert_eq!(users[0]["roles"], serde_json::json!(["clerk"]));
    let roles = done(&run(&mut root(&["role", "list"])));
    assert!(roles.iter().any(|role| role["role"] == "clerk"), "{roles:?}");

    let ada = |arguments: &[&str], password: &str| {
        let mut command = at(&node, arguments);
        command.args(["--user", "ada"]).env("PLIANT_PASSWORD", password);
        command
    };
    let write = ["shell", "-c", "put orders 1 {}"];
    done(&run(&mut ada(&write, PASSWORD)));
    failed(&run(&mut ada(&["shell", "-c", "put users 1 {}"], PASSWORD)), 5);
    failed(&run(&mut ada(&["backup", "--to", "/backups"], PASSWORD)), 5);
    done(&run(
        ada(&["user", "password"], PASSWORD).env("PLIANT_NEW_PASSWORD", OTHER)
    ));
    failed(&run(&mut ada(&write, PASSWORD)), 5);
    let who = done(&run(&mut ada(&["user", "whoami"], OTHER)));
    assert_eq!(who[0]["user"], "ada");

    // The one secret that is shown, once.
    let made = root(&["api-key", "create", "ci", "--roles", "clerk", "--lifetime", "1h"])
        .output()
        .unwrap();
    let key = done(&made)[0]["key"].as_str().unwrap().to_owned();
    done(&run(at(&node, &write).env("PLIANT_TOKEN", &key)));
    let keys = done(&run(&mut root(&["api-key", "list"])));
    assert_eq!([&keys[0]["name"], &keys[0]["of"]["roles"][0]], ["ci", "clerk"]);
    done(&run(&mut root(&["api-key", "delete", "ci"])));
    failed(&run(at(&node, &write).env("PLIANT_TOKEN", &key)), 5);

    done(&run(&mut root(&["user", "set", "ada", "--disable"])));
    failed(&run(&mut ada(&write, OTHER)), 5);
    done(&run(&mut root(&["user", "set", "ada", "--enable"])));
    done(&run(&mut ada(&write, OTHER)));
    done(&run(&mut root(&["user", "delete", "ada"])));
    done(&run(&mut root(&["role", "delete", "clerk"])));
    failed(&run(&mut ada(&write, OTHER)), 5);
    let on_directory = command()
        .args(["--output", "json", "user", "list", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    failed(&on_directory, 3);

    let shown = String::from_utf8(outputs).unwrap() + &node.log();
    for secret in [PASSWORD, OTHER, &key] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
