//! At rest the operator writes nothing to the API server.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace};
use serde_json::{Value, json};

/// How long the operator is watched.
const WATCHED: Duration = Duration::from_secs(30);

#[test]
fn a_cluster_at_rest_causes_no_writes() {
    let _alone = CALM.write();
    let namespace = Namespace::new("rest");
    for name in ["one", "two"] {
        Database::create(&namespace, name, &json!({}));
    }
    // What came of making them comes to its end.
    std::thread::sleep(Duration::from_secs(10));
    let mut log = std::fs::File::open(Bed::audit_log()).expect("the audit log");
    log.seek(SeekFrom::End(0)).expect("its end");
    // Something that concerns nobody, so that the operator looks and finds nothing to do.
    for pod in ["one-0", "two-0"] {
        namespace
            .kubectl(&["annotate", "pod", pod, "example.test/looked=at"])
            .ok();
    }
    std::thread::sleep(WATCHED);
    let mut text = String::new();
    log.read_to_string(&mut text).expect("its text");

    let operator = format!(
        "system:serviceaccount:{}:pliant-operator",
        Bed::OPERATOR_NAMESPACE
    );
    let (writes, reads): (Vec<Value>, Vec<Value>) = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|request| request["user"]["username"] == operator.as_str())
        .filter(|request| request["objectRef"]["namespace"] == namespace.name())
        .partition(|request| {
            !["get", "list", "watch"].contains(&request["verb"].as_str().unwrap_or_default())
        });
    assert!(
        !reads.is_empty(),
        "the operator must have looked, else this proves nothing"
    );
    assert!(writes.is_empty(), "the operator wrote at rest: {writes:#?}");
    println!(
        "at rest: 0 writes; {} reads for the change of an annotation of 2 pods",
        reads.len()
    );
}
