//! What people do with `pliant-node` from the command line.

mod accounts;
mod administration;
mod failures;
mod shell;
mod transfer;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::node::{Node, command};

/// A file with a bearer token.
const TOKEN: &str = "0123456789abcdef0123";

/// Runs a command at a running node, with JSON as its output.
fn at(node: &Node, arguments: &[&str]) -> Output {
    command()
        .args(["--output", "json"])
        .args(arguments)
        .args(["--server", &format!("pliant://{}", node.quic)])
        .args(["--fingerprint", &node.fingerprint])
        .output()
        .unwrap()
}

/// Runs a command on a data directory, with JSON as its output.
fn on(data: &Path, arguments: &[&str]) -> Output {
    command()
        .args(["--output", "json"])
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

/// One JSON object a line.
fn json(bytes: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(bytes).unwrap();
    let read = |line: &str| -> Value {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
        value
    };
    text.lines().map(read).collect()
}

/// What a command printed that must succeed.
fn done(output: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    json(&output.stdout)
}

/// The error of a command that must fail with this exit code.
fn failed(output: &Output, code: i32) -> Value {
    let errors = json(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors:?}");
    let error = errors.last().unwrap().clone();
    assert_eq!(error["exitCode"], code);
    error
}
