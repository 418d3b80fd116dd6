//! What keeps a database from running is told where its owner looks.

use e2e::{Bed, CALM, Database, Namespace};
use serde_json::json;

#[test]
fn a_node_that_cannot_start_says_why_in_the_status_and_in_events() {
    let _calm = CALM.read();
    let namespace = Namespace::new("failing");
    let wrong = json!({"podTemplate": {"env": [{"name": "PLIANT_LOG_FORMAT", "value": "morse"}]}});
    namespace.apply(&Database::manifest("db", &wrong)).ok();
    let message = namespace.await_condition("db", "Degraded", "True", "NodesFailing");
    assert!(
        message.starts_with("db-0 keeps failing: ") && message.contains("morse"),
        "{message}"
    );
    let events = namespace
        .kubectl(&["get", "events", "--field-selector", "reason=NodesFailing"])
        .ok();
    assert!(events.contains("pliantcluster/db"), "{events}");
    namespace
        .patch("db", &json!({"spec": {"podTemplate": {"env": null}}}))
        .ok();
    Database {
        namespace: &namespace,
        name: "db",
    }
    .await_ready();
}

#[test]
fn a_name_that_is_taken_is_left_alone_and_told() {
    let _calm = CALM.read();
    let namespace = Namespace::new("taken");
    namespace
        .kubectl(&["create", "service", "clusterip", "db", "--tcp=80"])
        .ok();
    namespace.apply(&Database::manifest("db", &json!({}))).ok();
    let message = namespace.await_condition("db", "Degraded", "True", "NameTaken");
    assert!(
        message.contains("the Service db exists and does not belong to this PliantCluster"),
        "{message}"
    );
    assert_eq!(namespace.get("service", "db")["spec"]["ports"][0]["port"], 80);
    namespace.kubectl(&["delete", "service", "db"]).ok();
    Database {
        namespace: &namespace,
        name: "db",
    }
    .await_ready();
}

#[test]
fn a_pod_that_fits_nowhere_is_told() {
    let _calm = CALM.read();
    let namespace = Namespace::new("nowhere");
    let far_away = json!({"podTemplate": {"nodeSelector": {"example.test/planet": "mars"}}});
    namespace.apply(&Database::manifest("db", &far_away)).ok();
    let message = namespace.await_condition("db", "Degraded", "True", "NodesFailing");
    assert!(message.contains("db-0 finds no Kubernetes node"), "{message}");
    assert!(
        Bed::kubectl(&["-n", namespace.name(), "get", "plc"])
            .ok()
            .contains("NodesFailing")
    );
}
