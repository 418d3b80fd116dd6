//! A contender as a process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Failure;
use crate::job::{Answer, Job};

/// A program that takes part.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is called in the figures.
    pub name: &'static str,
    /// How it is started; the directory for its data comes first.
    pub path: std::path::PathBuf,
    /// What follows.
    pub arguments: &'static [&'static str],
}

/// One that runs.
pub struct Contender {
    process: Child,
    jobs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Contender {
    /// Starts it on a directory that is not there yet.
    pub fn start(program: &Program, directory: &Path) -> Result<Self, Failure> {
        let mut process = Command::new(&program.path)
            .arg(directory)
            .args(program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.path.display()))?;
        let jobs = process.stdin.take();
        let answers = process.stdout.take().ok_or("it has no output")?;
        Ok(Self {
            process,
            jobs,
            answers: BufReader::new(answers),
        })
    }

    /// Gives it a job and waits for the answer.
    pub fn work(&mut self, job: Job) -> Result<Answer, Failure> {
        let mut line = serde_json::to_string(&job)?;
        line.push('\n');
        let jobs = self.jobs.as_mut().ok_or("it is finished")?;
        jobs.write_all(line.as_bytes())?;
        line.clear();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            return Err("it ended without an answer".into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The same, and how often it synced meanwhile. `None` if that cannot be counted here: perf must be installed, and
    /// one must be allowed to trace.
    pub fn work_counting_syncs(&mut self, job: Job) -> Result<(Answer, Option<u64>), Failure> {
        let counter = Command::new("perf")
            .args([
                "stat",
                "-x,",
                "-e",
                "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync",
                "-p",
            ])
            .arg(self.process.id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(counter) = counter else {
            return Ok((self.work(job)?, None));
        };
        std::thread::sleep(std::time::Duration::from_millis(300));
        let answer = self.work(job);
        Command::new("kill")
            .args(["-INT", &counter.id().to_string()])
            .status()?;
        let counts = counter.wait_with_output()?;
        let counts = String::from_utf8_lossy(&counts.stderr)
            .lines()
            .map(|line| line.split(',').next()?.parse::<u64>().ok())
            .sum();
        Ok((answer?, counts))
    }
}

impl Drop for Contender {
    /// It ends when its input does.
    fn drop(&mut self) {
        drop(self.jobs.take());
        // Nothing else can be done about it here.
        let _ = self.process.wait();
    }
}
