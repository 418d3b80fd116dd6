//! Running a command, and waiting for something to hold.

use std::fmt::Debug;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "the command failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a command that must have failed.
    ///
    /// # Panics
    /// When it succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(
            !self.success,
            "the command should have failed, but printed: {}",
            self.stdout
        );
        self.stderr
    }

    /// The standard output as JSON.
    ///
    /// # Panics
    /// When the command failed or printed something else.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    run_with_input(command, "")
}

/// Runs a command to its end with `input` as its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // A command may end without having read its input; that is its own affair.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `probe` gives something that `holds`, and gives that.
///
/// # Panics
/// When it does not within `limit`; the message tells `what` was waited for and what was seen last.
#[track_caller]
pub fn wait_for<T: Debug>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let seen = probe();
        if holds(&seen) {
            return seen;
        }
        assert!(
            began.elapsed() < limit,
            "waited {limit:?} in vain for: {what}; seen last: {seen:#?}"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}
