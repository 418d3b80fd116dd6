//! What others change or take away comes back.

use std::time::Duration;

use e2e::{CALM, Database, Namespace, wait_for};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn what_is_deleted_is_made_again() {
    let _calm = CALM.read();
    let namespace = Namespace::new("deleted");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"kept": true});
    database.put("one", &document);
    let config_maps = namespace.names("configmaps");
    let config = config_maps
        .iter()
        .find(|name| name.starts_with("db-config-"))
        .expect("a configuration");
    let objects = [
        ("service", "db"),
        ("service", "db-nodes"),
        ("configmap", config),
        ("configmap", "db-release"),
        ("serviceaccount", "db"),
        ("poddisruptionbudget", "db"),
        ("statefulset", "db"),
    ];
    for (kind, name) in objects {
        let before = namespace.get(kind, name)["metadata"]["uid"].clone();
        namespace.kubectl(&["delete", kind, name]).ok();
        wait_for(
            &format!("another {kind} {name}"),
            LIMIT,
            || namespace.get(kind, name)["metadata"]["uid"].clone(),
            |uid| !uid.is_null() && *uid != before,
        );
    }
    database.await_ready();
    database.await_document("one", &document);
}

#[test]
fn what_is_changed_is_changed_back() {
    let _calm = CALM.read();
    let namespace = Namespace::new("changed");
    let database = Database::create(&namespace, "db", &json!({}));
    namespace
        .kubectl(&["scale", "statefulset/db", "--replicas=0"])
        .ok();
    wait_for(
        "one replica",
        LIMIT,
        || namespace.get("statefulset", "db")["spec"]["replicas"].clone(),
        |replicas| *replicas == 1,
    );
    namespace
        .kubectl(&[
            "label",
            "service/db",
            "app.kubernetes.io/instance=other",
            "--overwrite",
        ])
        .ok();
    wait_for(
        "the label",
        LIMIT,
        || namespace.get("service", "db")["metadata"]["labels"]["app.kubernetes.io/instance"].clone(),
        |label| *label == "db",
    );
    database.await_ready();
}

#[test]
fn pods_of_others_are_neither_counted_nor_touched() {
    let _calm = CALM.read();
    let namespace = Namespace::new("strays");
    let database = Database::create(&namespace, "db", &json!({}));
    let labels = namespace.get("pod", "db-0")["metadata"]["labels"].clone();
    let stray = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "labels": labels},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "node", "image": "docker.io/pliantdb/no-such-image:1",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
            }]
        }
    });
    namespace.apply(&stray).ok();
    let before = namespace.get("pod", "stray")["metadata"]["uid"].clone();
    namespace
        .patch(
            "db",
            &json!({"spec": {"resources": {"limits": {"memory": "300Mi"}}}}),
        )
        .ok();
    database.await_ready();
    assert_eq!(namespace.get("pod", "stray")["metadata"]["uid"], before);
    assert_eq!(namespace.get("pliantcluster", "db")["status"]["readyNodes"], 1);
}
