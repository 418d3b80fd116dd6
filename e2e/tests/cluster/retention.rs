//! Deleting a cluster honours its retention.

use std::time::Duration;

use e2e::{CALM, Database, Namespace, wait_for};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(90);

fn delete(namespace: &Namespace) {
    namespace.kubectl(&["delete", "pliantcluster", "db"]).ok();
    wait_for(
        "the end of the pod",
        LIMIT,
        || namespace.names("pods"),
        Vec::is_empty,
    );
}

#[test]
fn retained_data_is_found_again_by_a_cluster_of_the_name() {
    let _calm = CALM.read();
    let namespace = Namespace::new("retain");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"kept": true});
    database.put("one", &document);
    delete(&namespace);
    let left = [
        namespace.names("services"),
        namespace.names("secrets"),
        namespace.names("statefulsets"),
    ]
    .concat();
    assert_eq!(left, Vec::<String>::new(), "all else is gone");
    assert_eq!(namespace.names("pvc"), ["data-db-0"]);
    Database::create(&namespace, "db", &json!({})).await_document("one", &document);
}

#[test]
fn data_that_is_not_to_be_retained_goes() {
    let _calm = CALM.read();
    let namespace = Namespace::new("delete");
    Database::create(
        &namespace,
        "db",
        &json!({"storage": {"size": "256Mi", "retention": "Delete"}}),
    );
    assert_eq!(namespace.names("pvc"), ["data-db-0"]);
    delete(&namespace);
    wait_for(
        "the end of the volume",
        LIMIT,
        || namespace.names("pvc"),
        Vec::is_empty,
    );
}
