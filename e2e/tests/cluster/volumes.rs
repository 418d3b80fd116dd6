//! Volumes grow where their storage class lets them, and never shrink.

use std::time::Duration;

use e2e::{CALM, Database, Namespace, wait_for};
use serde_json::{Value, json};

fn size(size: &str) -> Value {
    json!({"spec": {"storage": {"size": size}}})
}

#[test]
fn a_volume_grows_without_a_restart() {
    let _calm = CALM.read();
    let namespace = Namespace::new("growing");
    let storage = json!({"storage": {"size": "64Mi", "storageClassName": "expandable"}});
    let database = Database::create(&namespace, "db", &storage);
    let document = json!({"kept": true});
    database.put("one", &document);
    let before = database.pod_uid();
    namespace.patch("db", &size("128Mi")).ok();
    wait_for(
        "a larger volume",
        Duration::from_secs(90),
        || namespace.get("pvc", "data-db-0")["status"]["capacity"]["storage"].clone(),
        |capacity| *capacity == "128Mi",
    );
    database.await_ready();
    let set = namespace.get("statefulset", "db");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    assert_eq!(*claim, "128Mi", "later nodes get the new size");
    assert_eq!(database.pod_uid(), before, "the node was not restarted");
    database.await_document("one", &document);

    let refused = namespace.patch("db", &size("64Mi")).refused();
    assert!(
        refused.contains("spec.storage.size cannot be smaller than the volumes already are"),
        "{refused}"
    );
}

#[test]
fn a_class_that_cannot_expand_is_told_and_the_size_can_be_set_back() {
    let _calm = CALM.read();
    let namespace = Namespace::new("not-growing");
    let database = Database::create(&namespace, "db", &json!({}));
    let before = database.pod_uid();
    namespace.patch("db", &size("1Gi")).ok();
    let message = namespace.await_condition("db", "Degraded", "True", "ResizeRefused");
    assert!(message.contains("data-db-0 cannot grow to 1Gi"), "{message}");
    assert!(message.contains("set spec.storage.size back"), "{message}");
    // Other changes still reach the node.
    namespace
        .patch(
            "db",
            &json!({"spec": {"resources": {"limits": {"memory": "300Mi"}}}}),
        )
        .ok();
    wait_for(
        "the new limit",
        Duration::from_secs(90),
        || namespace.get("pod", "db-0")["spec"]["containers"][0]["resources"]["limits"]["memory"].clone(),
        |limit| *limit == "300Mi",
    );
    namespace.patch("db", &size("64Mi")).ok();
    namespace.await_condition("db", "Degraded", "False", "AsExpected");
    database.await_ready();
    assert_ne!(database.pod_uid(), before);
}

#[test]
fn the_storage_class_stays() {
    let _calm = CALM.read();
    let namespace = Namespace::new("class");
    namespace.apply(&Database::manifest("db", &json!({}))).ok();
    let change = json!({"spec": {"storage": {"storageClassName": "expandable"}}});
    let refused = namespace.patch("db", &change).refused();
    assert!(
        refused.contains("storageClassName cannot be changed"),
        "{refused}"
    );
}
