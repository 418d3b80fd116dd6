//! What was acknowledged is there, whatever ended the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::node::Node;

/// What the node acknowledged: the ETag of each document, or `None` when it was deleted.
type Acknowledged = BTreeMap<String, Option<String>>;

/// Writes from many threads until the node is gone, which `signal` sees to; returns what was acknowledged.
fn write_until(node: &mut Node, round: usize, signal: Signal, after: Duration) -> Acknowledged {
    let acknowledged = Mutex::new(Acknowledged::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (node, acknowledged, stop) = (&*node, &acknowledged, &stop);
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{round}-{thread}-{n}");
                    let path = format!("/v1/default/c/{id}");
                    let body = format!("\"{id} {}\"", "x".repeat(n % 3000));
                    let Ok(written) = node.try_send("PUT", &path, &[("If-None-Match", "*")], &body) else {
                        return;
                    };
                    if written.status == 503 || stop.load(Ordering::Relaxed) && written.status != 201 {
                        return;
                    }
                    assert_eq!(written.status, 201, "{}", written.body);
                    let mut state = Some(written.header("etag").to_owned());
                    if n % 5 == 4 {
                        // Until it is answered nobody can say which of the two states is the right one.
                        match node.try_send("DELETE", &path, &[], "") {
                            Ok(deleted) if deleted.status == 204 => state = None,
                            _ => return,
                        }
                    }
                    acknowledged.lock().unwrap().insert(id, state);
                }
            });
        }
        std::thread::sleep(after);
        stop.store(true, Ordering::Relaxed);
        node.signal(signal);
    });
    node.wait();
    acknowledged.into_inner().unwrap()
}

fn check(data: &Path, acknowledged: &Acknowledged) {
    let node = Node::start(data);
    assert!(!acknowledged.is_empty());
    for (id, state) in acknowledged {
        let answer = node.get(&format!("/v1/default/c/{id}"));
        match state {
            Some(etag) => {
                assert_eq!(
                    (answer.status, answer.header("etag")),
                    (200, etag.as_str()),
                    "{id} is lost"
                );
                assert!(answer.body.starts_with(&format!("\"{id} ")), "{id} is damaged");
            }
            None => assert_eq!(answer.status, 404, "{id} is back"),
        }
    }
}

#[test]
fn survives_kill_9_again_and_again() {
    let data = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    for round in 0..6 {
        let mut node = Node::start(data.path());
        let after = Duration::from_millis(100 + 70 * round as u64);
        all.extend(write_until(&mut node, round, Signal::KILL, after));
        drop(node);
        check(data.path(), &all);
    }
}

#[test]
fn survives_sigterm_under_load() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let acknowledged = write_until(&mut node, 0, Signal::TERM, Duration::from_millis(500));
    assert!(node.log().contains("stopped"), "{}", node.log());
    assert!(node.wait().success());
    drop(node);
    check(data.path(), &acknowledged);
}
