//! Two replicas of the operator: one acts, the other takes over.

use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace, OperatorRestored, wait_for};
use serde_json::json;

fn holder() -> String {
    let lease = ["-n", Bed::OPERATOR_NAMESPACE, "get", "lease", "pliant-operator"];
    Bed::kubectl(&[&lease[..], &["-o", "jsonpath={.spec.holderIdentity}"]].concat()).ok()
}

#[test]
fn another_replica_takes_over_at_once_when_the_leader_is_stopped() {
    let _alone = CALM.write();
    let namespace = Namespace::new("leadership");
    let _restored = OperatorRestored;
    Bed::upgrade_operator(&["replicas=2"]);
    let is_pod = |holder: &String| holder.starts_with("pliant-operator-");
    let first = wait_for("a leader", Duration::from_secs(60), holder, is_pod);
    Bed::kubectl(&[
        "-n",
        Bed::OPERATOR_NAMESPACE,
        "delete",
        "pod",
        &first,
        "--wait=false",
    ])
    .ok();
    // A lease that is not given back lasts for 30 seconds.
    wait_for("another leader", Duration::from_secs(20), holder, |holder| {
        is_pod(holder) && *holder != first
    });
    Database::create(&namespace, "db", &json!({}));
}
