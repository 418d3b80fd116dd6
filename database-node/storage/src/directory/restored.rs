//! A data directory that is being restored from a backup.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{
    FORMAT_FILE, LOCK_FILE, Lock, check, create_synced, lock, read_format, refuse_of_node, sync_directory,
};
use crate::backup::BackupError;
use crate::error::StorageError;

/// What `FORMAT` is called until all the rest is there and synced. Without `FORMAT`, the directory is refused.
const UNFINISHED_FORMAT: &str = "FORMAT.restored";

/// A data directory in the making. Unless it is finished, everything in it goes when it is dropped.
pub(crate) struct RestoredDirectory {
    path: PathBuf,
    /// Whether the directory itself was there before.
    existed: bool,
    finished: bool,
    _lock: Lock,
}

impl RestoredDirectory {
    /// Begins with a directory that does not exist, or has nothing in it.
    pub(crate) fn begin(path: &Path) -> Result<Self, BackupError> {
        let existed = path.is_dir();
        create_synced(path).map_err(|error| StorageError::io("create the data directory", path, error))?;
        let failed = |error| StorageError::io("read the data directory", path, error);
        for entry in fs::read_dir(path).map_err(failed)? {
            let found = entry.map_err(failed)?.file_name();
            // A fresh volume has it.
            if found != "lost+found" {
                return Err(BackupError::NotEmpty {
                    path: path.to_owned(),
                    found: found.to_string_lossy().into_owned(),
                });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            existed,
            finished: false,
            _lock: lock(path)?,
        })
    }

    /// Creates a file at that place in the directory, and the folder that it lies in.
    pub(crate) fn create(&mut self, place: &str) -> Result<(File, PathBuf), StorageError> {
        let place = match place {
            FORMAT_FILE => UNFINISHED_FORMAT,
            place => place,
        };
        let file = self.path.join(place);
        if let Some(folder) = file.parent() {
            create_synced(folder).map_err(|error| StorageError::io("create", folder, error))?;
        }
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(&file);
        match created {
            Ok(created) => Ok((created, file)),
            Err(error) => Err(StorageError::io("create", &file, error)),
        }
    }

    /// Checks that everything is there, and makes a data directory of it.
    pub(crate) fn finish(mut self) -> Result<(), StorageError> {
        let path = &self.path;
        let (unfinished, format) = (path.join(UNFINISHED_FORMAT), path.join(FORMAT_FILE));
        let text = read_format(path, UNFINISHED_FORMAT)?;
        let text = text.ok_or_else(|| StorageError::Incomplete {
            path: path.clone(),
            missing: format.clone(),
        })?;
        refuse_of_node(path, check(path, &text)?)?;
        let finish = || -> io::Result<()> {
            for entry in fs::read_dir(path)? {
                let entry = entry?.path();
                if entry.is_dir() {
                    sync_directory(&entry)?;
                }
            }
            sync_directory(path)?;
            fs::rename(&unfinished, &format)?;
            sync_directory(path)
        };
        finish().map_err(|error| StorageError::io("write", &format, error))?;
        self.finished = true;
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == "lost+found" || entry.file_name() == LOCK_FILE {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        // Last, so that nobody can begin to use what is not cleared yet.
        fs::remove_file(self.path.join(LOCK_FILE))?;
        match self.existed {
            true => Ok(()),
            false => fs::remove_dir(&self.path),
        }
    }
}

impl Drop for RestoredDirectory {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = self.clear() {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what was restored in vain");
        }
    }
}
