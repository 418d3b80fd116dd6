//! A node that is stopped in good order hands over what it leads before.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::nodes::{ADMIN, Places, is_at_rest, node, send, status, until};
use crate::node::{Node, agent, ask};

/// Without a leader a group waits for an election for 1.1 s at least, and 2 s at most, from when it last heard of it.
const ELECTION: Duration = Duration::from_millis(1_100);
/// How many leaders are stopped: a machine that is busy for a moment is not to count.
const ROUNDS: usize = 3;

/// What was acknowledged, one after the other.
#[derive(Default)]
struct Written {
    acknowledged: Vec<(Instant, String)>,
    refused: Vec<String>,
}

impl Written {
    /// The longest time without an acknowledgement, from a moment on.
    fn longest_gap(&self, from: Instant) -> Duration {
        let moments: Vec<Instant> = self.acknowledged.iter().map(|(at, _)| *at).collect();
        let gaps = moments.windows(2).filter(|pair| pair[1] >= from);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
    }
}

/// Writes one document after the other by a node, until it is told to stop.
fn write(to: SocketAddr, round: usize, written: &Mutex<Written>, is_over: &AtomicBool) {
    let agent = agent();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let path = format!("/v1/default/things/{round}-{number}");
        let answer = ask(&agent, to, "PUT", &path, &[], "1").unwrap();
        let mut written = written.lock().unwrap();
        match answer.status {
            201 => written.acknowledged.push((Instant::now(), path)),
            status => written.refused.push(format!("{path}: {status} {}", answer.body)),
        }
    }
}

/// The name of the node that leads the database `default`, which is where it is to be.
fn leader(any: &Node) -> String {
    let leads = |status: &Value| {
        let leader = &status["databases"][0]["leader"];
        is_at_rest(status)
            && leader
                .as_str()
                .is_some_and(|leader| node(status, leader)["leads"] != 0)
    };
    let status = until(any, leads);
    status["databases"][0]["leader"].as_str().unwrap().to_owned()
}

#[test]
fn writes_by_other_nodes_do_not_wait_for_an_election_when_the_leader_is_stopped() {
    let places = Places::new();
    let mut nodes = places.three();
    assert_eq!(
        send(&nodes[0], "PUT", "/mode", &json!({"mode": "Quorum"})).status,
        202
    );
    until(&nodes[0], |status| {
        status["mode"] == "Quorum" && is_at_rest(status)
    });
    let mut gaps = Vec::new();
    for round in 0..ROUNDS {
        let leader = leader(&nodes[0]);
        let names = ["a", "b", "c"];
        let place = names.iter().position(|name| *name == leader).unwrap();
        let other = nodes[(place + 1) % 3].address;
        let (written, is_over) = (Mutex::new(Written::default()), AtomicBool::new(false));
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| write(other, round, &written, &is_over));
            while written.lock().unwrap().acknowledged.len() < 20 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let stopped = Instant::now();
            nodes[place].terminate();
            assert!(nodes[place].wait().success(), "{}", nodes[place].log());
            // An election would have begun by then.
            std::thread::sleep(2 * ELECTION);
            is_over.store(true, Ordering::Relaxed);
            stopped
        });
        let written = written.into_inner().unwrap();
        assert_eq!(written.refused, Vec::<String>::new());
        gaps.push(written.longest_gap(stopped));
        nodes[place] = places.found(names[place], &[]);
        for node in &nodes {
            let (_, last) = written.acknowledged.last().unwrap();
            assert_eq!(node.get(last).status, 200, "{last}");
        }
        for (_, path) in &written.acknowledged {
            assert_eq!(nodes[place].get(path).status, 200, "{path} was acknowledged");
        }
    }
    gaps.sort_unstable();
    println!("the longest times without an acknowledgement: {gaps:?}");
    assert!(gaps[ROUNDS / 2] < ELECTION * 3 / 4, "{gaps:?}");
}

#[test]
fn the_leader_of_one_leader_mode_stays_it_over_a_restart_and_others_decide_meanwhile() {
    let places = Places::new();
    let [mut a, b, c] = places.three();
    assert_eq!(a.put("/v1/default/things/x", "1").status, 201);
    a.stop();
    // Nobody waits for an election of who decides about the cluster.
    let stopped = Instant::now();
    let failover = json!({"policy": "Manual"});
    let answer = send(&c, "PUT", "/failover", &failover);
    assert!(
        answer.status == 204 && stopped.elapsed() < ELECTION,
        "{}",
        answer.body
    );
    assert_eq!(status(&b)["leader"], "a");
    let a = places.found("a", &[]);
    until(&b, |status| {
        is_at_rest(status) && node(status, "a")["role"] == "Leader"
    });
    assert_eq!(a.get("/v1/default/things/x").body, "1");
    assert_eq!(b.put("/v1/default/things/y", "1").status, 201);
}

#[test]
fn with_automatic_failover_another_is_promoted_before_the_leader_is_stopped() {
    let places = Places::new();
    let [mut a, b, c] = places.three();
    let failover = json!({"policy": "Automatic", "delay": "5s"});
    let answer = a.admin_send("PUT", &format!("{ADMIN}/failover"), &[], &failover.to_string());
    assert_eq!(answer.status, 204, "{}", answer.body);
    until(&a, is_at_rest);
    assert_eq!(b.put("/v1/default/things/x", "1").status, 201);
    a.stop();
    let status = until(&b, |status| status["leader"] != "a" && status["switch"].is_null());
    assert!(status["leader"] == "b" || status["leader"] == "c");
    assert_eq!(c.get("/v1/default/things/x").body, "1");
    assert_eq!(b.put("/v1/default/things/y", "1").status, 201);
    let a = places.found("a", &[]);
    until(&b, |status| {
        is_at_rest(status) && node(status, "a")["role"] == "Replica"
    });
    assert_eq!(a.get("/v1/default/things/y").body, "1");
}
