//! A wall clock for a node: a library that is loaded before all others adds an offset, which it reads from a file.

use std::path::{Path, PathBuf};

use load::Failure;

/// The variable by which the library finds the file.
const VARIABLE: &str = "PLIANT_CHAOS_CLOCK";

/// A wall clock.
pub struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    /// One that is right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make(library: &Path, file: PathBuf) -> Result<Self, Failure> {
        let wall = Self {
            library: library.to_owned(),
            file,
        };
        wall.step(0)?;
        Ok(wall)
    }

    /// Sets by how many milliseconds it is wrong.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn step(&self, milliseconds: i64) -> Result<(), Failure> {
        let nanoseconds = milliseconds * 1_000_000;
        // Written in place: the library has the file in its memory, and 8 bytes change at once there.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.file)?;
        Ok(std::os::unix::fs::FileExt::write_all_at(
            &file,
            &nanoseconds.to_ne_bytes(),
            0,
        )?)
    }

    /// The environment of the process whose clock it is.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), (VARIABLE, &self.file)]
    }
}
