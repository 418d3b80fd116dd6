//! A namespace of a test's own, removed at its end.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bed::Bed;
use crate::command::{Output, run, run_with_input, wait_for};

/// A namespace in which pods must meet the restricted Pod Security level.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// Makes the namespace.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let name = format!("e2e-{name}");
        Bed::kubectl(&["create", "namespace", &name]).ok();
        let level = "pod-security.kubernetes.io/enforce=restricted";
        Bed::kubectl(&["label", "namespace", &name, level]).ok();
        Self(name)
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.0
    }

    fn command(&self) -> Command {
        let mut kubectl = Bed::command("kubectl");
        kubectl.args(["--namespace", &self.0]);
        kubectl
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        run(self.command().args(arguments))
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &Value) -> Output {
        run_with_input(self.command().args(["apply", "-f", "-"]), &manifest.to_string())
    }

    /// `kubectl patch` of a PliantCluster.
    pub fn patch(&self, cluster: &str, patch: &Value) -> Output {
        self.kubectl(&[
            "patch",
            "pliantcluster",
            cluster,
            "--type=merge",
            "-p",
            &patch.to_string(),
        ])
    }

    /// An object as JSON; `null` when there is none.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        let output = self.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "json"]);
        if output.success && output.stdout.is_empty() {
            Value::Null
        } else {
            output.json()
        }
    }

    /// The names of all objects of a kind.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let names = self
            .kubectl(&["get", kind, "-o", "jsonpath={.items[*].metadata.name}"])
            .ok();
        names.split_whitespace().map(String::from).collect()
    }

    /// A condition of a PliantCluster as (status, reason, message); empty when it is not there.
    pub fn condition(&self, cluster: &str, type_: &str) -> (String, String, String) {
        let cluster = self.get("pliantcluster", cluster);
        let conditions = cluster["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        let text = |key: &str| {
            found
                .and_then(|found| found[key].as_str())
                .unwrap_or_default()
                .to_string()
        };
        (text("status"), text("reason"), text("message"))
    }

    /// Waits until a condition of a PliantCluster has a status and a reason, and gives its message.
    ///
    /// # Panics
    /// When that does not come about in two minutes.
    #[track_caller]
    pub fn await_condition(&self, cluster: &str, type_: &str, status: &str, reason: &str) -> String {
        let what = format!("{cluster}: {type_} {status} {reason}");
        let seen = wait_for(
            &what,
            Duration::from_secs(120),
            || {
                (
                    self.condition(cluster, type_),
                    self.get("pliantcluster", cluster)["status"]["observedGeneration"].clone(),
                    self.get("pliantcluster", cluster)["metadata"]["generation"].clone(),
                )
            },
            |((found_status, found_reason, _), observed, generation)| {
                found_status == status && found_reason == reason && observed == generation
            },
        );
        seen.0.2
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person would look at first.
            for what in [&["describe", "pliantclusters"][..], &["get", "all,pvc,events"]] {
                let output = self.kubectl(what);
                eprintln!("--- kubectl -n {} {}\n{}", self.0, what.join(" "), output.stdout);
            }
        }
        Bed::kubectl(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}
