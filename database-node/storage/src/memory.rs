//! How much memory there is, and how much of it the store takes.

use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// What the store may use, in bytes.
///
/// A quarter of the memory limit is the block cache, which also holds indexes, filters and, charged
/// against it, the memtables; the rest is left to requests, the allocator and the kernel's page cache.
///
/// | limit    | cache, memtables included | one write buffer (two at most) |
/// |----------|---------------------------|--------------------------------|
/// | 128 MiB  | 32 MiB                    | 4 MiB                          |
/// | 256 MiB  | 64 MiB                    | 8 MiB                          |
/// | 1 GiB    | 256 MiB                   | 32 MiB                         |
/// | 4 GiB    | 1 GiB                     | 64 MiB                         |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The block cache, memtables included.
    pub cache: usize,
    /// One memtable; there are two when one is being flushed.
    pub write_buffer: usize,
    /// A table or blob file on disk: what compaction makes a copy of at once grows with it.
    pub table_file: usize,
}

impl MemoryPlan {
    /// The plan on a disk of `total` bytes: write buffers and files are at most 1/64 of it (and at least 1 MiB), so that
    /// flushes and compactions fit into the reserve.
    #[must_use]
    pub fn on_disk(self, total: u64) -> Self {
        let most = usize::try_from((total / 64).max(MIB)).unwrap_or(usize::MAX);
        Self {
            write_buffer: self.write_buffer.min(most),
            table_file: self.table_file.min(most),
            ..self
        }
    }

    /// The plan for a process that may use `limit` bytes.
    #[must_use]
    pub fn for_limit(limit: u64) -> Self {
        let cache = (limit / 4).max(8 * MIB);
        let write_buffer = (cache / 8).clamp(MIB, 64 * MIB);
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            cache: size(cache),
            write_buffer: size(write_buffer),
            table_file: size(64 * MIB),
        }
    }
}

/// How many bytes of memory this process may use: the smallest limit of its control group and the groups
/// above it, or the machine's memory. 1 GiB if none of them can be read.
#[must_use]
pub fn limit() -> u64 {
    limit_under(Path::new("/")).unwrap_or(1024 * MIB)
}

/// [`limit`], with the file system at `root`.
///
/// Reads `proc/meminfo`, `proc/self/cgroup` and under `sys/fs/cgroup` version 2's `memory.max` or version
/// 1's `memory/memory.limit_in_bytes`. Within a container the group's own folder is often mounted as the
/// root of the hierarchy, so the root is always looked at too.
fn limit_under(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    // Version 2: "0::/path". Version 1: "7:memory:/path", where the second field may list several.
    let of_groups = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if hierarchy == "0" && controllers.is_empty() {
            smallest(&root.join("sys/fs/cgroup"), path, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            smallest(&root.join("sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    let machine = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| total(&text));
    of_groups.chain(machine).min()
}

/// The smallest limit on the way from a hierarchy's root down to `group`.
fn smallest(hierarchy: &Path, group: &str, file: &str) -> Option<u64> {
    let mut folder = hierarchy.to_owned();
    let steps = group.split('/').filter(|step| !step.is_empty() && *step != "..");
    let folders = std::iter::once(folder.clone()).chain(steps.map(|step| {
        folder.push(step);
        folder.clone()
    }));
    // "max" (version 2) is no number; version 1 has a huge one, which loses against the machine's memory.
    folders
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
        .min()
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1048576 kB\nMemFree: 5 kB\n");

    #[test]
    fn version_2_in_a_container() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "134217728\n"),
        ]);
        assert_eq!(limit_under(root.path()), Some(128 * MIB));
    }

    #[test]
    fn version_2_takes_the_smallest_on_the_way() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/kubepods/pod7/c1\n"),
            ("sys/fs/cgroup/kubepods/memory.max", "max\n"),
            ("sys/fs/cgroup/kubepods/pod7/memory.max", "268435456\n"),
            ("sys/fs/cgroup/kubepods/pod7/c1/memory.max", "max\n"),
        ]);
        assert_eq!(limit_under(root.path()), Some(256 * MIB));
    }

    #[test]
    fn version_1() {
        let root = system(&[
            MEMINFO,
            (
                "proc/self/cgroup",
                "9:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/x\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ]);
        assert_eq!(limit_under(root.path()), Some(256 * MIB));
    }

    #[test]
    fn no_limit_means_the_machine() {
        let unlimited = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        let root = system(&[MEMINFO, ("proc/self/cgroup", "7:memory:/\n"), unlimited]);
        assert_eq!(limit_under(root.path()), Some(1024 * MIB));
        assert_eq!(limit_under(system(&[MEMINFO]).path()), Some(1024 * MIB));
        assert_eq!(limit_under(system(&[]).path()), None);
        assert!(limit() > 0);
    }

    #[test]
    fn small_disks_have_small_buffers() {
        let plan = MemoryPlan::for_limit(4096 * MIB);
        assert_eq!(plan.on_disk(1 << 40), plan);
        assert_eq!(plan.on_disk(640 * MIB).write_buffer >> 20, 10);
        assert_eq!(plan.on_disk(MIB).write_buffer >> 20, 1);
    }

    #[test]
    fn plans_are_as_documented() {
        for (limit, cache, buffer) in [
            (128, 32, 4),
            (256, 64, 8),
            (1024, 256, 32),
            (4096, 1024, 64),
            (16, 8, 1),
        ] {
            let plan = MemoryPlan::for_limit(limit * MIB);
            assert_eq!(
                (plan.cache >> 20, plan.write_buffer >> 20),
                (cache, buffer),
                "{limit} MiB"
            );
        }
    }
}
