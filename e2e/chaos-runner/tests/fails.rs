//! The harness can fail: a run in which one acknowledged write was lost is found out, by each of what looks for it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use chaos::clients::followers;
use chaos::history::{
    Door, ENTRIES, Entry, FAILURES, FEEDS, Kind, LIVES, Life, MESSAGES, OPERATIONS, Operation, Outcome,
    PERIODS, Period, Read, Turn,
};
use chaos::report::{Run, examine};
use serde::Serialize;

fn go(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let output = Command::new("go")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "go {arguments:?}: {said}");
}

fn checker(folder: &Path) -> PathBuf {
    let checker = folder.join("checker");
    go(&[
        "build",
        "-buildvcs=false",
        "-o",
        checker.to_str().unwrap(),
        "./checker",
    ]);
    checker
}

fn write<T: Serialize>(folder: &Path, name: &str, values: &[T]) {
    let lines = values
        .iter()
        .map(|value| serde_json::to_string(value).unwrap() + "\n");
    std::fs::write(folder.join(name), lines.collect::<String>()).unwrap();
}

fn operation(second: u64, kind: Kind, key: &str) -> Operation {
    Operation {
        client: 1,
        door: Door::Quic,
        node: "n1".to_owned(),
        key: key.to_owned(),
        call: second * 1_000_000_000,
        end: Some(second * 1_000_000_000 + 1000),
        kind,
        value: 0,
        when: String::new(),
        result: Outcome::Ok,
        revision: String::new(),
        found: None,
        ids: Vec::new(),
        reason: String::new(),
    }
}

/// A run of three acknowledged writes; `lost` is whether the last node to be asked shows the last of each kind.
fn run(folder: &Path, lost: bool) {
    let put = Operation {
        value: 1,
        revision: "01".to_owned(),
        ..operation(1, Kind::Put, "documents/a")
    };
    let add = Operation {
        value: 1,
        found: Some(1),
        ..operation(2, Kind::Add, "numbers/a")
    };
    let append = Operation {
        value: 3,
        revision: "03".to_owned(),
        ids: vec!["3-0".to_owned()],
        ..operation(3, Kind::Append, "ledger/1")
    };
    let get = match lost {
        false => Operation {
            found: Some(1),
            revision: "01".to_owned(),
            ..operation(4, Kind::Get, "documents/a")
        },
        true => operation(4, Kind::Get, "documents/a"),
    };
    let read = Operation {
        found: (!lost).then_some(1),
        ..operation(5, Kind::Read, "numbers/a")
    };
    write(folder, OPERATIONS, &[put, add, append, get, read]);
    let entry = Entry {
        node: "n1".to_owned(),
        id: "3-0".to_owned(),
        revision: "03".to_owned(),
        value: 3,
    };
    write(
        folder,
        ENTRIES,
        if lost { &[] } else { std::slice::from_ref(&entry) },
    );
    let told = |follower: &String, revision: &str, collection: &str, id: &str| Read {
        follower: follower.clone(),
        node: "n1".to_owned(),
        revision: revision.to_owned(),
        changes: vec![(collection.to_owned(), id.to_owned())],
    };
    let mut reads = Vec::new();
    for follower in followers::names() {
        reads.push(told(&follower, "01", "documents", "a"));
        if !lost {
            reads.push(told(&follower, "03", "ledger", "3-0"));
        }
    }
    write(folder, FEEDS, &reads);
    write(folder, PERIODS, &[start()]);
    write::<u8>(folder, MESSAGES, &[]);
    write::<u8>(folder, FAILURES, &[]);
    let run = Run {
        seed: 1,
        nodes: vec!["n1".to_owned()],
        mode: "one-leader".to_owned(),
        load: (0, 6_000_000_000),
        faults: 0,
        is_whole: true,
        recovery_ms: 1000,
        hearing_ms: 1000,
        with_a_majority_ms: None,
        always: true,
        fails_over: false,
    };
    run.keep(folder).unwrap();
}

#[test]
fn a_lost_write_fails_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let checker = checker(folder.path());
    run(folder.path(), false);
    let (_, failures) = examine(folder.path(), &checker).unwrap();
    assert_eq!(failures, Vec::<String>::new());

    run(folder.path(), true);
    let (_, failures) = examine(folder.path(), &checker).unwrap();
    let found = |what: &str| failures.iter().filter(|failure| failure.contains(what)).count();
    assert_eq!(found("ledger: on n1 0 of 3-0 are there"), 1, "{failures:#?}");
    assert_eq!(
        found("was not told of ledger/3-0 at 03: a gap"),
        3,
        "{failures:#?}"
    );
    assert_eq!(found("order: documents/a: illegal"), 1, "{failures:#?}");
    assert_eq!(found("order: numbers/a: illegal"), 1, "{failures:#?}");
    assert_eq!(failures.len(), 6, "{failures:#?}");
}

fn start() -> Period {
    Period {
        what: "the start".to_owned(),
        faults: 0,
        begin: 0,
        end: 0,
        served: Some(0),
        heard: Some(0),
        spares_a_majority: false,
    }
}

/// Tells that the group was forced at that second, by a round of faults that began a second before.
fn fails_over(folder: &Path, second: u64) {
    let round = Period {
        what: "stop n1".to_owned(),
        faults: 1,
        begin: (second - 1) * 1_000_000_000,
        end: (second + 1) * 1_000_000_000,
        served: Some((second + 1) * 1_000_000_000),
        heard: Some((second + 1) * 1_000_000_000),
        ..start()
    };
    write(folder, PERIODS, &[start(), round]);
    let life = |at, turn| Life {
        at,
        node: "n2".to_owned(),
        turn,
        incarnation: "i2 by n2".to_owned(),
    };
    let at = second * 1_000_000_000;
    write(
        folder,
        LIVES,
        &[life(at, Turn::Forced), life(at + 500_000_000, Turn::Confirmed)],
    );
    let run = Run {
        fails_over: true,
        ..Run::of(folder).unwrap()
    };
    run.keep(folder).unwrap();
}

#[test]
fn what_a_failover_may_lose_does_not_fail_a_run_and_more_does() {
    let folder = tempfile::tempdir().unwrap();
    let checker = checker(folder.path());
    run(folder.path(), true);
    // All was written in the last seconds of the life that ended.
    fails_over(folder.path(), 4);
    let (summary, failures) = examine(folder.path(), &checker).unwrap();
    assert_eq!(failures, Vec::<String>::new());
    let summary = serde_json::to_string(&summary).unwrap();
    assert!(summary.contains(r#""failovers":1,"lost":1"#), "{summary}");

    // All was written long before.
    fails_over(folder.path(), 20);
    let (_, failures) = examine(folder.path(), &checker).unwrap();
    for what in [
        "ledger: on n1 0 of 3-0",
        "a gap",
        "order: documents/a: illegal",
        "order: numbers/a: illegal",
    ] {
        assert!(
            failures.iter().any(|failure| failure.contains(what)),
            "{failures:#?}"
        );
    }
}

#[test]
fn a_history_that_cannot_be_read_fails_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let checker = checker(folder.path());
    run(folder.path(), false);
    std::fs::write(folder.path().join(OPERATIONS), "{\"client\":").unwrap();
    let error = examine(folder.path(), &checker).unwrap_err().to_string();
    assert!(error.contains("history.jsonl, line 1"), "{error}");
}

#[test]
fn what_is_in_go_passes_its_own_tests() {
    go(&["vet", "./..."]);
    go(&["test", "./..."]);
}
