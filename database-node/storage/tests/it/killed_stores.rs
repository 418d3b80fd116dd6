//! Stores whose process is killed while it writes: some of the first batches are left, each whole, and at least those
//! that were synced.
//!
//! `PLIANT_CRASH_ROUNDS` (40 of each kind) says how often, `PLIANT_CRASH_SEED` repeats what was drawn.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use pliantdb_storage::store::{Batch, Durability, OrderedStore, RocksStore};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::store::Kind;

const WORK: &str = "PLIANT_KILLED_STORE";

/// What a process is to do: to write batches until it is killed.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    kind: Kind,
    path: PathBuf,
    seed: u64,
    /// The most bytes of a value: small ones fill no memtable, large ones do.
    largest: usize,
}

/// Killed at the latest when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn value(number: u64, random: &mut StdRng, largest: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + random.random_range(0..largest), number.to_be_bytes()[7]);
    value
}

/// The number of the last batch in a store, which has all before it.
fn last(store: &RocksStore) -> u64 {
    let number = |key: &[u8]| {
        let number = |value: &[u8]| u64::from_be_bytes(*value.first_chunk().unwrap());
        store.get(key, number).unwrap()
    };
    let last = number(b"last").unwrap_or(0);
    for batch in 1..=last + 100 {
        for part in [b'a', b'b'] {
            // A later one deletes every third.
            let is_there = batch <= last && (batch % 3 > 0 || batch + 10 > last);
            let key = [&[part][..], &batch.to_be_bytes()].concat();
            assert_eq!(number(&key), is_there.then_some(batch), "{batch} of {last}");
        }
    }
    last
}

#[test]
fn the_first_batches_are_left_and_all_that_were_synced() {
    let number = |name| {
        let value = std::env::var(name).ok();
        value.map(|value| value.parse::<u64>().expect(name))
    };
    let rounds = number("PLIANT_CRASH_ROUNDS").unwrap_or(40);
    let seed = number("PLIANT_CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("{rounds} rounds, PLIANT_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for kind in [Kind::State, Kind::Log] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (mut held, mut lost, mut beyond) = (0, 0, 0);
        for round in 0..rounds {
            std::fs::create_dir_all(&path).unwrap();
            let work = Work {
                kind,
                path: path.clone(),
                seed: random.random(),
                largest: [30, 3000, 100_000][random.random_range(0..3)],
            };
            let (synced, written) = kill(&work, Duration::from_micros(random.random_range(0..60_000)));
            if !path.join("CURRENT").exists() {
                // It was killed while it created the store.
                assert_eq!(held, 0);
                std::fs::remove_dir_all(&path).unwrap();
                continue;
            }
            let store = kind.open(&path);
            let found = last(&store);
            assert!(
                found >= synced.max(held),
                "{found} of {synced} in round {round} of {work:?}"
            );
            // What was handed to the kernel outlives the process.
            assert!(
                kind == Kind::State || found >= written,
                "{found} of {written} in round {round} of {work:?}"
            );
            (lost, beyond) = (
                lost + u64::from(found < written),
                beyond + u64::from(found > synced),
            );
            held = found;
        }
        eprintln!(
            "{kind:?}: {held} batches; in {lost} rounds some were lost, in {beyond} more were left than synced"
        );
    }
}

/// Starts a process and kills it so long after it begins to write: gives the last batch that it said was synced, and the
/// last that it said was written.
fn kill(work: &Work, after: Duration) -> (u64, u64) {
    let arguments = [
        "--exact",
        "killed_stores::process",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    let child = Command::new("/proc/self/exe")
        .args(arguments)
        .env(WORK, serde_json::to_string(work).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let reports = BufReader::new(process.0.stderr.take().unwrap());
    let (begun, begins) = channel();
    let reader = std::thread::spawn(move || {
        let (mut synced, mut written) = (0, 0);
        for line in reports.lines().map_while(Result::ok) {
            // The last line may be cut short: of a number, what is left is no larger.
            match line
                .split_once(' ')
                .and_then(|(what, number)| Some((what, number.parse().ok()?)))
            {
                Some(("synced", number)) => synced = synced.max(number),
                Some(("written", number)) => written = written.max(number),
                _ => eprintln!("a process says: {line}"),
            }
            let _ = begun.send(());
        }
        (synced, written)
    });
    // If it is killed before it has opened the store, that is as good.
    let _ = begins.recv_timeout(after * 10);
    std::thread::sleep(after);
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    reader.join().unwrap()
}

#[test]
#[ignore = "the process that another test starts and kills"]
fn process() {
    let work = std::env::var(WORK).expect("started by the test that kills it");
    let work: Work = serde_json::from_str(&work).unwrap();
    write(&work, &work.path);
}

fn write(work: &Work, path: &Path) {
    let store = work.kind.open(path);
    let mut random = StdRng::seed_from_u64(work.seed);
    let report = |what: &str, number: u64| {
        let line = format!("{what} {number}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    let mut number = last(&store);
    loop {
        number += 1;
        let mut batch = Batch::default();
        batch.put(*b"last", number.to_be_bytes());
        for part in [b'a', b'b'] {
            let key = |number: u64| [&[part][..], &number.to_be_bytes()].concat();
            batch.put(key(number), value(number, &mut random, work.largest));
            if let Some(old) = number.checked_sub(10).filter(|old| *old > 0 && old % 3 == 0) {
                batch.delete(key(old));
            }
        }
        let durability = match random.random_bool(0.05) {
            true => Durability::Synced,
            false => Durability::Buffered,
        };
        store.write(&batch, durability).unwrap();
        report("written", number);
        if durability == Durability::Synced || random.random_bool(0.03) {
            store.sync().unwrap();
            report("synced", number);
        }
    }
}
