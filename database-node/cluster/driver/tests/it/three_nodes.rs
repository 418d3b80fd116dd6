//! Three nodes: found, join, become a quorum, write, read, stop and come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::join_all;
use pliantdb_cluster::node::{Answer, Freshness};
use pliantdb_cluster::{Mode, meta::MetaCommand};
use pliantdb_cluster_driver::Options;

use crate::cluster::{Cluster, Disks, Memory, Rocks, get, leaders, set_by, setting, wait_until};

const NODES: usize = 3;

#[test]
fn what_is_acknowledged_is_there_after_all_nodes_have_stopped_in_memory() {
    survives(Memory::default());
}

#[test]
fn what_is_acknowledged_is_there_after_all_nodes_have_stopped_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    survives(Rocks(directory.path().to_owned()));
}

fn survives(disks: impl Disks) {
    let mut cluster = Cluster::new(disks);
    cluster.form(NODES);
    let group = cluster.create_database("first");
    let before = cluster.set(group, "first", "before", 1);
    cluster.change(&MetaCommand::Switch { to: Mode::Quorum });
    cluster.wait_for_meta(NODES, |meta| {
        meta.mode() == Mode::Quorum && meta.switch().is_none()
    });
    // A group that is made in quorum mode.
    let second = cluster.create_database("second");
    cluster.set(second, "second", "key", 5);

    // Many at once, each with keys of its own, as long as they find the leader.
    let acknowledged = AtomicU64::new(0);
    let known: BTreeMap<String, u64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (cluster, acknowledged) = (&cluster, &acknowledged);
                scope.spawn(move || {
                    let mut known = BTreeMap::new();
                    for value in 0..50 {
                        let key = format!("{writer}-{}", value % 7);
                        cluster.set(group, "first", &key, value);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        known.insert(key, value);
                    }
                    known
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    assert_eq!(acknowledged.into_inner(), 400);

    let last = cluster.set(group, "first", "last", 9);
    for node in 0..NODES {
        let handle = cluster.handle(node);
        assert_eq!(
            get(&handle, group, "before", Freshness::AtLeast(before)),
            Ok(Some(1))
        );
        assert_eq!(get(&handle, group, "last", Freshness::AtLeast(last)), Ok(Some(9)));
        // By the leader only.
        let is_leader = leaders(&cluster, NODES, group).contains(&node);
        let read = get(&handle, group, "last", Freshness::Linearizable);
        assert!(read == Ok(Some(9)) || !is_leader, "{read:?}");
        assert!(read.is_err() || is_leader, "{read:?}");
    }

    for node in 0..NODES {
        cluster.stop(node).unwrap();
    }
    for node in 0..NODES {
        cluster.start(node);
    }
    wait_until(|| leaders(&cluster, NODES, group).len() == 1 && leaders(&cluster, NODES, second).len() == 1);
    // It knows what is committed when an entry of its term is.
    let after = cluster.set(group, "first", "after", 10);
    for node in 0..NODES {
        for (key, value) in known.iter().chain([(&"last".to_owned(), &9)]) {
            let read = get(&cluster.handle(node), group, key, Freshness::AtLeast(after));
            assert_eq!(read, Ok(Some(*value)), "{key} on node {node}");
        }
    }
    let leader = leaders(&cluster, NODES, second);
    let leader = cluster.handle(*leader.first().unwrap());
    assert_eq!(get(&leader, second, "key", Freshness::Quorum), Ok(Some(5)));

    // Two of three go on, and the third comes back to them.
    let gone = *leaders(&cluster, NODES, group).first().unwrap();
    cluster.stop(gone).unwrap();
    let without = cluster.set(group, "first", "without", 11);
    cluster.start(gone);
    wait_until(|| {
        get(
            &cluster.handle(gone),
            group,
            "without",
            Freshness::AtLeast(without),
        ) == Ok(Some(11))
    });
    for node in 0..NODES {
        cluster.stop(node).unwrap();
    }
}

#[test]
fn who_asks_too_much_waits_for_its_turn() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.options = Options {
        max_asks: 2,
        ..Options::default()
    };
    cluster.form(1);
    let group = cluster.create_database("first");
    cluster.set(group, "first", "key", 0);
    let handle = cluster.handle(0);
    // Threads.
    thread::scope(|scope| {
        for writer in 0..16 {
            let handle = &handle;
            scope.spawn(move || {
                for value in 0..20 {
                    set_by(handle, group, "first", &format!("{writer}"), value)
                        .unwrap()
                        .unwrap();
                }
            });
        }
    });
    // Tasks.
    let asks = (0..200).map(|value| handle.ask_async(setting(group, "first", "task", value)));
    for answer in block_on(join_all(asks)) {
        assert!(matches!(answer, Ok(Answer::Written { .. })), "{answer:?}");
    }
    assert_eq!(get(&handle, group, "15", Freshness::Linearizable), Ok(Some(19)));
    assert_eq!(
        get(&handle, group, "task", Freshness::Linearizable),
        Ok(Some(199))
    );
    cluster.stop(0).unwrap();
}

#[test]
fn a_group_that_is_only_read_by_the_word_of_its_leader_stays_awake() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.form(NODES);
    let group = cluster.create_database("first");
    cluster.change(&MetaCommand::Switch { to: Mode::Quorum });
    cluster.wait_for_meta(NODES, |meta| {
        meta.mode() == Mode::Quorum && meta.switch().is_none()
    });
    cluster.set(group, "first", "key", 1);
    let readable = || (0..NODES).find(|node| cluster.handle(*node).readable(group).is_some());
    wait_until(|| readable().is_some());
    let leader = cluster.handle(readable().unwrap());
    let naps = || leader.look(|node| node.naps()).unwrap();
    let before = naps();
    // It would fall asleep after 2 s.
    let (began, mut reads) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        reads += usize::from(leader.readable(group).is_some());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(reads > 0);
    assert_eq!(naps(), before);
    wait_until(|| naps() > before);
}
