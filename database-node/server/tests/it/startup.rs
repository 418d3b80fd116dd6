//! Settings, and everything that keeps a node from starting.

use std::path::Path;

use crate::node::{Node, command, run};

/// Tries to serve `data`, which must fail with one line and exit code 1, or 3 for its settings.
fn refusal(data: &Path, arguments: &[&str]) -> String {
    let base = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
        "--data",
    ];
    let output = run(&[&base[..], &[data.to_str().unwrap()], arguments].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 3)), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("pliant-node: "), "{error}");
    error
}

#[test]
fn refuses_a_directory_in_use() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let error = refusal(data.path(), &[]);
    assert!(error.contains("in use by another process"), "{error}");
    assert_eq!(node.get("/readyz").status, 200);
    node.terminate();
    assert!(node.wait().success());
    Node::start(data.path());
}

#[test]
fn refuses_a_newer_or_foreign_or_impossible_directory() {
    let data = tempfile::tempdir().unwrap();
    drop(Node::start(data.path()));
    std::fs::write(data.path().join("FORMAT"), "pliantdb 2\n").unwrap();
    let error = refusal(data.path(), &[]);
    assert!(error.contains("format 2") && error.contains("up to 1"), "{error}");

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("PG_VERSION"), "18").unwrap();
    let error = refusal(foreign.path(), &[]);
    assert!(
        error.contains("not a PliantDB data directory") && error.contains("PG_VERSION"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(foreign.path()).unwrap().count(),
        1,
        "it is left alone"
    );

    let error = refusal(&foreign.path().join("PG_VERSION"), &[]);
    assert!(error.contains("cannot create the data directory"), "{error}");
}

#[test]
fn names_damage() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    node.put("/v1/default/c/a", "1");
    node.terminate();
    node.wait();
    let manifest = std::fs::read_dir(data.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let manifest = manifest
        .into_iter()
        .find(|path| path.to_string_lossy().contains("MANIFEST"))
        .unwrap();
    let mut bytes = std::fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&manifest, bytes).unwrap();
    let error = refusal(data.path(), &[]);
    assert!(error.contains("corrupt"), "{error}");
}

#[test]
fn refuses_a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = run(&[
        "serve",
        "--listen",
        &address,
        "--data",
        data.path().to_str().unwrap(),
    ]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains(&address) && error.contains("(listen)"), "{error}");
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let data = |name: &str| folder.path().join(name);
    let text = format!(
        "data: {}\nlisten: 127.0.0.1:0\nquicListen: 127.0.0.1:0\nadminListen: 127.0.0.1:0\nmaxBodySize: 2Ki\nlogFormat: json\n",
        data("from-file").display()
    );
    std::fs::write(&file, text).unwrap();
    let largest = |node: &Node| {
        let answer = node.put("/v1/default/c/a", &format!("\"{}\"", "x".repeat(9999)));
        answer.problem(413, "body-too-large")["limit"].as_u64().unwrap()
    };
    let serve = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = command();
        command
            .arg("serve")
            .env("PLIANT_CONFIG", &file)
            .envs(variables.iter().copied())
            .args(flags);
        Node::spawn(command)
    };

    assert_eq!(largest(&serve(&[], &[])), 2048);
    assert!(data("from-file").join("FORMAT").exists());
    assert_eq!(largest(&serve(&[("PLIANT_MAX_BODY_SIZE", "3Ki")], &[])), 3 * 1024);
    let node = serve(
        &[
            ("PLIANT_MAX_BODY_SIZE", "3Ki"),
            ("PLIANT_DATA", data("from-variable").to_str().unwrap()),
        ],
        &["--max-body-size", "4Ki"],
    );
    assert_eq!(largest(&node), 4 * 1024);
    assert!(data("from-variable").join("FORMAT").exists());
}

#[test]
fn checks_and_explains_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(
        check("maxConnections: 5\n"),
        (Some(0), "the settings are valid\n".to_owned())
    );
    let (code, error) = check("maxConections: 5\n");
    assert_eq!(code, Some(3));
    assert!(
        error.contains("maxConections") && error.contains("config.yaml"),
        "{error}"
    );
    assert_eq!(check("listen: 0.0.0.0:6480\n").0, Some(3));
    assert_eq!(run(&["check", "--config", "/not/there"]).status.code(), Some(3));

    let help = String::from_utf8(run(&["serve", "--help"]).stdout).unwrap();
    for part in [
        "A flag wins over",
        "PLIANT_TOKEN_FILE",
        "PLIANT_CONFIG",
        "--min-free-space",
        "6480",
        "6483",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let bad_flag = run(&["serve", "--max-body-size", "16MB"]);
    let error = String::from_utf8(bad_flag.stderr).unwrap();
    assert_eq!(bad_flag.status.code(), Some(3), "{error}");
    assert!(error.contains("16MB") && error.contains("16Mi"), "{error}");
}

#[test]
fn tells_its_version() {
    let expected = format!("pliant-node {}\n", env!("CARGO_PKG_VERSION"));
    for argument in ["version", "--version"] {
        assert_eq!(String::from_utf8(run(&[argument]).stdout).unwrap(), expected);
    }
}
