//! Sets PliantDB beside BonsaiDb and raw RocksDB, embedded, on the same disk: each job for one after the other, several
//! rounds of it. Prints one JSON object a line for every figure.
//!
//! `e2e/bench engine` starts it with the path of BonsaiDb's program. From the environment: `ENGINE_ROUNDS`,
//! `ENGINE_MILLISECONDS` (each timed run), `ENGINE_DOCUMENTS`, `ENGINE_DIRECTORY`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::path::{Path, PathBuf};

use load::contender::{Contender, Program};
use load::figures::{Figures, Sample};
use load::job::{Answer, Job};
use load::{Failure, number};

/// Bytes that an insert stores, as benchmarks count them: the document without its id.
const INSERT_BYTES: f64 = 256.0;

/// A figure that is wanted.
struct Goal {
    job: &'static str,
    ours: &'static str,
    peer: &'static str,
    ratio: Option<f64>,
}

const fn goal(job: &'static str, ours: &'static str, peer: &'static str, ratio: Option<f64>) -> Goal {
    Goal {
        job,
        ours,
        peer,
        ratio,
    }
}

const BONSAIDB: &str = "BonsaiDb 0.5";
const ROCKSDB_ASYNC: &str = "raw RocksDB, tasks";
const ROCKSDB_BLOCKING: &str = "raw RocksDB, threads";

/// Each of our doors beside its peers.
const GOALS: [Goal; 18] = [
    goal("insert_64", "async", BONSAIDB, Some(25.0)),
    goal("insert_64", "async", ROCKSDB_ASYNC, Some(0.7)),
    goal("insert_64", "blocking", BONSAIDB, Some(25.0)),
    goal("insert_64", "blocking", ROCKSDB_BLOCKING, Some(0.7)),
    goal("insert_1", "async", BONSAIDB, Some(2.5)),
    goal("insert_1", "async", ROCKSDB_ASYNC, Some(0.85)),
    goal("insert_1", "blocking", BONSAIDB, Some(2.5)),
    goal("insert_1", "blocking", ROCKSDB_BLOCKING, Some(0.85)),
    goal("get_64", "async", BONSAIDB, Some(3.0)),
    goal("get_64", "async", ROCKSDB_ASYNC, Some(0.6)),
    goal("get_64", "blocking", BONSAIDB, Some(3.0)),
    goal("get_64", "blocking", ROCKSDB_BLOCKING, Some(0.6)),
    goal("get_1", "async", BONSAIDB, Some(10.0)),
    goal("get_1", "async", ROCKSDB_ASYNC, Some(0.6)),
    goal("get_1", "blocking", BONSAIDB, Some(10.0)),
    goal("get_1", "blocking", ROCKSDB_BLOCKING, Some(0.6)),
    goal("view_1", "async", BONSAIDB, Some(5.0)),
    goal("reduce", "async", BONSAIDB, None),
];

fn main() -> Result<(), Failure> {
    let bonsaidb = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: engine-bench CONTENDER-BONSAIDB")?,
    );
    let programs = programs(bonsaidb)?;
    let rounds = number("ENGINE_ROUNDS", 7)?.max(1);
    let milliseconds = number("ENGINE_MILLISECONDS", 1000)?;
    let documents = number("ENGINE_DOCUMENTS", 1_000_000)?;
    let directory = std::env::var("ENGINE_DIRECTORY").unwrap_or_else(|_| "/var/tmp".to_owned());
    let directory = tempfile::Builder::new()
        .prefix("pliantdb-engine-")
        .tempdir_in(&directory)?;
    let mut figures = Figures::default();
    play(
        &programs,
        directory.path(),
        rounds,
        milliseconds,
        documents,
        &mut figures,
    )?;
    for goal in &GOALS {
        let wanted: Vec<_> = goal.ratio.map(|ratio| ("per_s", ratio)).into_iter().collect();
        for line in figures.lines("engine", goal.job, goal.ours, goal.peer, &wanted) {
            println!("{line}");
        }
    }
    for (allocator, suffix) in [("glibc", ""), ("jemalloc", "-jemalloc")] {
        let mut path = programs[0].path.clone().into_os_string();
        path.push(suffix);
        println!("{}", memory(allocator, path.into(), directory.path())?);
    }
    Ok(())
}

/// What a process that may use 1 GiB takes at most while it fills a database with many small documents, and works on it.
/// The goal is the cache of that plan and 150 MiB.
fn memory(allocator: &'static str, path: PathBuf, directory: &Path) -> Result<serde_json::Value, Failure> {
    const LIMIT: u64 = 1 << 30;
    let documents = number("ENGINE_MEMORY_DOCUMENTS", 10_000_000)?;
    let program = Program {
        name: allocator,
        path,
        arguments: &["blocking", "1073741824"],
    };
    let data = directory.join(allocator);
    let mut contender = Contender::start(&program, &data)?;
    let mut peak = 0;
    for (name, job) in [
        ("load", Job::Load { documents }),
        (
            "get_64",
            Job::Get {
                clients: 64,
                milliseconds: 10_000,
            },
        ),
        (
            "insert_64",
            Job::Insert {
                clients: 64,
                milliseconds: 5_000,
            },
        ),
    ] {
        let answer = contender.work(job)?;
        report(name, 0, &format!("PliantDB within 1 GiB, {allocator}"), &answer);
        peak = answer.peak;
    }
    drop(contender);
    std::fs::remove_dir_all(data)?;
    let goal = ((LIMIT / 4) >> 20) + 150;
    let peak = peak >> 20;
    Ok(serde_json::json!({
        "bench": "engine", "metric": format!("peak_mib_{documents}_documents_{allocator}"), "pliantdb": peak, "peer": null,
        "peer_name": null, "ratio": null, "spread": null, "goal": goal, "met": peak <= goal,
    }))
}

/// Ours lie beside this program.
fn programs(bonsaidb: PathBuf) -> Result<[Program; 5], Failure> {
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program is in no folder")?;
    let program = |name, path: &Path, arguments| Program {
        name,
        path: path.to_owned(),
        arguments,
    };
    let (pliantdb, rocksdb) = (here.join("contender-pliantdb"), here.join("contender-rocksdb"));
    Ok([
        program("async", &pliantdb, &["async"]),
        program(ROCKSDB_ASYNC, &rocksdb, &["async"]),
        program("blocking", &pliantdb, &["blocking"]),
        program(ROCKSDB_BLOCKING, &rocksdb, &["blocking"]),
        program(BONSAIDB, &bonsaidb, &[]),
    ])
}

/// Every job, each for every contender in turn, several rounds of it.
fn play(
    programs: &[Program],
    directory: &Path,
    rounds: u64,
    milliseconds: u64,
    documents: u64,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut contenders = Vec::new();
    for (number, program) in programs.iter().enumerate() {
        contenders.push((
            program.name,
            Contender::start(program, &directory.join(number.to_string()))?,
        ));
    }
    let jobs = [
        ("load", Job::Load { documents }),
        (
            "get_1",
            Job::Get {
                clients: 1,
                milliseconds,
            },
        ),
        (
            "get_64",
            Job::Get {
                clients: 64,
                milliseconds,
            },
        ),
        (
            "insert_1",
            Job::Insert {
                clients: 1,
                milliseconds,
            },
        ),
        (
            "insert_64",
            Job::Insert {
                clients: 64,
                milliseconds,
            },
        ),
        ("load_view", Job::LoadView { documents }),
        (
            "view_1",
            Job::View {
                clients: 1,
                milliseconds,
            },
        ),
        ("reduce", Job::Reduce { milliseconds }),
    ];
    for (name, job) in jobs {
        let is_load = matches!(job, Job::Load { .. } | Job::LoadView { .. });
        let is_insert = matches!(job, Job::Insert { .. });
        for round in 0..if is_load { 1 } else { rounds } {
            for (contender_name, contender) in &mut contenders {
                // So that no sync waits for what another wrote.
                std::process::Command::new("sync").status()?;
                let answer = contender.work(job)?;
                report(name, round, contender_name, &answer);
                let Some(run) = answer.run else { continue };
                let bytes = answer.disk_bytes as f64 / (run.all_operations as f64 * INSERT_BYTES);
                // Counting slows it down a little, so it is done apart.
                let syncs = match round == 0 && is_insert {
                    true => {
                        let (answer, syncs) = contender.work_counting_syncs(job)?;
                        let operations = answer.run.map_or(0, |run| run.all_operations);
                        syncs.map(|syncs| 1000.0 * syncs as f64 / operations as f64)
                    }
                    false => None,
                };
                figures.add(
                    name,
                    contender_name,
                    round,
                    Sample {
                        run,
                        bytes_per_byte: is_insert.then_some(bytes),
                        syncs_per_1000: syncs,
                    },
                );
            }
        }
    }
    Ok(())
}

fn report(job: &str, round: u64, contender: &str, answer: &Answer) {
    let mib = |bytes: u64| bytes >> 20;
    let what = match (&answer.run, &answer.failure) {
        (_, Some(failure)) => failure.clone(),
        (Some(run), _) => format!("{:.0} a second, p99 {:.0} us", run.per_second, run.p99),
        _ => "done".to_owned(),
    };
    let (resident, peak) = (mib(answer.resident), mib(answer.peak));
    eprintln!("{job}, round {round}, {contender}: {what}; {resident} MiB, {peak} at most");
}
