//! Editing a PliantCluster does what the documentation says.

use std::time::Duration;

use e2e::{CALM, Database, Namespace, wait_for};
use serde_json::json;

#[test]
fn new_resources_restart_the_node_and_keep_its_documents() {
    let _calm = CALM.read();
    let namespace = Namespace::new("resources");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"kept": true});
    database.put("one", &document);
    let before = database.pod_uid();
    namespace
        .patch(
            "db",
            &json!({"spec": {"resources": {"limits": {"memory": "320Mi"}}}}),
        )
        .ok();
    database.await_ready();
    assert_ne!(database.pod_uid(), before, "the node restarted");
    let pod = namespace.get("pod", "db-0");
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"],
        "320Mi"
    );
    database.await_document("one", &document);
}

#[test]
fn a_wrong_image_is_told_and_the_right_one_heals() {
    let _calm = CALM.read();
    let namespace = Namespace::new("image");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"kept": true});
    database.put("one", &document);
    namespace
        .patch(
            "db",
            &json!({"spec": {"image": "docker.io/pliantdb/no-such-image:1"}}),
        )
        .ok();
    let message = namespace.await_condition("db", "Degraded", "True", "NodesFailing");
    assert!(
        message.contains("db-0 cannot get the image docker.io/pliantdb/no-such-image:1"),
        "{message}"
    );
    assert_eq!(namespace.condition("db", "Ready").0, "False");
    namespace.patch("db", &json!({"spec": {"image": null}})).ok();
    database.await_ready();
    namespace.await_condition("db", "Degraded", "False", "AsExpected");
    database.await_document("one", &document);
}

#[test]
fn additions_to_the_pod_arrive() {
    let _calm = CALM.read();
    let namespace = Namespace::new("pod-template");
    let database = Database::create(&namespace, "db", &json!({}));
    let before = database.pod_uid();
    let additions = json!({
        "labels": {"team": "shop"},
        "annotations": {"note": "kept"},
        "env": [{"name": "PLIANT_LOG_LEVEL", "value": "debug"}],
        "terminationGracePeriodSeconds": 12
    });
    namespace
        .patch("db", &json!({"spec": {"podTemplate": additions}}))
        .ok();
    database.await_ready();
    assert_ne!(database.pod_uid(), before);
    let pod = namespace.get("pod", "db-0");
    assert_eq!(pod["metadata"]["labels"]["team"], "shop");
    assert_eq!(pod["metadata"]["annotations"]["note"], "kept");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "PLIANT_LOG_LEVEL");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 12);
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let config = volumes
        .iter()
        .find_map(|volume| volume["configMap"]["name"].as_str())
        .expect("a ConfigMap");
    wait_for(
        "the end of the configuration that no node runs any more",
        Duration::from_secs(30),
        || namespace.names("configmaps"),
        |names| {
            names
                .iter()
                .filter(|name| name.starts_with("db-config-"))
                .eq([config])
        },
    );
    let config = namespace.get("configmap", config)["data"]["config.yaml"].to_string();
    assert!(config.contains("shutdownTimeout: 8s"), "{config}");
}

#[test]
fn a_paused_cluster_is_left_alone() {
    let _calm = CALM.read();
    let namespace = Namespace::new("paused");
    let database = Database::create(&namespace, "db", &json!({}));
    let before = database.pod_uid();
    namespace
        .patch(
            "db",
            &json!({"spec": {"paused": true, "resources": {"limits": {"memory": "300Mi"}}}}),
        )
        .ok();
    namespace.await_condition("db", "Progressing", "False", "Paused");
    assert_eq!(database.pod_uid(), before);
    let set = namespace.get("statefulset", "db");
    assert_eq!(
        set["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"],
        "256Mi"
    );
    namespace.patch("db", &json!({"spec": {"paused": false}})).ok();
    wait_for(
        "another pod",
        Duration::from_secs(90),
        || database.pod_uid(),
        |uid| *uid != before && !uid.is_empty(),
    );
    database.await_ready();
}
