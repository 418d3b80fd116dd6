//! Errors, exit codes, and what must not be shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use super::{TOKEN, done, failed, json, on};
use crate::node::{Node, command};

fn shell() -> Command {
    let mut shell = command();
    shell.args(["shell", "--output", "json", "-c", "databases"]);
    shell
}

fn message(output: &Output, code: i32) -> String {
    let error = failed(output, code);
    let kind = ["", "failed", "partly", "usage", "unreachable", "denied"][usize::try_from(code).unwrap()];
    assert_eq!(error["error"], kind);
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn exit_codes_tell_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let (data, token_file) = (root.path().join("data"), root.path().join("token"));
    fs::write(&token_file, TOKEN).unwrap();
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
    let node = Node::start_with(&data, &["--token-file", token_file.to_str().unwrap()]);
    let server = format!("pliant://{}", node.quic);
    let known = |shell: &mut Command| {
        shell
            .args(["--server", &server, "--fingerprint", &node.fingerprint])
            .output()
            .unwrap()
    };

    assert!(message(&known(&mut shell()), 5).contains("--token-file"));
    let wrong = "wrong-wrong-wrong-wrong";
    let denied = message(&known(shell().env("PLIANT_TOKEN", wrong)), 5);
    assert!(!denied.contains(wrong), "{denied}");
    assert_eq!(done(&known(shell().env("PLIANT_TOKEN", TOKEN))).len(), 1);
    assert_eq!(
        done(&known(shell().arg("--token-file").arg(&token_file))).len(),
        1
    );
    let by_websocket = shell()
        .args(["--server", &format!("ws://{}", node.address)])
        .env("PLIANT_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert_eq!(done(&by_websocket).len(), 1);
    // As this machine's node, whose certificate is where its data is.
    let variables = shell()
        .envs([
            ("PLIANT_SERVER", server.as_str()),
            ("PLIANT_FINGERPRINT", &node.fingerprint),
        ])
        .output();
    message(&variables.unwrap(), 5);
    let password = known(
        shell()
            .args(["--user", "ada"])
            .env("PLIANT_PASSWORD", "hunter2hunter2"),
    );
    assert!(!message(&password, 5).contains("hunter2"));
    assert!(message(&known(shell().args(["--user", "ada"])), 3).contains("PLIANT_PASSWORD"));

    let untrusted = shell().args(["--server", &server]).output().unwrap();
    assert!(message(&untrusted, 4).contains("--fingerprint"));
    let nobody = shell().args(["--server", "ws://127.0.0.1:1"]).output().unwrap();
    assert!(message(&nobody, 4).contains("127.0.0.1:1"));
    let bad = shell()
        .args(["--server", "http://ada:secret@host"])
        .output()
        .unwrap();
    let bad = message(&bad, 3);
    assert!(bad.contains("pliant://") && !bad.contains("secret"), "{bad}");
    let both = shell()
        .args(["--server", &server, "--data", "x"])
        .output()
        .unwrap();
    assert!(message(&both, 3).contains("--data"));
    assert!(
        message(
            &command().args(["--output=json", "frobnicate"]).output().unwrap(),
            3
        )
        .contains("frobnicate")
    );
    assert!(message(&on(&data, &["shell", "-c", "databases"]), 1).contains("in use"));
    assert!(
        message(
            &on(&root.path().join("missing"), &["shell", "-c", "databases"]),
            1
        )
        .contains("missing")
    );
    assert!(!root.path().join("missing").exists());

    let log = node.log();
    for secret in [TOKEN, wrong, "hunter2"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn settings_and_versions_are_json_too() {
    let run = |arguments: &[&str]| {
        command()
            .args(arguments)
            .env("PLIANT_OUTPUT", "json")
            .output()
            .unwrap()
    };
    assert_eq!(done(&run(&["version"]))[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(done(&run(&["check"]))[0]["valid"], true);
    assert!(message(&run(&["check", "--listen", "localhost"]), 3).contains("listen is localhost"));
    assert!(message(&run(&["import", "users", "--from", "x"]), 3).contains("--format"));
    assert!(json(&run(&["--help"]).stderr).is_empty());
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("4 the server cannot be reached"), "{help}");
}
