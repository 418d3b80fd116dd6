//! What this process has used, from /proc.

use std::fs::read_to_string;

use crate::Failure;

/// Bytes sent to the disk so far.
///
/// # Errors
/// When /proc cannot be read.
pub fn disk_bytes() -> Result<u64, Failure> {
    field("/proc/self/io", "write_bytes:")
}

/// The resident set in bytes.
///
/// # Errors
/// When /proc cannot be read.
pub fn resident() -> Result<u64, Failure> {
    Ok(field("/proc/self/status", "VmRSS:")? * 1024)
}

/// The largest resident set so far, in bytes.
///
/// # Errors
/// When /proc cannot be read.
pub fn peak() -> Result<u64, Failure> {
    Ok(field("/proc/self/status", "VmHWM:")? * 1024)
}

fn field(file: &str, name: &str) -> Result<u64, Failure> {
    let text = read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("{file} has no {name}"))?.parse()?)
}
