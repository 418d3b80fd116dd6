//! What runs that were killed have left: hosts, processes on them, and disks. Those of runs that go on are left alone.

use std::path::{Path, PathBuf};

use load::Failure;
use rustix::process::{Pid, Signal, kill_process};

use super::{PREFIX, run};

/// Removes it.
///
/// # Errors
/// When `ip` or `umount` fails.
pub fn sweep() -> Result<(), Failure> {
    let listed = run("ip", &["netns", "list"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| is_left(name)) {
        for process in run("ip", &["netns", "pids", name])?.split_whitespace() {
            if let Some(process) = process.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = kill_process(process, Signal::KILL);
            }
        }
        run("ip", &["netns", "delete", name])?;
    }
    for disk in disks(&std::fs::read_to_string("/proc/mounts")?) {
        run("umount", &["--lazy", &disk.display().to_string()])?;
    }
    Ok(())
}

/// Where disks of runs are mounted that are not there any more.
fn disks(mounts: &str) -> Vec<PathBuf> {
    let paths = mounts
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(Path::new);
    paths
        .filter(|path| path.iter().any(|part| part.to_str().is_some_and(is_left)))
        .map(Path::to_owned)
        .collect()
}

/// Whether a name is of a run whose process is not there any more.
fn is_left(name: &str) -> bool {
    let id = name
        .strip_prefix(PREFIX)
        .map(|rest| rest.split('-').next().unwrap_or(rest));
    id.and_then(|id| id.parse::<u32>().ok())
        .is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_runs_any_more_is_left() {
        let this = std::process::id();
        assert!(!is_left(&format!("{PREFIX}{this}-n1")));
        // No process has so large an id.
        assert!(is_left(&format!("{PREFIX}4294967295-n1")) && is_left(&format!("{PREFIX}4294967295")));
        assert!(!is_left("pliant-test") && !is_left(&format!("{PREFIX}mine-n1")));
        let mounts =
            format!("pliant-chaos /var/tmp/{PREFIX}4294967295/n1 tmpfs rw 0 0\nproc /proc proc rw 0 0\n");
        assert_eq!(
            disks(&mounts),
            [PathBuf::from(format!("/var/tmp/{PREFIX}4294967295/n1"))]
        );
    }
}
