//! What `e2e/up` leaves, and the manifests that users start from.

use std::process::Command;

use e2e::{Bed, run, run_with_input};

#[test]
fn the_quickstart_database_is_ready() {
    let shown = Bed::kubectl(&["get", "pliantcluster", "quickstart"]).ok();
    let mut lines = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        lines.next().expect("a header"),
        ["NAME", "NODES", "READY", "STATUS", "AGE"]
    );
    assert_eq!(
        lines.next().expect("a row")[..4],
        ["quickstart", "1", "True", "NodesReady"]
    );
    for name in ["plc", "pliant"] {
        assert!(
            Bed::kubectl(&["get", name]).ok().contains("quickstart"),
            "kubectl get {name}"
        );
    }
}

#[test]
fn every_manifest_is_accepted_by_the_api_server() {
    let folder = Bed::root().join("manifests");
    for entry in std::fs::read_dir(folder).expect("the folder manifests") {
        let path = entry.expect("an entry").path();
        let path = path.to_str().expect("a path in UTF-8");
        Bed::kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", path]).ok();
    }
}

#[test]
fn everything_in_the_chart_is_accepted_by_the_api_server_without_a_warning() {
    for values in ["replicas=2", "watchNamespace=default"] {
        let rendered = run(Bed::command("helm")
            .args(["template", "again"])
            .arg(Bed::root().join("helm/pliant-operator"))
            .args(["--namespace", Bed::OPERATOR_NAMESPACE, "--set", values]))
        .ok();
        let mut apply: Command = Bed::command("kubectl");
        apply.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ]);
        let output = run_with_input(&mut apply, &rendered);
        assert!(!output.stderr.contains("Warning"), "{}", output.stderr);
        output.ok();
    }
}
