//! What the README shows of a server, run as it stands there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::node::Node;

const README: &str = include_str!("../../../../README.md");
const RUST: &str = include_str!("../../../client/examples/quickstart.rs");

/// The commands behind a mark.
fn commands(mark: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("<!-- run: {mark} -->")).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_pliant-node"))
        .parent()
        .unwrap()
        .join(name)
}

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.into_owned()
}

#[test]
fn curl_the_shell_and_rust_meet_the_same_database() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("data"));
    let url = node.quic_url();
    let bash = |commands: &str| {
        let path = format!("{}:{}", program("").display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-euc", commands])
            .env("PATH", path)
            .env("PLIANT_SERVER", &url);
        text(&bash.current_dir(folder.path()).output().unwrap())
    };
    let address = format!("localhost:{}", node.address.port());
    let curl = commands("curl")
        .replace("localhost:6480", &address)
        .replace("curl ", "curl --silent --fail-with-body ");
    assert!(bash(&curl).contains("\"Ada\""));
    assert!(bash(commands("shell")).contains("Alan"));

    // It is an example, so that it is compiled and can be run.
    let (_, shown) = RUST.split_once("\n\n").unwrap();
    assert!(
        README.contains(shown),
        "the README shows another program than client/examples/quickstart.rs"
    );
    let quickstart = program("examples/quickstart");
    if !quickstart.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "-p",
            "pliantdb-client",
            "--example",
            "quickstart",
        ]);
        text(&cargo.output().unwrap());
    }
    let listed = text(
        &Command::new(quickstart)
            .env("PLIANT_SERVER", &url)
            .output()
            .unwrap(),
    );
    for name in ["Ada", "Alan", "Grace"] {
        assert!(listed.contains(name), "{listed}");
    }
    let visits = node.get("/v1/default/_kv/visits/home");
    assert_eq!(visits.body, "3", "each of them has counted");
}
