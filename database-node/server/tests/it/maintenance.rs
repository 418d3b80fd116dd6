//! Encryption, backups, dumps and checks, as they are used from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::node::{Node, command, run};

/// Runs a command that must succeed, and returns what it printed.
fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// Runs a command that must fail with one line and exit code 1.
fn refused(arguments: &[&str]) -> String {
    one_line(&run(arguments))
}

fn one_line(output: &Output) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn key_file(path: &Path, byte: &str) -> String {
    fs::write(path, byte.repeat(32)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn stop(mut node: Node) {
    node.terminate();
    assert!(node.wait().success());
}

/// Every file below a folder.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    });
    all.collect()
}

fn holds(path: &Path, text: &str) -> bool {
    let holds = |file: PathBuf| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files(path).into_iter().any(holds)
}

#[test]
fn an_encrypted_node_from_backup_to_dump() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (data, backups, restored) = (path("data"), path("backups"), path("restored"));
    let (key, other) = (
        key_file(&root.path().join("key"), "a1"),
        key_file(&root.path().join("other"), "b2"),
    );

    let node = Node::start_with(Path::new(&data), &["--master-key-file", &key]);
    let document = "/v1/default/people/ada";
    assert_eq!(node.put(document, r#"{"engine": "analytical"}"#).status, 201);
    let error = refused(&[
        "backup",
        "--data",
        &data,
        "--to",
        &backups,
        "--master-key-file",
        &key,
    ]);
    assert!(error.contains("in use"), "{error}");
    stop(node);
    assert!(!holds(Path::new(&data), "analytical"));

    // Every way to give a wrong key, or none.
    let error = refused(&["dump", "--data", &data]);
    assert!(
        error.contains("is encrypted") && error.contains("local-"),
        "{error}"
    );
    let error = refused(&["check-data", "--data", &data, "--master-key-file", &other]);
    assert!(error.contains("was given"), "{error}");
    let both = command()
        .args(["check-data", "--data", &data, "--master-key-file", &key])
        .env("PLIANT_MASTER_KEY", "a1".repeat(32))
        .output()
        .unwrap();
    let error = one_line(&both);
    assert!(
        error.contains("leave one out") && !error.contains("a1a1"),
        "{error}"
    );
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&["check-data", "--data", &data, "--master-key-file", &other]);
    assert!(
        error.contains("mode 644") && error.contains("chmod 400"),
        "{error}"
    );

    let by_variable = command()
        .args(["check-data", "--data", &data])
        .env("PLIANT_MASTER_KEY", "a1".repeat(32))
        .output()
        .unwrap();
    assert!(by_variable.status.success(), "{}", text(&by_variable.stderr));
    let found = text(&by_variable.stdout);
    assert!(
        found.contains("\"default\": 1 documents") && found.ends_with("no fault was found\n"),
        "{found}"
    );

    let made = done(&[
        "backup",
        "--data",
        &data,
        "--to",
        &backups,
        "--master-key-file",
        &key,
    ]);
    assert!(made.starts_with("backup 20"), "{made}");
    let again = done(&[
        "backup",
        "--data",
        &data,
        "--to",
        &backups,
        "--master-key-file",
        &key,
    ]);
    assert!(again.contains("of which"), "{again}");
    let name = made.split([' ', ':']).nth(1).unwrap();
    assert!(!holds(Path::new(&backups), "analytical"));
    let verified = done(&["restore", "--from", &backups, "--verify"]);
    assert!(verified.contains("is whole"), "{verified}");
    let done_restoring = done(&[
        "restore", "--from", &backups, "--backup", name, "--data", &restored,
    ]);
    assert!(
        done_restoring.contains(name) && done_restoring.contains("master key local-"),
        "{done_restoring}"
    );
    let error = refused(&["restore", "--from", &backups, "--data", &restored]);
    assert!(error.contains("not empty"), "{error}");
    let error = refused(&[
        "restore",
        "--from",
        &backups,
        "--backup",
        "nope",
        "--data",
        &path("x"),
    ]);
    assert!(error.contains("nope") && error.contains(name), "{error}");

    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let rotate = [
        "rotate-master-key",
        "--data",
        &restored,
        "--master-key-file",
        &key,
    ];
    done(&[&rotate[..], &["--new-master-key-file", &other]].concat());
    let node = Node::start_with(Path::new(&restored), &["--master-key-file", &other]);
    assert_eq!(node.get(document).body, r#"{"engine": "analytical"}"#);
    stop(node);

    // To a directory that is not encrypted.
    let (dump, plain) = (path("dump.jsonl"), path("plain"));
    let dumping = ["dump", "--data", &restored, "--master-key-file", &other];
    done(&[&dumping[..], &["--to", &dump]].concat());
    assert_eq!(fs::read_to_string(&dump).unwrap(), done(&dumping));
    let error = refused(&[&dumping[..], &["--to", &dump]].concat());
    assert!(error.contains("cannot create"), "{error}");
    let loaded = done(&["load", "--data", &plain, "--from", &dump]);
    assert!(loaded.contains("1 databases with 1 documents"), "{loaded}");
    let node = Node::start(Path::new(&plain));
    assert_eq!(node.get(document).body, r#"{"engine": "analytical"}"#);
    stop(node);
}

#[test]
fn damage_is_reported_and_nothing_is_made_by_mistake() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (data, missing) = (path("data"), path("missing"));
    for arguments in [
        &["dump", "--data", &missing][..],
        &["check-data", "--data", &missing],
        &["backup", "--data", &missing, "--to", &path("backups")],
    ] {
        let error = refused(arguments);
        assert!(error.contains(&missing), "{error}");
        assert!(!Path::new(&missing).exists());
    }
    let dump = path("dump");
    fs::write(&dump, "{\"pliantdbDump\":1}\n{\"database\":\"default\"}\n").unwrap();
    let error = refused(&["load", "--data", &missing, "--from", &dump]);
    assert!(error.contains("line 2"), "{error}");
    assert!(
        !Path::new(&missing).exists(),
        "a dump is checked before anything is made"
    );
    let error = refused(&["backup", "--data", &data, "--to", "ftp://elsewhere/x"]);
    assert!(error.contains("ftp://elsewhere/x"), "{error}");

    let node = Node::start(Path::new(&data));
    for n in 0..50 {
        let body = format!("\"{}\"", format!("{n:03}").repeat(300));
        assert_eq!(node.put(&format!("/v1/default/people/{n}"), &body).status, 201);
    }
    stop(node);
    let tables = files(Path::new(&data))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "sst"));
    let table = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, bytes).unwrap();
    let output = run(&["check-data", "--data", &data]);
    assert!(
        text(&output.stdout).contains("FAULT: nothing can be read after"),
        "{}",
        text(&output.stdout)
    );
    assert!(one_line(&output).contains("has 1 faults"));
}
