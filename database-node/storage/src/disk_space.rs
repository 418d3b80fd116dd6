//! Refusing writes before the disk is full.

use std::io;
use std::path::PathBuf;

use crate::error::StorageError;

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
/// RocksDB itself needs room to flush memtables and to compact; a disk that is truly full stops it. So a
/// reserve is kept: 5 % of the file system, at least 64 MiB and at most 1 GiB, unless set.
pub(crate) struct DiskSpace {
    path: PathBuf,
    reserve: Option<u64>,
    measure: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
}

impl DiskSpace {
    pub(crate) fn of(path: PathBuf, reserve: Option<u64>) -> Self {
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
            measure,
        }
    }

    /// Free bytes and the reserve.
    pub(crate) fn measure(&self) -> Result<(u64, u64), StorageError> {
        let space = (self.measure)()
            .map_err(|error| StorageError::io("measure the disk under", &self.path, error))?;
        let reserve = self
            .reserve
            .unwrap_or_else(|| (space.total / 20).clamp(64 * MIB, 1024 * MIB));
        Ok((space.free, reserve))
    }

    /// Whether there is room for writes, or, with `frees`, for deletes: they need a little room to make
    /// more, so they may use up three quarters of the reserve.
    pub(crate) fn check(&self, frees: bool) -> Result<(), StorageError> {
        let (free, reserve) = self.measure()?;
        let reserve = if frees { reserve / 4 } else { reserve };
        if free < reserve {
            return Err(StorageError::DiskFull {
                path: self.path.clone(),
                free,
                reserve,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(free: u64, total: u64, reserve: Option<u64>, frees: bool) -> bool {
        let measure = Box::new(move || Ok(Space { free, total }));
        DiskSpace {
            path: PathBuf::new(),
            reserve,
            measure,
        }
        .check(frees)
        .is_ok()
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
    }

    #[test]
    fn lets_deletes_use_some_of_it() {
        assert!(check(16 * MIB, 500 * MIB, None, true));
        assert!(!check(16 * MIB - 1, 500 * MIB, None, true));
    }
}
