//! What the nodes run on: hosts, wires, disks and clocks of their own on this machine.
//!
//! - [`control`]: the node's command line, the only place that knows it
//! - [`hosts`]: network namespaces, and the wires between them
//! - [`disk`]: a disk for each node, which can be full
//! - [`wall`]: a wall clock for each node, which can be wrong
//! - [`node`]: a node's process
//! - [`sweep`]: what runs that were killed have left

pub mod control;
pub mod disk;
pub mod hosts;
pub mod node;
pub mod sweep;
pub mod wall;

use std::process::{Command, Stdio};

use load::Failure;

/// What the names of all that is made begin with; the process id follows.
pub const PREFIX: &str = "pliant-chaos-";

/// What starts a program that ends with this one, also when this one is killed.
///
/// The kernel goes by the thread that starts it, so that thread must stay.
#[must_use]
pub fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Runs a program, and gives what it printed.
///
/// # Errors
/// When it cannot be run or fails, with what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{program} {} failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}
