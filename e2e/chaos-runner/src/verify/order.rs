//! Each object is as if there were one copy: the checker looks for an order of its operations that fits.

use std::path::Path;
use std::process::Command;

use load::Failure;
use serde::Deserialize;

use super::lives::{self, Window};
use crate::history::OPERATIONS;

/// The file of the windows, which is made for the checker.
const WINDOWS: &str = "windows.jsonl";

/// What the checker found.
#[derive(Debug, Clone, Deserialize)]
pub struct Found {
    /// How many objects there are.
    pub objects: usize,
    /// Of how many operations.
    pub operations: usize,
    /// The most of one object.
    pub largest: usize,
    /// Objects that no order fits.
    pub illegal: usize,
    /// Objects that were not searched in time.
    pub unknown: usize,
}

/// Runs the checker over the history in a folder, in which lives ended then; gives what it found, and what is wrong.
///
/// # Errors
/// When it cannot be run, or cannot read the history.
pub fn check(checker: &Path, folder: &Path, windows: &[Window]) -> Result<(Found, Vec<String>), Failure> {
    let mut command = Command::new(checker);
    if !windows.is_empty() {
        let path = folder.join(WINDOWS);
        lives::write(windows, &path)?;
        command.arg("-windows").arg(path);
    }
    let output = command.arg(folder.join(OPERATIONS)).output();
    let output = output.map_err(|error| format!("the checker {}: {error}", checker.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = told.lines().collect();
    let last = lines.pop().unwrap_or_default();
    let found: Found = serde_json::from_str(last).map_err(|_| {
        format!(
            "the checker failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let mut failures = Vec::new();
    for line in lines {
        // A line that is not indented begins what is told of an object.
        match failures.last_mut() {
            Some(last) if line.starts_with(' ') => *last = format!("{last}\n{line}"),
            _ => failures.push(format!("order: {line}")),
        }
    }
    Ok((found, failures))
}
