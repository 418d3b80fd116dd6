//! Many groups give their state to one that is new.

use super::*;

#[test]
fn a_new_node_gets_the_state_of_many_groups_at_once() {
    const GROUPS: usize = 40;
    let mut cluster = Cluster::asleep(1, GROUPS, false);
    let mark = cluster.write(0, GROUP);
    for number in 2..=GROUPS {
        cluster.write(0, GroupId::new(number as u64));
    }
    cluster.machines.push(Machine {
        apply_version: pliantdb_core::APPLY_VERSION,
        log: Arc::default(),
        state: Arc::default(),
        process: None,
    });
    cluster.start(1);
    cluster.node_mut(1).join(1, vec![Peer::Node(node(0))]);
    // Each fetches once: nobody's snapshot gives way to another's.
    let passed = cluster.until(100, |cluster| {
        let replicas = cluster.node(1).replicas();
        let has = |report: &&crate::wire::ReplicaReport| report.group != META && report.applied > 1;
        replicas.iter().filter(has).count() == GROUPS
    });
    assert!(passed < 40, "{passed} ticks");
    assert!(
        cluster.finds(1, Freshness::AtLeast(mark)),
        "what was written is there"
    );
    cluster.until(200, |cluster| cluster.are_all_asleep());
    // What nobody fetches any more is let go of.
    cluster.pass(700);
    let (_, applier) = cluster.machines[0].process.as_ref().unwrap();
    assert_eq!(applier.snapshots_held(), 0);
}
