//! A database as its users meet it: over HTTP, through its Service.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::{Output, run, wait_for};
use crate::namespace::Namespace;

/// A PliantCluster of one node with a small volume.
#[derive(Debug)]
pub struct Database<'a> {
    /// The namespace it lives in.
    pub namespace: &'a Namespace,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Database<'a> {
    /// The manifest of a small database with a `spec` of its own on top.
    pub fn manifest(name: &str, spec: &Value) -> Value {
        let mut whole = json!({
            "storage": {"size": "256Mi"},
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
        });
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        json!({
            "apiVersion": "pliantdb.dev/v1alpha1", "kind": "PliantCluster",
            "metadata": {"name": name}, "spec": whole
        })
    }

    /// Makes a small database with a `spec` of its own on top, and waits until it is Ready.
    pub fn create(namespace: &'a Namespace, name: &'a str, spec: &Value) -> Self {
        namespace.apply(&Self::manifest(name, spec)).ok();
        let database = Self { namespace, name };
        database.await_ready();
        database
    }

    /// Waits until the database is Ready and at rest, and the Service leads to it: the machines' routes follow
    /// the readiness of a pod a moment later.
    ///
    /// # Panics
    /// When that does not come about in two minutes.
    #[track_caller]
    pub fn await_ready(&self) {
        self.namespace
            .await_condition(self.name, "Ready", "True", "NodesReady");
        self.namespace
            .await_condition(self.name, "Progressing", "False", "UpToDate");
        wait_for(
            "an answer through the Service",
            Duration::from_secs(30),
            || self.curl(&[], "default/things"),
            |answer| answer.success,
        );
    }

    /// The name of its first pod.
    pub fn pod(&self) -> String {
        format!("{}-0", self.name)
    }

    /// The first pod's identity: another pod of the same name has another.
    pub fn pod_uid(&self) -> String {
        self.namespace.get("pod", &self.pod())["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_string()
    }

    /// How often the first pod's container was restarted.
    pub fn restarts(&self) -> i64 {
        let pod = self.namespace.get("pod", &self.pod());
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_i64()
            .unwrap_or_default()
    }

    /// curl through the Service, as an administrator. `path` follows `/v1/`.
    pub fn curl(&self, arguments: &[&str], path: &str) -> Output {
        let service = self.namespace.get("service", self.name);
        let address = service["spec"]["clusterIP"]
            .as_str()
            .unwrap_or("0.0.0.0")
            .to_string();
        let secret = format!("{}-admin", self.name);
        let template = "go-template={{.data.token | base64decode}}";
        let token = self
            .namespace
            .kubectl(&["get", "secret", &secret, "-o", template])
            .ok();
        run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "5"])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(arguments)
            .arg(format!("http://{address}:6480/v1/{path}")))
    }

    /// Stores a document.
    ///
    /// # Panics
    /// When the database does not acknowledge it.
    #[track_caller]
    pub fn put(&self, id: &str, document: &Value) {
        let document = document.to_string();
        self.curl(
            &["-X", "PUT", "--json", &document],
            &format!("default/things/{id}"),
        )
        .ok();
    }

    /// Waits until a document can be read and is as it should be.
    ///
    /// # Panics
    /// When it is not within a minute.
    #[track_caller]
    pub fn await_document(&self, id: &str, expected: &Value) {
        wait_for(
            &format!("the document {id}"),
            Duration::from_secs(60),
            || self.curl(&[], &format!("default/things/{id}")),
            |answer| {
                answer.success
                    && serde_json::from_str::<Value>(&answer.stdout).is_ok_and(|it| it == *expected)
            },
        );
    }
}
