//! At rest the operator writes nothing to the API server.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace};
use serde_json::{Value, json};

/// How long the operator is watched.
const WATCHED: Duration = Duration::from_secs(40);

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
    std::thread::sleep(WATCHED);
    let mut text = String::new();
    log.read_to_string(&mut text).expect("its text");

    let operator = format!(
        "system:serviceaccount:{}:pliant-operator",
        Bed::OPERATOR_NAMESPACE
    );
    let requests: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|request| request["user"]["username"] == operator.as_str())
        .collect();
    let (leases, others): (Vec<&Value>, Vec<&Value>) = requests
        .iter()
        .partition(|request| request["objectRef"]["resource"] == "leases");
    assert!(
        !leases.is_empty(),
        "the log must show the renewals of the lease, else it proves nothing"
    );
    let writes: Vec<&&Value> = others
        .iter()
        .filter(|request| !["get", "list", "watch"].contains(&request["verb"].as_str().unwrap_or_default()))
        .collect();
    assert!(writes.is_empty(), "the operator wrote at rest: {writes:#?}");
}
