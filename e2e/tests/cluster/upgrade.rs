//! An upgrade of the operator restarts no database.

use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace, OperatorRestored, wait_for};
use serde_json::json;

#[test]
fn helm_upgrade_restarts_no_database() {
    let _alone = CALM.write();
    let namespace = Namespace::new("upgrade");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"kept": true});
    database.put("one", &document);
    let seen = || {
        let set = namespace.get("statefulset", "db");
        let generation = set["metadata"]["generation"].clone();
        (
            database.pod_uid(),
            database.restarts(),
            set["metadata"]["uid"].clone(),
            generation,
        )
    };
    let image = || namespace.get("pod", "db-0")["spec"]["containers"][0]["image"].clone();
    let held = || namespace.await_condition("db", "Progressing", "False", "UpdateHeld");
    let (before, old_image) = (
        seen(),
        format!("docker.io/pliantdb/pliant-node:{}", Bed::node_tag()),
    );
    let new_image = "docker.io/pliantdb/pliant-node:99.0.0";
    Bed::name_image_again(&old_image, new_image);

    // A later operator that would run the nodes with another image.
    let restored = OperatorRestored;
    Bed::upgrade_operator(&["node.version=99.0.0", "log.level=debug"]);
    let message = held();
    assert!(
        message.contains("when spec.version, image, resources or podTemplate next change"),
        "{message}"
    );
    assert_eq!(seen(), before);
    assert_eq!(namespace.condition("db", "Ready").0, "True");
    database.await_document("one", &document);

    // What does not concern the nodes is done at once, and holds the rest back still.
    namespace
        .patch("db", &json!({"spec": {"storage": {"retention": "Delete"}}}))
        .ok();
    wait_for(
        "the retention policy",
        Duration::from_secs(60),
        || {
            namespace.get("statefulset", "db")["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"]
                .clone()
        },
        |policy| *policy == "Delete",
    );
    held();
    assert_eq!(
        (database.pod_uid(), database.restarts()),
        (before.0.clone(), before.1)
    );
    namespace
        .patch("db", &json!({"spec": {"storage": {"retention": "Retain"}}}))
        .ok();

    // What is taken away comes back as it was, not as the later operator would have it.
    namespace.kubectl(&["delete", "statefulset", "db"]).ok();
    wait_for(
        "another pod",
        Duration::from_secs(90),
        || database.pod_uid(),
        |uid| !uid.is_empty() && *uid != before.0,
    );
    held();
    assert_eq!(image(), old_image.as_str());
    database.await_document("one", &document);

    // The next change of what the nodes run takes the new image up.
    namespace
        .patch(
            "db",
            &json!({"spec": {"resources": {"limits": {"memory": "300Mi"}}}}),
        )
        .ok();
    database.await_ready();
    assert_eq!(image(), new_image);
    database.await_document("one", &document);
    drop(restored);
}
