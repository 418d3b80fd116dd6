//! Documents outlive pods, processes and the operator.

use std::path::Path;
use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace, OperatorRestored, run, wait_for};
use serde_json::json;

#[test]
fn a_document_survives_the_deletion_of_the_pod() {
    let _calm = CALM.read();
    let namespace = Namespace::new("pod-deletion");
    let database = Database::create(&namespace, "db", &json!({}));
    let document = json!({"name": "Ada", "born": 1815});
    database.put("ada", &document);
    let before = database.pod_uid();
    namespace.kubectl(&["delete", "pod", "db-0"]).ok();
    database.await_document("ada", &document);
    assert_ne!(database.pod_uid(), before);
    database.await_ready();
}

#[test]
fn a_document_survives_kill_minus_nine() {
    let _calm = CALM.read();
    let namespace = Namespace::new("kill");
    let database = Database::create(&namespace, "db", &json!({}));
    for round in 1..=3 {
        let document = json!({"round": round});
        database.put(&format!("round-{round}"), &document);
        kill(&database.pod_uid());
        wait_for(
            "a restart",
            Duration::from_secs(90),
            || database.restarts(),
            |restarts| *restarts >= round,
        );
        database.await_document(&format!("round-{round}"), &document);
    }
    database.await_document("round-1", &json!({"round": 1}));
}

#[test]
fn databases_go_on_without_the_operator() {
    let _alone = CALM.write();
    let namespace = Namespace::new("no-operator");
    let database = Database::create(&namespace, "db", &json!({}));
    let restored = OperatorRestored;
    Bed::scale_operator("0");
    Bed::await_no_operator();
    let document = json!({"written": "while the operator was away"});
    database.put("alone", &document);
    namespace.kubectl(&["delete", "pod", "db-0"]).ok();
    database.await_document("alone", &document);
    drop(restored);
    database.await_ready();
}

/// Kills the node's process as the kernel would when memory runs out. The testbed's machines are namespaces on
/// this one, so their processes can be seen from here.
fn kill(pod_uid: &str) {
    let mark = format!("pod{pod_uid}");
    let is_node = |process: &Path| {
        let read = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        read("cgroup").contains(&mark) && read("comm").trim() == "pliant-node"
    };
    let process = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|process| is_node(process))
        .expect("the node's process");
    let id = process.file_name().expect("a process id").to_owned();
    run(std::process::Command::new("kill").arg("-9").arg(id)).ok();
}
