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

#[test]
fn a_snapshot_that_a_start_could_not_put_in_place_is_told_of_and_another_replica_fetches_it() {
    let mut cluster = Cluster::asleep(3, 1, false);
    let mark = cluster.write(0, GROUP);
    cluster.pass(10);
    let replica = cluster.node(2).groups[&GROUP].replica();
    cluster.stop(2);
    // As of when it fetched its first state: a log without entries.
    let record = crate::log::LogRecord {
        replica,
        incarnation: crate::ids::Incarnation::FIRST,
        term: 0,
        vote: 0,
        commit: 0,
        truncated: LogPoint::default(),
        created: crate::ids::Epoch::default(),
        forced: None,
        fork: None,
    };
    let (log, state) = (
        Arc::clone(&cluster.machines[2].log),
        Arc::clone(&cluster.machines[2].state),
    );
    let mut batch = Batch::default();
    let members = crate::group::config::Members::default();
    let empty = crate::log::GroupLog::create(Arc::clone(&log), GROUP, record, members);
    let mut cleared = empty;
    cleared
        .reset(
            &mut batch,
            LogPoint::default(),
            crate::group::config::Members::default(),
        )
        .unwrap();
    log.write(&batch, Durability::Synced).unwrap();
    // The disk was full when the start went on with the installation.
    cluster.start(2);
    let (applier, mut found) = Applier::open(state, pliantdb_core::APPLY_VERSION, ()).unwrap();
    found.positions.remove(&GROUP);
    found.failed.insert(GROUP, pliantdb_storage::StorageError::Closed);
    let settings = cluster.node(2).settings.clone();
    let node = Node::open(settings, log, found, cluster.now()).unwrap();
    cluster.machines[2].process = Some((node, applier));
    let told = cluster.node(2).replicas();
    let told = told.iter().find(|told| told.group == GROUP).unwrap();
    assert!(told.replica == replica && told.halted.is_some());
    cluster.until(200, |cluster| {
        let replicas = cluster.node(2).replicas();
        let is_new = |told: &crate::wire::ReplicaReport| told.group == GROUP && told.replica != replica;
        replicas.iter().any(is_new) && cluster.finds(2, Freshness::AtLeast(mark))
    });
}
