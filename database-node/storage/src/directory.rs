//! The data directory: whose it is, which format it has, and who has it open.
//!
//! ```text
//! LOCK     held by the process that has the directory open
//! FORMAT   "pliantdb 1": what this is, and the version of its layout
//! state/   RocksDB
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::StorageError;

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const NEW_FORMAT_FILE: &str = "FORMAT.new";

/// What a fresh volume, or a first start that was interrupted, can hold.
const HARMLESS: [&str; 3] = [LOCK_FILE, NEW_FORMAT_FILE, "lost+found"];

/// An open data directory; nobody else can open it until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory, or creates it, readable by its owner only.
    ///
    /// Its format is a file of its own and not a record in RocksDB, so that a newer directory is refused
    /// before anything in it is opened, and so that it covers all that will lie beside `state`.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let create = DirBuilder::new().recursive(true).mode(0o700).create(path);
        create.map_err(|error| StorageError::io("create the data directory", path, error))?;
        let foreign = find_foreign(path)?;
        let has_format = path.join(FORMAT_FILE).try_exists();
        if let Some(found) = foreign
            && !has_format.map_err(|error| StorageError::io("look into", path, error))?
        {
            return Err(StorageError::ForeignDirectory {
                path: path.to_owned(),
                found,
            });
        }
        let lock = lock(path)?;
        check_format(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state lies.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }
}

/// Something in the directory that an empty one would not hold.
fn find_foreign(path: &Path) -> Result<Option<String>, StorageError> {
    let failed = |error| StorageError::io("read the data directory", path, error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn lock(path: &Path) -> Result<File, StorageError> {
    let file = path.join(LOCK_FILE);
    let failed = |error| StorageError::io("lock", &file, error);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StorageError::DirectoryInUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn check_format(path: &Path) -> Result<(), StorageError> {
    let file = path.join(FORMAT_FILE);
    let text = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return write_format(path),
        Err(error) => return Err(StorageError::io("read", &file, error)),
    };
    match text
        .trim_end()
        .strip_prefix("pliantdb ")
        .and_then(|version| version.parse().ok())
    {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StorageError::NewerFormat {
            path: path.to_owned(),
            found,
            supported: FORMAT,
        }),
        _ => Err(StorageError::ForeignDirectory {
            path: path.to_owned(),
            found: format!("{FORMAT_FILE} with the text {text:?}"),
        }),
    }
}

/// Writes the format file so that a crash leaves it whole or not at all.
fn write_format(path: &Path) -> Result<(), StorageError> {
    let (new, file) = (path.join(NEW_FORMAT_FILE), path.join(FORMAT_FILE));
    let write = || {
        let mut writing = File::create(&new)?;
        writing.write_all(format!("pliantdb {FORMAT}\n").as_bytes())?;
        writing.sync_all()?;
        fs::rename(&new, &file)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|error| StorageError::io("write", &file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDirectory, StorageError> {
        DataDirectory::open(path)
    }

    #[test]
    fn creates_and_opens_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let directory = open(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join("FORMAT")).unwrap(), "pliantdb 1\n");
        assert_eq!(
            open(&path).unwrap_err(),
            StorageError::DirectoryInUse { path: path.clone() }
        );
        drop(directory);
        open(&path).unwrap();
    }

    #[test]
    fn takes_a_fresh_volume_and_an_interrupted_start() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        fs::write(root.path().join("FORMAT.new"), "plia").unwrap();
        fs::write(root.path().join("LOCK"), "").unwrap();
        open(root.path()).unwrap();
    }

    #[test]
    fn refuses_what_is_not_ours_and_leaves_it_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), "").unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(
            matches!(&error, StorageError::ForeignDirectory { found, .. } if found == "thesis.tex"),
            "{error}"
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        fs::write(root.path().join("FORMAT"), "otherdb 1").unwrap();
        assert!(matches!(
            open(root.path()),
            Err(StorageError::ForeignDirectory { .. })
        ));
    }

    #[test]
    fn refuses_a_newer_format() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("FORMAT"), "pliantdb 2\n").unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(
            matches!(
                error,
                StorageError::NewerFormat {
                    found: 2,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}
