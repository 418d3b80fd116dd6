//! Refusing writes before the disk is full.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::memory::MemoryPlan;

const MIB: u64 = 1 << 20;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    /// Free for this process.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) total: u64,
}

/// Watches the room on the disk under a data directory.
///
/// RocksDB itself needs room to start, to flush memtables and to compact; a disk that is truly full stops it. So:
///
/// - A write needs `reserve + unflushed + 2 × its bytes` free: it goes to the log, and is flushed to a table later. So
///   whatever is in the log can be flushed, when the node runs and when it starts after a crash. On a node of a cluster
///   it is 3 times: the consensus log is flushed to tables of its own.
/// - The reserve, unless set, is 5 % of the file system, at least 64 MiB and at most 1 GiB, but never less than four
///   write buffers; a write buffer is at most 1/64 of the file system ([`crate::memory::MemoryPlan::on_disk`]).
/// - Deletes need no more than a quarter of the reserve: still a write buffer, which is what RocksDB sets
///   aside for a new log.
pub struct DiskSpace {
    path: PathBuf,
    reserve: Option<u64>,
    write_buffer: u64,
    /// How often a write is written to the disk.
    copies: u64,
    measure: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
}

impl DiskSpace {
    pub(crate) fn of(path: PathBuf, reserve: Option<u64>, memory: MemoryPlan) -> Self {
        let measured = path.clone();
        let measure = Box::new(move || {
            let stat = rustix::fs::statvfs(&measured)?;
            let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            Ok(Space {
                free: bytes(stat.f_bavail),
                total: bytes(stat.f_blocks),
            })
        });
        Self {
            path,
            reserve,
            write_buffer: memory.write_buffer as u64,
            copies: 2,
            measure,
        }
    }

    /// Of the directory of a node of a cluster, which has two stores.
    pub(crate) fn of_node(path: PathBuf, reserve: Option<u64>, memory: MemoryPlan) -> Self {
        Self {
            copies: 3,
            ..Self::of(path, reserve, memory)
        }
    }

    /// All bytes of the file system at `path`.
    pub(crate) fn total(path: &Path) -> Result<u64, StorageError> {
        let measured = rustix::fs::statvfs(path);
        let stat = measured.map_err(|error| StorageError::io("measure the disk under", path, error))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    /// Free bytes and the reserve.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn measure(&self) -> Result<(u64, u64), StorageError> {
        let space = (self.measure)()
            .map_err(|error| StorageError::io("measure the disk under", &self.path, error))?;
        let reserve = self
            .reserve
            .unwrap_or_else(|| default_reserve(space.total, self.write_buffer));
        Ok((space.free, reserve))
    }

    /// What there is now, to try several writes on.
    pub(crate) fn room(&self, unflushed: u64) -> Result<Room<'_>, StorageError> {
        let (free, reserve) = self.measure()?;
        Ok(Room {
            disk: self,
            free,
            reserve,
            taken: unflushed,
        })
    }

    /// Whether there is room for writes at all.
    pub(crate) fn check(&self, unflushed: u64) -> Result<(), StorageError> {
        self.check_write(unflushed, 0, false)
    }

    /// Whether there is room for a write of so many bytes, while `unflushed` have yet to be written to tables. With `frees`
    /// for one that deletes.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`], and [`StorageError::Io`] when the disk cannot be asked.
    pub fn check_write(&self, unflushed: u64, bytes: usize, frees: bool) -> Result<(), StorageError> {
        self.room(unflushed)?.take(bytes, frees)
    }
}

/// The room on a disk at one moment.
pub(crate) struct Room<'a> {
    disk: &'a DiskSpace,
    free: u64,
    reserve: u64,
    /// What has yet to be flushed, and what the writes so far take.
    taken: u64,
}

impl Room<'_> {
    /// Takes room for a write of so many bytes, or, with `frees`, for a delete: it needs a little room to make more,
    /// so it may use up three quarters of the reserve.
    pub(crate) fn take(&mut self, bytes: usize, frees: bool) -> Result<(), StorageError> {
        let reserve = if frees { self.reserve / 4 } else { self.reserve };
        let taken = self.taken.saturating_add(self.disk.copies * bytes as u64);
        let needed = reserve.saturating_add(taken);
        if self.free < needed {
            return Err(StorageError::DiskFull {
                path: self.disk.path.clone(),
                free: self.free,
                needed,
            });
        }
        self.taken = taken;
        Ok(())
    }
}

fn default_reserve(total: u64, write_buffer: u64) -> u64 {
    (total / 20).clamp(64 * MIB, 1024 * MIB).max(4 * write_buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free: u64, total: u64, reserve: Option<u64>) -> DiskSpace {
        DiskSpace {
            path: PathBuf::new(),
            reserve,
            write_buffer: MIB,
            copies: 2,
            measure: Box::new(move || Ok(Space { free, total })),
        }
    }

    fn check(free: u64, total: u64, reserve: Option<u64>, frees: bool) -> bool {
        disk(free, total, reserve).room(0).unwrap().take(0, frees).is_ok()
    }

    #[test]
    fn keeps_a_reserve() {
        assert!(check(64 * MIB, 500 * MIB, None, false));
        assert!(!check(64 * MIB - 1, 500 * MIB, None, false));
        assert!(check(500 * MIB, 10_000 * MIB, None, false));
        assert!(!check(499 * MIB, 10_000 * MIB, None, false));
        assert!(check(1024 * MIB, 1 << 50, None, false));
        assert!(check(10, 100, Some(10), false));
        assert!(!check(9, 100, Some(10), false));
        assert_eq!(
            default_reserve(500 * MIB, 64 * MIB),
            256 * MIB,
            "four write buffers"
        );
    }

    #[test]
    fn counts_what_is_written_and_what_is_yet_to_be_flushed() {
        let disk = disk(100, 1000, Some(10));
        assert!(disk.check(90).is_ok() && disk.check(91).is_err());
        let mut room = disk.room(50).unwrap();
        assert!(room.take(21, false).is_err(), "once to the log, once to a table");
        assert_eq!((room.take(15, false), room.take(5, false)), (Ok(()), Ok(())));
        assert!(room.take(1, false).is_err(), "the writes before it count");
    }

    #[test]
    fn lets_deletes_use_some_of_it() {
        assert!(check(16 * MIB, 500 * MIB, None, true));
        assert!(!check(16 * MIB - 1, 500 * MIB, None, true));
        assert!(disk(100, 1000, Some(80)).room(81).unwrap().take(0, true).is_err());
    }
}
