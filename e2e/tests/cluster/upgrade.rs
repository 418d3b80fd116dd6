//! An upgrade of the operator restarts no database.

use e2e::{Bed, CALM, Database, Namespace};
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
        (
            database.pod_uid(),
            database.restarts(),
            set["metadata"]["uid"].clone(),
            set["metadata"]["generation"].clone(),
        )
    };
    let before = seen();

    // A later operator that would run the nodes with another image.
    Bed::upgrade_operator(&["node.version=99.0.0", "log.level=debug"]);
    let message = namespace.await_condition("db", "Progressing", "False", "UpdateHeld");
    assert!(message.contains("with the next change of the spec"), "{message}");
    assert_eq!(seen(), before);
    assert_eq!(namespace.condition("db", "Ready").0, "True");
    database.await_document("one", &document);

    // The next change of the spec takes the new image up, and its owner can still say which it is to be.
    let stay = json!({"spec": {"version": Bed::node_tag()}});
    namespace.patch("db", &stay).ok();
    database.await_ready();
    database.await_document("one", &document);
    Bed::upgrade_operator(&[]);
    database.await_ready();
}
