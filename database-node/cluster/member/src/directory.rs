//! What lies where in a member's directory, beside what the storage has there
//! ([`pliantdb_storage::node::NodeDirectory`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A member's directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// One that may be there.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes it, if there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = Self(path.to_owned());
        for folder in [directory.certificates(), directory.authority()] {
            std::fs::create_dir_all(folder)?;
        }
        Ok(directory)
    }

    /// The node's certificate and key.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    /// The cluster's authority, on a node that has it.
    pub(crate) fn authority(&self) -> PathBuf {
        self.0.join("authority")
    }

    /// The tokens that this node has made.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.0.join("authority").join("join-tokens.json")
    }

    /// What the node joins with: drawn once, so that one that asks again after a crash is not taken for another.
    ///
    /// # Errors
    /// As reading and writing files, and [`io::ErrorKind::InvalidData`] for a file that is not ours.
    pub(crate) fn joining(&self) -> io::Result<u128> {
        let path = self.0.join("joining");
        match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(64).read_to_string(&mut text)?;
                let read = u128::from_str_radix(text.trim(), 16);
                read.map_err(|error| {
                    let reason = format!(
                        "{} is not a number of 32 hexadecimal digits: {error}",
                        path.display()
                    );
                    io::Error::new(io::ErrorKind::InvalidData, reason)
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let drawn: u128 = rand::random();
                let new = self.0.join("joining.new");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&new)?;
                writeln!(file, "{drawn:032x}")?;
                file.sync_all()?;
                std::fs::rename(&new, &path)?;
                File::open(&self.0)?.sync_all()?;
                Ok(drawn)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_joins_with_is_drawn_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let drawn = directory.joining().unwrap();
        assert_eq!(Directory::open(folder.path()).unwrap().joining().unwrap(), drawn);
        std::fs::write(folder.path().join("joining"), "what").unwrap();
        let error = directory.joining().unwrap_err().to_string();
        assert!(error.contains("joining is not a number"), "{error}");
    }
}
