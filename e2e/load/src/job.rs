//! Jobs, answers, and the loop in which a contender serves them.

use std::io::{BufRead, Write, stdin, stdout};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::clients::Run;
use crate::process::Process;

/// What a contender is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Insert so many documents as fast as it goes, numbered from 0; they need be durable only at the end.
    Load {
        /// How many.
        documents: u64,
    },
    /// Insert documents of 256 bytes for a while, each durable before the client goes on.
    Insert {
        /// How many clients at once.
        clients: usize,
        /// For how long.
        milliseconds: u64,
    },
    /// Read random documents of those loaded for a while.
    Get {
        /// How many clients at once.
        clients: usize,
        /// For how long.
        milliseconds: u64,
    },
    /// Load documents that a view maps, 100 to a key.
    LoadView {
        /// How many.
        documents: u64,
    },
    /// Read the 100 rows of a random key of the view for a while.
    View {
        /// How many clients at once.
        clients: usize,
        /// For how long.
        milliseconds: u64,
    },
    /// Reduce the whole view for a while.
    Reduce {
        /// For how long.
        milliseconds: u64,
    },
}

/// What became of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Why it failed, or could not be done.
    pub failure: Option<String>,
    /// Of jobs with clients.
    pub run: Option<Run>,
    /// Bytes that the process sent to the disk meanwhile.
    pub disk_bytes: u64,
    /// The resident set now, in bytes.
    pub resident: u64,
    /// The largest resident set so far, in bytes.
    pub peak: u64,
}

/// Serves jobs until the input ends. `work` gives `None` for jobs without clients.
///
/// # Errors
/// When input, output or /proc fail; a failed job is an answer.
pub fn serve(mut work: impl FnMut(Job) -> Result<Option<Run>, Failure>) -> Result<(), Failure> {
    let process = Process::this();
    for line in stdin().lock().lines() {
        let job = serde_json::from_str(&line?)?;
        let before = process.disk_bytes()?;
        let (run, failure) = match work(job) {
            Ok(run) => (run, None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let answer = Answer {
            failure,
            run,
            disk_bytes: process.disk_bytes()? - before,
            resident: process.resident()?,
            peak: process.peak()?,
        };
        let mut output = stdout().lock();
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    Ok(())
}
