//! Processes that write and are killed, over and over, on the same directory.
//!
//! `PLIANT_CRASH_ROUNDS` (300) says how many, `PLIANT_CRASH_SEED` repeats what was drawn; the moment at which the
//! kernel ends a process is its own.

mod history;
mod load;
mod report;
mod views;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pliantdb_storage::check::check;
use pliantdb_storage::encryption::{KeyVault, MasterKey};
use pliantdb_storage::{Options, Storage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use history::History;
use report::{Load, Report};

const LOAD: &str = "PLIANT_CRASH_LOAD";
/// Longer than anything takes.
const HUNG: Duration = Duration::from_secs(60);

/// From when the time until the kill counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Writing,
    Closing,
}

/// How many processes were killed in which phase, and how many came to their end before.
#[derive(Debug, Default)]
struct Ends {
    opening: u64,
    writing: u64,
    closing: u64,
    by_themselves: u64,
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect(name))
    };
    let rounds = number("PLIANT_CRASH_ROUNDS").unwrap_or(300);
    let seed = number("PLIANT_CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("{rounds} rounds, PLIANT_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut directory, mut history) = (Directory::new(false), History::default());
    let (mut ends, mut tallies) = (Ends::default(), Vec::new());
    // How long opening takes here, to kill within that time.
    let mut opening = Duration::from_millis(100);
    for round in 0..rounds {
        if round > 0 && random.random_bool(0.04) {
            directory.check();
            directory = Directory::new(random.random_bool(0.4));
            tallies.push(std::mem::take(&mut history).tally);
        }
        let is_closing = random.random_bool(0.2);
        let load = Load {
            path: directory.data(),
            key: directory.key.clone(),
            seed: random.random(),
            number: round,
            writers: random.random_range(1..6),
            counters: random.random_range(0..4),
            views: random.random_bool(0.5),
            memory_limit: random.random_bool(0.25).then_some(16 << 20),
            close_after: is_closing.then(|| random.random_range(0..60)),
        };
        let (phase, most) = match random.random_range(0..100) {
            0..15 => (Phase::Opening, opening.mul_f64(1.2)),
            _ if is_closing => (Phase::Closing, Duration::from_millis(12)),
            _ => (Phase::Writing, Duration::from_millis(200)),
        };
        let after = most.mul_f64(random.random_range(0.0..1.0));
        eprintln!("round {round}: {phase:?} after {after:?}, {load:?}");
        let run = Run::of(&load, phase, after, &mut history);
        run.count(&mut ends);
        if let Some(took) = run.opened {
            opening = (opening + took) / 2;
        }
        // Recovery is killed as well, several times in a row.
        while random.random_bool(0.3) {
            let load = Load {
                writers: 0,
                counters: 0,
                views: false,
                close_after: None,
                ..load.clone()
            };
            let after = opening.mul_f64(random.random_range(0.0..1.2));
            Run::of(&load, Phase::Opening, after, &mut history).count(&mut ends);
        }
        let storage = directory.open();
        history.check(&storage);
        views::check(&storage);
        if random.random_bool(0.2) {
            storage.close().unwrap();
        }
    }
    directory.check();
    tallies.push(history.tally);
    eprintln!("{ends:?}\n{tallies:#?}");
    if rounds >= 100 {
        let seen = [ends.opening, ends.writing, ends.closing, ends.by_themselves];
        assert!(
            seen.iter().all(|seen| *seen > 0),
            "not every phase was met: {ends:?}"
        );
    }
}

/// A directory that is kept when the test fails.
struct Directory {
    directory: TempDir,
    /// The file of the master key, if it is encrypted.
    key: Option<PathBuf>,
}

/// How to open a directory with that key.
fn options(key: Option<&Path>) -> Options {
    let vault = |key| Arc::new(MasterKey::from_file(key).unwrap()) as Arc<dyn KeyVault>;
    Options {
        encryption: key.map(vault),
        ..Options::default()
    }
}

impl Directory {
    fn new(is_encrypted: bool) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let key = is_encrypted.then(|| {
            let key = directory.path().join("key");
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(&key).unwrap();
            file.write_all("a7".repeat(32).as_bytes()).unwrap();
            key
        });
        Self { directory, key }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn open(&self) -> Storage {
        Storage::open_with(self.data(), options(self.key.as_deref())).unwrap()
    }

    /// Reads every record that is there.
    fn check(&self) {
        let report = check(&self.data(), options(self.key.as_deref()).encryption.as_deref()).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("the directory is kept: {}", self.directory.path().display());
        }
    }
}

/// What became of one process.
struct Run {
    /// How long it took to open the storage.
    opened: Option<Duration>,
    /// The phase in which it was killed.
    killed: Option<Phase>,
}

impl Run {
    /// Starts a process with that load, and kills it so long after the beginning of a phase.
    fn of(load: &Load, phase: Phase, after: Duration, history: &mut History) -> Self {
        let start = Instant::now();
        let (mut process, reports) = Process::start(load);
        let mut kill = (phase == Phase::Opening).then_some(start + after);
        let mut run = Self {
            opened: None,
            killed: None,
        };
        let mut reached = Phase::Opening;
        loop {
            let wait = kill
                .unwrap_or(start + HUNG)
                .saturating_duration_since(Instant::now());
            match reports.recv_timeout(wait) {
                Ok(report) => {
                    match report {
                        Report::Opened => {
                            reached = Phase::Writing;
                            run.opened = Some(start.elapsed());
                        }
                        Report::Closing => reached = Phase::Closing,
                        _ => {}
                    }
                    if reached == phase && kill.is_none() && run.killed.is_none() {
                        kill = Some(Instant::now() + after);
                    }
                    history.take(report);
                }
                Err(RecvTimeoutError::Timeout) if kill.is_none() => panic!("the process hangs: {load:?}"),
                Err(RecvTimeoutError::Timeout) if run.killed.is_none() => {
                    process.0.kill().unwrap();
                    run.killed = Some(reached);
                    kill = None;
                }
                Err(RecvTimeoutError::Timeout) => unreachable!(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = process.0.wait().unwrap();
        match status.success() {
            true => run.killed = None,
            false => assert!(run.killed.is_some(), "the process failed: {status}, {load:?}"),
        }
        run
    }

    fn count(&self, ends: &mut Ends) {
        *match self.killed {
            Some(Phase::Opening) => &mut ends.opening,
            Some(Phase::Writing) => &mut ends.writing,
            Some(Phase::Closing) => &mut ends.closing,
            None => &mut ends.by_themselves,
        } += 1;
    }
}

/// A process of this very program; killed at the latest when this is dropped.
struct Process(Child);

impl Process {
    /// Starts it, and hands on its reports until it ends.
    fn start(load: &Load) -> (Self, Receiver<Report>) {
        // By this name it is found also when it was built anew in the meantime.
        let mut child = Command::new("/proc/self/exe")
            .args([
                "--exact",
                "killed::process",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(LOAD, serde_json::to_string(load).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let (reports, received) = channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).unwrap() > 0 {
                let Ok(report) = serde_json::from_slice(&line) else {
                    // It says why it fails, in many lines.
                    reader.read_to_end(&mut line).unwrap();
                    eprintln!("a process says: {}", String::from_utf8_lossy(&line));
                    return;
                };
                if reports.send(report).is_err() {
                    return;
                }
                line.clear();
            }
        });
        (Self(child), received)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the process that another test starts and kills"]
fn process() {
    let load = std::env::var(LOAD).expect("started by the test that kills it");
    load::run(&serde_json::from_str(&load).unwrap());
}
