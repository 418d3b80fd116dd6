//! What was acknowledged is there, whatever ended the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::node::{Node, command};

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

/// A file that may not grow any more is a write that fails in the middle, as on a broken disk.
#[test]
fn a_failed_write_ends_the_process_and_recovery_decides() {
    let data = tempfile::tempdir().unwrap();
    drop(Node::start(data.path()));
    let node = command();
    let mut limited = std::process::Command::new("sh");
    limited
        .env_clear()
        // In blocks of 512 bytes (or of 1024, by the shell). With the signal ignored the write itself fails.
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(node.get_program())
        .args(["serve", "--log-format", "json", "--data"])
        .arg(data.path())
        .args([
            "--listen",
            "127.0.0.1:0",
            "--quic-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
    let mut node = Node::spawn(limited);
    let body = |n: usize| format!("\"{n} {}\"", "x".repeat(20_000));
    let mut acknowledged = 0;
    loop {
        let answer = node.put(&format!("/v1/default/c/{acknowledged}"), &body(acknowledged));
        if answer.status != 201 {
            answer.problem(500, "unknown-outcome");
            break;
        }
        acknowledged += 1;
        assert!(acknowledged < 200, "nothing fails");
    }
    assert!(acknowledged > 10, "{acknowledged}");
    assert_eq!(node.wait().code(), Some(1), "{}", node.log());
    let log = node.log();
    assert_eq!(log.matches("writes are refused").count(), 1, "{log}");
    assert!(log.contains("takes no more writes"), "{log}");
    let node = Node::start(data.path());
    for n in 0..acknowledged {
        assert_eq!(node.get(&format!("/v1/default/c/{n}")).body, body(n));
    }
    assert_eq!(
        node.put(&format!("/v1/default/c/{acknowledged}"), "1").status / 100,
        2
    );
}
