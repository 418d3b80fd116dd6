//! Volumes grow where their storage class lets them, and never shrink.

use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace, OperatorRestored, wait_for};
use serde_json::{Value, json};

fn size(size: &str) -> Value {
    json!({"spec": {"storage": {"size": size}}})
}

#[test]
fn a_volume_grows_without_a_restart() {
    let _calm = CALM.read();
    let namespace = Namespace::new("growing");
    // With Delete, the volume hangs on the StatefulSet, which is made anew here.
    let storage =
        json!({"storage": {"size": "256Mi", "storageClassName": "expandable", "retention": "Delete"}});
    let database = Database::create(&namespace, "db", &storage);
    let document = json!({"kept": true});
    database.put("one", &document);
    let before = database.pod_uid();
    namespace.patch("db", &size("512Mi")).ok();
    wait_for(
        "a larger volume",
        Duration::from_secs(90),
        || namespace.get("pvc", "data-db-0")["status"]["capacity"]["storage"].clone(),
        |capacity| *capacity == "512Mi",
    );
    database.await_ready();
    let set = namespace.get("statefulset", "db");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    assert_eq!(*claim, "512Mi", "later nodes get the new size");
    assert_eq!(database.pod_uid(), before, "the node was not restarted");
    database.await_document("one", &document);

    let refused = namespace.patch("db", &size("256Mi")).refused();
    assert!(
        refused.contains("spec.storage.size cannot be smaller than the volumes already are"),
        "{refused}"
    );
}

#[test]
fn a_stateful_set_that_was_not_made_anew_is_even_in_a_pause() {
    let _alone = CALM.write();
    let namespace = Namespace::new("half-way");
    let database = Database::create(
        &namespace,
        "db",
        &json!({"storage": {"size": "256Mi", "retention": "Delete"}}),
    );
    let document = json!({"kept": true});
    database.put("one", &document);
    let before = database.pod_uid();
    {
        let _restored = OperatorRestored;
        Bed::scale_operator("0");
        Bed::await_no_operator();
        // As if the operator had been killed right after it removed the StatefulSet.
        namespace
            .kubectl(&["delete", "statefulset", "db", "--cascade=orphan"])
            .ok();
        namespace.patch("db", &json!({"spec": {"paused": true}})).ok();
    }
    wait_for(
        "the StatefulSet",
        Duration::from_secs(60),
        || namespace.get("statefulset", "db"),
        |set| !set.is_null(),
    );
    namespace.patch("db", &json!({"spec": {"paused": false}})).ok();
    database.await_ready();
    assert_eq!(
        database.pod_uid(),
        before,
        "the pod went on, and is part of the new StatefulSet"
    );
    database.await_document("one", &document);
}

#[test]
fn a_volume_that_was_restored_by_hand_is_used_and_grows() {
    let _calm = CALM.read();
    let namespace = Namespace::new("restored");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-db-0"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "expandable",
            "resources": {"requests": {"storage": "256Mi"}}
        }
    });
    namespace.apply(&claim).ok();
    let storage = json!({"storage": {"size": "256Mi", "storageClassName": "expandable"}});
    Database::create(&namespace, "db", &storage);
    assert_eq!(namespace.names("pvc"), ["data-db-0"]);
    namespace.patch("db", &size("300Mi")).ok();
    wait_for(
        "a larger volume",
        Duration::from_secs(90),
        || namespace.get("pvc", "data-db-0")["status"]["capacity"]["storage"].clone(),
        |capacity| *capacity == "300Mi",
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
    namespace.patch("db", &size("256Mi")).ok();
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
