//! A disk for a node: a file system in memory of its own, whose size can be changed.

use std::path::{Path, PathBuf};

use load::Failure;

use super::run;

/// A disk; it is gone when this is dropped, with what is on it.
pub struct Disk {
    path: PathBuf,
    size: u64,
}

impl Disk {
    /// Makes a disk of so many bytes at a path, which must not exist.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn make(path: &Path, size: u64) -> Result<Self, Failure> {
        std::fs::create_dir_all(path)?;
        let disk = Self {
            path: path.to_owned(),
            size,
        };
        let options = format!("size={size},mode=0700");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "pliant-chaos", &disk.text()],
        )?;
        Ok(disk)
    }

    fn text(&self) -> String {
        self.path.display().to_string()
    }

    /// Where the data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Leaves so many bytes free.
    ///
    /// # Errors
    /// When what is on it grows too fast.
    pub fn fill(&self, room: u64) -> Result<(), Failure> {
        let mut last = None;
        // It cannot be smaller than what is on it, which may grow meanwhile.
        for _ in 0..20 {
            match self.resize(self.used()? + room) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| "it was not tried".into()))
    }

    /// Gives it its whole size again.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn free(&self) -> Result<(), Failure> {
        self.resize(self.size)
    }

    fn resize(&self, size: u64) -> Result<(), Failure> {
        let options = format!("remount,size={size}");
        run("mount", &["-o", &options, &self.text()]).map(drop)
    }

    fn used(&self) -> Result<u64, Failure> {
        let printed = run("df", &["--block-size=1", "--output=used", &self.text()])?;
        let used = printed.lines().nth(1).ok_or("df printed no numbers")?;
        Ok(used.trim().parse()?)
    }

    /// Removes all that is on it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn wipe(&self) -> Result<(), Failure> {
        Ok(std::fs::remove_dir_all(self.data())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process may have it open for a moment longer; detached, it is gone with the last.
        let _ = run("umount", &["--lazy", &self.text()]);
    }
}
