//! What a node does whose stores fail, and who is told what when a node ends.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use pliantdb_cluster::node::{Answer, Freshness};
use pliantdb_cluster::{Mode, meta::MetaCommand};
use pliantdb_cluster_driver::{Failure, Stopped};
use pliantdb_storage::store::{Fault, StoreError};

use crate::cluster::{Cluster, Memory, get, leaders, set_by, setting, wait_until};

#[test]
fn a_node_whose_log_cannot_be_written_acknowledges_nothing_more() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.form(1);
    let group = cluster.create_database("first");
    cluster.set(group, "first", "key", 1);
    let handle = cluster.handle(0);
    let (log, _) = cluster.disks.stores(0);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let handle = handle.clone();
            thread::spawn(move || {
                let mut acknowledged = 0;
                loop {
                    match set_by(&handle, group, "first", &format!("{writer}"), acknowledged + 1) {
                        Ok(Some(_)) => acknowledged += 1,
                        Ok(None) => panic!("refused"),
                        Err(stopped) => return (acknowledged, stopped),
                    }
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    log.set_fault(Fault::NoSpace);
    let told: Vec<(u64, Stopped)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let failure = Failure::Log(StoreError::NoSpace("of the store in memory".to_owned()));
    for (_, stopped) in &told {
        assert_eq!(*stopped, Stopped::Failed(failure.clone()));
    }
    assert_eq!(handle.failure(), Some(failure.clone()));
    assert_eq!(
        set_by(&handle, group, "first", "key", 2),
        Err(Stopped::Failed(failure.clone()))
    );
    log.set_fault(Fault::None);
    // It does not come back by itself.
    assert_eq!(handle.look(|_| ()), Err(Stopped::Failed(failure.clone())));
    assert_eq!(cluster.stop(0), Err(failure));

    cluster.start(0);
    cluster.set(group, "first", "key", 3);
    for (writer, (acknowledged, _)) in told.iter().enumerate() {
        let read = get(
            &cluster.handle(0),
            group,
            &writer.to_string(),
            Freshness::Linearizable,
        );
        let read = read.unwrap().unwrap_or(0);
        // The last was not acknowledged, and may have been written all the same.
        assert!(
            read == *acknowledged || read == acknowledged + 1,
            "{read} {acknowledged}"
        );
    }
    cluster.stop(0).unwrap();
}

#[test]
fn a_node_whose_state_cannot_be_written_says_so() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.form(1);
    let group = cluster.create_database("first");
    cluster.set(group, "first", "key", 1);
    let (_, state) = cluster.disks.stores(0);
    state.set_fault(Fault::NoSpace);
    let handle = cluster.handle(0);
    let answer = set_by(&handle, group, "first", "key", 2);
    assert!(
        matches!(answer, Err(Stopped::Failed(Failure::State(_)))),
        "{answer:?}"
    );
    assert!(matches!(cluster.stop(0), Err(Failure::State(_))));
    state.set_fault(Fault::None);
    cluster.start(0);
    // What was in the log was committed.
    let last = cluster.set(group, "first", "last", 1);
    let read = get(&cluster.handle(0), group, "key", Freshness::AtLeast(last));
    assert_eq!(read, Ok(Some(2)));
    cluster.stop(0).unwrap();
}

#[test]
fn who_is_to_be_called_is_called_once_whatever_happens() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.options.max_asks = 2;
    cluster.form(3);
    let group = cluster.create_database("first");
    cluster.change(&MetaCommand::Switch { to: Mode::Quorum });
    cluster.wait_for_meta(3, |meta| meta.mode() == Mode::Quorum && meta.switch().is_none());
    cluster.set(group, "first", "key", 1);
    wait_until(|| leaders(&cluster, 3, group).len() == 1);
    let leader = *leaders(&cluster, 3, group).first().unwrap();
    let handle = cluster.handle(leader);
    let (calling, called) = channel();
    let ask = |value: u64| {
        let calling = calling.clone();
        let done = move |answer| calling.send((value, answer)).unwrap();
        let asked = handle.try_ask(setting(group, "first", "key", value), done);
        asked.map_err(drop)
    };
    assert!(ask(2).is_ok());
    let (value, answer) = called.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(
        matches!((value, &answer), (2, Ok(Answer::Written { result: Ok(_), .. }))),
        "{answer:?}"
    );
    // A callback that panics does the node no harm.
    let panicking = handle.try_ask(setting(group, "first", "key", 3), |_| {
        panic!("the callback's own affair")
    });
    assert!(panicking.is_ok());
    cluster.set(group, "first", "key", 4);

    for other in (0..3).filter(|node| *node != leader) {
        cluster.stop(other).unwrap();
    }
    // Without a majority nothing is committed, and what does not fit is given back.
    assert!(ask(5).is_ok() && ask(6).is_ok());
    assert!(ask(7).is_err());
    assert!(called.try_recv().is_err());
    cluster.stop(leader).unwrap();
    assert!(ask(8).is_ok());
    let mut told: Vec<_> = called.try_iter().collect();
    told.sort_by_key(|(value, _)| *value);
    assert_eq!(told, [5, 6, 8].map(|value| (value, Err(Stopped::ByOwner))));
}

#[test]
fn who_waits_for_an_answer_is_told_when_the_node_stops() {
    let mut cluster = Cluster::new(Memory::default());
    cluster.form(3);
    let group = cluster.create_database("first");
    cluster.change(&MetaCommand::Switch { to: Mode::Quorum });
    cluster.wait_for_meta(3, |meta| meta.mode() == Mode::Quorum && meta.switch().is_none());
    cluster.set(group, "first", "key", 1);
    wait_until(|| leaders(&cluster, 3, group).len() == 1);
    let leader = *leaders(&cluster, 3, group).first().unwrap();
    for other in (0..3).filter(|node| *node != leader) {
        cluster.stop(other).unwrap();
    }
    // Without a majority it cannot be committed.
    let handle = cluster.handle(leader);
    let writer = thread::spawn(move || set_by(&handle, group, "first", "key", 2));
    thread::sleep(Duration::from_millis(100));
    let handle = cluster.handle(leader);
    cluster.stop(leader).unwrap();
    assert_eq!(writer.join().unwrap(), Err(Stopped::ByOwner));
    assert_eq!(handle.look(|_| ()), Err(Stopped::ByOwner));
    assert_eq!(handle.failure(), None);
}
