//! Sets `pliant-node` beside BonsaiDb's server (by QUIC) and PostgreSQL (by HTTP against its own protocol), on the same
//! machine and disk: each job for one after the other, several rounds of it. Prints one JSON object a line for every
//! figure.
//!
//! `e2e/bench server` starts it with the paths of the peers' programs. From the environment: `SERVER_ROUNDS`,
//! `SERVER_MILLISECONDS` (each timed run), `SERVER_DOCUMENTS`, `SERVER_DIRECTORY`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::path::{Path, PathBuf};

use load::contender::{Contender, Program};
use load::figures::{Figures, Sample};
use load::job::{Answer, Job};
use load::{Failure, number};

const BONSAIDB: &str = "BonsaiDb 0.5 server";
const POSTGRES: &str = "PostgreSQL 15";

/// Job, ours, peer, and the ratio that is wanted.
const GOALS: [(&str, &str, &str, f64); 4] = [
    ("insert_64", "quic", BONSAIDB, 20.0),
    ("get_64", "quic", BONSAIDB, 2.5),
    ("insert_64", "http", POSTGRES, 1.0),
    ("get_64", "http", POSTGRES, 1.0),
];

fn main() -> Result<(), Failure> {
    let usage = "usage: server-bench PLIANT-NODE CONTENDER-BONSAIDB POSTGRES-PROGRAMS";
    let argument = |at| std::env::args().nth(at).ok_or(usage);
    let (node, bonsaidb, postgres) = (argument(1)?, argument(2)?, argument(3)?);
    let directory = server_bench::postgres::directory("SERVER_DIRECTORY", "pliantdb-server-")?;
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program is in no folder")?.to_owned();
    let contender = |name, program: PathBuf, arguments: Vec<String>| {
        let arguments: Vec<&'static str> = arguments.into_iter().map(|text| &*text.leak()).collect();
        Program {
            name,
            path: program,
            arguments: arguments.leak(),
        }
    };
    let programs = [
        contender(
            "quic",
            here.join("contender-node"),
            vec![node.clone(), "quic".to_owned()],
        ),
        contender(BONSAIDB, bonsaidb.into(), vec!["server".to_owned()]),
        contender(
            "http",
            here.join("contender-node"),
            vec![node.clone(), "http".to_owned()],
        ),
        contender(POSTGRES, here.join("contender-postgres"), vec![postgres]),
    ];
    let figures = play(&programs, directory.path())?;
    for (job, ours, peer, goal) in GOALS {
        for line in figures.lines("server", job, ours, peer, &[("per_s", goal)]) {
            println!("{line}");
        }
    }
    Ok(())
}

/// Every job, each for every contender in turn, several rounds of it.
fn play(programs: &[Program], directory: &Path) -> Result<Figures, Failure> {
    let rounds = number("SERVER_ROUNDS", 5)?.max(1);
    let milliseconds = number("SERVER_MILLISECONDS", 3000)?;
    let documents = number("SERVER_DOCUMENTS", 100_000)?;
    let mut contenders = Vec::new();
    for (number, program) in programs.iter().enumerate() {
        contenders.push((
            program.name,
            Contender::start(program, &directory.join(number.to_string()))?,
        ));
    }
    let clients = 64;
    let mut figures = Figures::default();
    for (name, job) in [
        ("load", Job::Load { documents }),
        (
            "get_64",
            Job::Get {
                clients,
                milliseconds,
            },
        ),
        (
            "insert_64",
            Job::Insert {
                clients,
                milliseconds,
            },
        ),
    ] {
        for round in 0..if name == "load" { 1 } else { rounds } {
            for (contender_name, contender) in &mut contenders {
                // So that no sync waits for what another wrote.
                std::process::Command::new("sync").status()?;
                let answer = contender.work(job)?;
                report(name, round, contender_name, &answer);
                if let Some(run) = answer.run {
                    let sample = Sample {
                        run,
                        bytes_per_byte: None,
                        syncs_per_1000: None,
                    };
                    figures.add(name, contender_name, round, sample);
                }
            }
        }
    }
    Ok(figures)
}

fn report(job: &str, round: u64, contender: &str, answer: &Answer) {
    let what = match (&answer.run, &answer.failure) {
        (_, Some(failure)) => failure.clone(),
        (Some(run), _) => format!("{:.0} a second, p99 {:.0} us", run.per_second, run.p99),
        _ => "done".to_owned(),
    };
    eprintln!("{job}, round {round}, {contender}: {what}");
}
