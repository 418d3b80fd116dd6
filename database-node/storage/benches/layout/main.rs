//! What the key layout costs: slots, a change log and before-images, each against the same without.
//!
//! `e2e/bench layout` starts it; docs/decisions/0004-history-and-changes.md tells what came of it. From the
//! environment: `LAYOUT_DOCUMENTS`, `LAYOUT_ROUNDS`, `LAYOUT_MILLISECONDS` (each timed run), `LAYOUT_DIRECTORY`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod layouts;
mod reads;
mod report;
mod writes;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use pliantdb_core::Order;
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{Cursor, OrderedStore, RocksStore, Snapshot, StoreError};

use crate::layouts::{
    BY_TIME, CHANGE_LOG, History, IN_CHANGE_LOG, INLINE, Layout, OWN_SPACE, PLAIN, SLOTS_1, SLOTS_16,
    SLOTS_256, SLOTS_4096, id, next_random,
};
use crate::reads::{get, get_at, scan};
use crate::report::{Better, Report};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many versions before the newest each document has in the part on history.
const VERSIONS: u64 = 10;

struct Bench {
    documents: u64,
    rounds: usize,
    time: Duration,
    directory: PathBuf,
    report: Report,
}

fn main() -> Result<(), Failure> {
    let directory = std::env::var("LAYOUT_DIRECTORY").unwrap_or_else(|_| "/var/tmp".to_owned());
    let directory = tempfile::Builder::new()
        .prefix("pliantdb-layout-")
        .tempdir_in(directory)?;
    let mut bench = Bench {
        documents: number("LAYOUT_DOCUMENTS", 1_000_000)?.max(1000),
        rounds: usize::try_from(number("LAYOUT_ROUNDS", 9)?)?.max(1),
        time: Duration::from_millis(number("LAYOUT_MILLISECONDS", 250)?),
        directory: directory.path().to_owned(),
        report: Report::default(),
    };
    bench.slots()?;
    bench.history()?;
    bench.writes()?;
    for line in bench.report.lines() {
        println!("{line}");
    }
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|error| format!("{variable}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}

/// With the cache that the engine takes when the process may use 4 GiB.
pub fn plan() -> MemoryPlan {
    MemoryPlan::for_limit(4 << 30)
}

impl Bench {
    fn create(&self, part: &str, layout: Layout) -> Result<(PathBuf, RocksStore), Failure> {
        let path = self.directory.join(format!("{part}-{}", layout.name));
        let store = RocksStore::create(&path, plan())?;
        Ok((path, store))
    }

    /// Documents only: what database, slot and space in front of the key cost.
    fn slots(&mut self) -> Result<(), Failure> {
        let mut stores = Vec::new();
        for layout in [PLAIN, SLOTS_1, SLOTS_16, SLOTS_256, SLOTS_4096] {
            eprintln!("loading {} documents: {}", self.documents, layout.name);
            let (path, store) = self.create("slots", layout)?;
            writes::load(&store, layout, 0..self.documents, 1)?;
            store.flush()?;
            settle(&store, layout)?;
            stores.push((path, layout, store));
        }
        for state in ["", "compacted_"] {
            if !state.is_empty() {
                for (path, layout, store) in std::mem::take(&mut stores) {
                    let store = writes::compact(store, &path)?;
                    settle(&store, layout)?;
                    stores.push((path, layout, store));
                }
            }
            for round in 0..self.rounds {
                eprintln!("{state}reading, round {} of {}", round + 1, self.rounds);
                for (_, layout, store) in &stores {
                    let bytes = store.stats().table_bytes as f64 / self.documents as f64;
                    let metric = format!("{state}table_bytes_per_document");
                    self.report.add(metric, Better::Less, layout.name, bytes);
                    if matches!(layout.slots, None | Some(16)) {
                        for threads in [1, 2] {
                            let ops =
                                points(threads, self.time, self.documents, |id| get(store, *layout, id))?;
                            let metric = format!("{state}point_reads_per_s_{threads}_threads");
                            self.report.add(metric, Better::More, layout.name, ops);
                        }
                    }
                    self.scans(state, store, *layout, self.documents, None)?;
                }
            }
        }
        for (path, _, store) in stores {
            drop(store);
            std::fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Each document written `1 + VERSIONS` times, with nothing collected yet; then as of the middle of that, then all
    /// collected.
    fn history(&mut self) -> Result<(), Failure> {
        let documents = self.documents / 10;
        let mut stores = Vec::new();
        for layout in [SLOTS_16, CHANGE_LOG, OWN_SPACE, INLINE, IN_CHANGE_LOG, BY_TIME] {
            eprintln!(
                "writing {documents} documents {} times: {}",
                1 + VERSIONS,
                layout.name
            );
            let (path, store) = self.create("history", layout)?;
            let written = bytes_written()?;
            for version in 0..=VERSIONS {
                writes::load(&store, layout, 0..documents, 1 + version * documents)?;
            }
            store.flush()?;
            let bytes = (bytes_written()? - written) as f64 / (documents * (1 + VERSIONS)) as f64;
            self.report.add(
                "history_bytes_to_disk_per_write",
                Better::Less,
                layout.name,
                bytes,
            );
            // Or it would be chance how many files a read has to look into.
            let store = writes::compact(store, &path)?;
            settle(&store, layout)?;
            stores.push((path, layout, store));
        }
        let middle = documents * (1 + VERSIONS / 2);
        let recent = documents * VERSIONS + documents * 9 / 10;
        for round in 0..self.rounds {
            eprintln!("reading with history, round {} of {}", round + 1, self.rounds);
            for (_, layout, store) in &stores {
                let bytes = store.stats().table_bytes as f64 / documents as f64;
                self.report.add(
                    "history_table_bytes_per_document",
                    Better::Less,
                    layout.name,
                    bytes,
                );
                let ops = points(2, self.time, documents, |id| get(store, *layout, id))?;
                self.report.add(
                    "history_point_reads_per_s_2_threads",
                    Better::More,
                    layout.name,
                    ops,
                );
                self.scans("history_", store, *layout, documents, None)?;
                if layout.history == History::None {
                    continue;
                }
                for (name, at) in [("recent", recent), ("middle", middle)] {
                    let ops = points(1, self.time, documents, |id| get_at(store, *layout, id, at))?;
                    self.report.add(
                        format!("point_reads_at_{name}_per_s"),
                        Better::More,
                        layout.name,
                        ops,
                    );
                    self.scans(&format!("at_{name}_"), store, *layout, documents, Some(at))?;
                }
            }
        }
        for (path, layout, store) in stores {
            eprintln!("collecting garbage: {}", layout.name);
            if matches!(layout.history, History::OwnSpace | History::Inline) {
                let start = Instant::now();
                let images = writes::collect_images(&store, layout)?;
                let micros = start.elapsed().as_secs_f64() * 1e6 / images.max(1) as f64;
                self.report
                    .add("collect_us_per_image", Better::Less, layout.name, micros);
            }
            // What was deleted lies in the tables still, under the marks of deletion.
            self.scans("collected_", &store, layout, documents, None)?;
            if layout.change_log {
                let start = Instant::now();
                writes::collect_log(&store, layout)?;
                let micros = start.elapsed().as_secs_f64() * 1e6;
                self.report
                    .add("collect_us_of_whole_log", Better::Less, layout.name, micros);
                let start = Instant::now();
                for slot in layout.places() {
                    if store
                        .snapshot()
                        .scan(layout.changes(slot), Order::Ascending)?
                        .entry()
                        .is_some()
                    {
                        return Err("an entry of the change log is left".into());
                    }
                }
                let micros = start.elapsed().as_secs_f64() * 1e6;
                self.report
                    .add("collected_log_first_read_us", Better::Less, layout.name, micros);
            }
            drop(store);
            std::fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Durable inserts and updates through one committing thread.
    fn writes(&mut self) -> Result<(), Failure> {
        // Fewer and longer: each begins with a database of its own.
        let (rounds, time) = (self.rounds.div_ceil(2), 2 * self.time);
        for round in 0..rounds {
            eprintln!("writing durably, round {} of {rounds}", round + 1);
            for layout in [
                PLAIN,
                SLOTS_16,
                CHANGE_LOG,
                OWN_SPACE,
                INLINE,
                IN_CHANGE_LOG,
                BY_TIME,
            ] {
                let (path, store) = self.create("writes", layout)?;
                // A quarter of a million documents to update; what is inserted comes after them.
                let existing = self.documents / 4;
                writes::load(&store, layout, 0..existing, 1)?;
                store.flush()?;
                let mut timestamp = existing + 1;
                for clients in [1, 64] {
                    let run = 1 << 40 | clients << 48;
                    let insert = |client, nth: u64| run + nth * 64 + client;
                    let update = |client, nth| {
                        let mut state = nth;
                        next_random(&mut state) % (existing / 64) * 64 + client
                    };
                    for kind in ["insert", "update"] {
                        // So that no sync waits for what was written before.
                        rustix::fs::sync();
                        let durable = match kind {
                            "insert" => writes::durable(&store, layout, clients, timestamp, time, insert)?,
                            _ => writes::durable(&store, layout, clients, timestamp, time, update)?,
                        };
                        timestamp += 1 << 32;
                        let mut add = |metric: &str, better, figure| {
                            self.report.add(
                                format!("{kind}_{clients}_clients_{metric}"),
                                better,
                                layout.name,
                                figure,
                            );
                        };
                        add("per_s", Better::More, durable.per_second);
                        add("wal_bytes_per_write", Better::Less, durable.wal_bytes_per_write);
                        add(
                            "syncs_per_1000_writes",
                            Better::Less,
                            durable.syncs_per_1000_writes,
                        );
                    }
                }
                drop(store);
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Ordered scans of 100 and of 10,000 rows from random ids.
    fn scans(
        &mut self,
        prefix: &str,
        store: &RocksStore,
        layout: Layout,
        documents: u64,
        at: Option<u64>,
    ) -> Result<(), Failure> {
        for limit in [100, 10_000] {
            let (mut rows, mut steps, mut count, mut state) = (0, 0, 0u32, 7);
            let start = cpu_time();
            while cpu_time() - start < self.time / 2 || count < 3 {
                // From the first three quarters, so that the rows are there.
                let from = format!("{:016x}", next_random(&mut state) / 4 * 3);
                let scanned = scan(
                    store,
                    layout,
                    from.as_bytes(),
                    limit.min(documents as usize / 8),
                    at,
                )?;
                rows += scanned.rows;
                steps += scanned.steps;
                count += 1;
            }
            let micros = (cpu_time() - start).as_secs_f64() * 1e6 / f64::from(count);
            self.report.add(
                format!("{prefix}scan_{limit}_us"),
                Better::Less,
                layout.name,
                micros,
            );
            let steps = steps as f64 / rows as f64;
            self.report.add(
                format!("{prefix}scan_{limit}_steps_per_row"),
                Better::Less,
                layout.name,
                steps,
            );
        }
        Ok(())
    }
}

/// What this process has sent to the disk so far: logs, flushes and compactions.
fn bytes_written() -> Result<u64, Failure> {
    let counters = std::fs::read_to_string("/proc/self/io")?;
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io has no write_bytes")?.parse()?)
}

/// Reads all once, so that it lies in the cache.
fn settle(store: &RocksStore, layout: Layout) -> Result<(), Failure> {
    let snapshot = store.snapshot();
    for slot in layout.places() {
        let range = pliantdb_storage::store::KeyRange::prefixed(&layout.documents(slot));
        let mut documents = snapshot.scan(range, Order::Ascending)?;
        while documents.entry().is_some() {
            documents.advance()?;
        }
    }
    Ok(())
}

/// How long this thread has had a processor. The machine may have other work, which this leaves out.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Random point reads for a while: how many a second of processor time, summed over threads.
fn points(
    threads: u64,
    time: Duration,
    documents: u64,
    read: impl Fn(&[u8]) -> Result<Option<usize>, StoreError> + Sync,
) -> Result<f64, Failure> {
    thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|thread| {
                let read = &read;
                scope.spawn(move || {
                    let (mut state, mut count) = (thread, 0u32);
                    let start = cpu_time();
                    while cpu_time() - start < time {
                        for _ in 0..64 {
                            let id = id(next_random(&mut state) % documents);
                            read(&id)?.ok_or("a document is not there")?;
                        }
                        count += 64;
                    }
                    Ok::<_, Failure>(f64::from(count) / (cpu_time() - start).as_secs_f64())
                })
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().map_err(|_| Failure::from("a reader panicked"))?)
            .sum()
    })
}
