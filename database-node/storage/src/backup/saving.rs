//! Making a backup.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

use super::manifest::{BackupFile, BackupInfo, hex};
use super::{BackupError, BackupTarget};
use crate::directory::DataDirectory;
use crate::encryption;
use crate::error::StorageError;
use crate::node::{CopySource, Inventory};
use crate::storage::Storage;

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// What was backed up.
    pub backup: BackupInfo,
    /// How many of its files the target did not have yet.
    pub sent_files: usize,
    /// Their bytes.
    pub sent_bytes: u64,
}

/// Backs an open storage up as it is at this moment, and returns when all is in `target`. Reads and writes go on; the
/// disk space of what they replace is not given back until the backup is done. Every file is read, and sent if the
/// target does not have it yet.
///
/// # Errors
/// [`BackupError::Running`], [`BackupError::Storage`] and [`BackupError::Target`]. What was sent before stays in the
/// target, where the next backup finds it; there is no backup of it.
pub fn backup(storage: &Storage, target: &BackupTarget) -> Result<BackupReport, BackupError> {
    if let Err(failed @ StorageError::Failed(_)) = storage.writable() {
        return Err(failed.into());
    }
    let copy = Copy::make(storage.directory(), |state, _| {
        let copied = storage.engine().store.inner().checkpoint(state);
        Ok(copied.map_err(StorageError::from)?)
    })?;
    send(&copy, target)
}

/// As [`backup`], of the databases that a node has, which are what `inventory` says: it becomes a backup of a storage. What
/// the logs have and the node has not applied yet is not in it.
///
/// # Errors
/// As [`backup`], and [`BackupError::NotHere`].
pub fn backup_node(
    node: &CopySource,
    inventory: &Inventory,
    target: &BackupTarget,
) -> Result<BackupReport, BackupError> {
    let copy = Copy::make(node.directory(), |state, beside| {
        node.copy_state(inventory, state, beside)
    })?;
    send(&copy, target)
}

fn send(copy: &Copy<'_>, target: &BackupTarget) -> Result<BackupReport, BackupError> {
    let mut present = target.files()?;
    let (mut files, mut sent_files, mut sent_bytes) = (Vec::new(), 0, 0);
    for path in copy.files()? {
        let on_disk = copy.path().join(&path);
        let file = describe(path, &on_disk)?;
        if present.get(&file.sha256) != Some(&file.size) {
            target.send(&on_disk, &file)?;
            present.insert(file.sha256.clone(), file.size);
            sent_files += 1;
            sent_bytes += file.size;
        }
        files.push(file);
    }
    let master_key = encryption::master_key_of(&copy.path())?;
    let backup = BackupInfo::new(new_id(), master_key, files);
    target.write_info(&backup)?;
    Ok(BackupReport {
        backup,
        sent_files,
        sent_bytes,
    })
}

fn new_id() -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    // Two nodes may use the same target in the same millisecond.
    format!("{now}-{:04x}", rand::random::<u16>())
}

fn describe(path: String, on_disk: &Path) -> Result<BackupFile, BackupError> {
    let read = || -> std::io::Result<(u64, String)> {
        let (mut file, mut hash, mut size) = (File::open(on_disk)?, Context::new(&SHA256), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((size, hex(hash.finish().as_ref()))),
                read => {
                    hash.update(buffer.get(..read).unwrap_or_default());
                    size += read as u64;
                }
            }
        }
    };
    let (size, sha256) = read().map_err(|error| StorageError::io("read", on_disk, error))?;
    Ok(BackupFile { path, size, sha256 })
}

/// The files of a storage's directory as they were at one moment, in the folder `backup` of the directory: table files under
/// a second name, which costs no room, the few others copied. Gone when dropped.
struct Copy<'a> {
    directory: &'a DataDirectory,
}

impl<'a> Copy<'a> {
    /// `copy_state` makes the state in the folder that is given first, and may use the one that is given then.
    fn make(
        directory: &'a DataDirectory,
        copy_state: impl FnOnce(&Path, &Path) -> Result<(), BackupError>,
    ) -> Result<Self, BackupError> {
        let path = directory.backup();
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let path = directory.path().to_owned();
                return Err(BackupError::Running { path });
            }
            Err(error) => return Err(StorageError::io("create", &path, error).into()),
        }
        let copy = Self { directory };
        directory.copy_as_storage(&path)?;
        let state = path.join(directory.state().file_name().unwrap_or_default());
        copy_state(&state, &path.join("node"))?;
        Ok(copy)
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.backup()
    }

    /// Their places in it, in order.
    fn files(&self) -> Result<Vec<String>, StorageError> {
        fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> std::io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.file_type()?.is_dir() {
                    true => walk(&entry.path(), &format!("{name}/"), files)?,
                    false => files.push(name),
                }
            }
            Ok(())
        }
        let (path, mut files) = (self.path(), Vec::new());
        walk(&path, "", &mut files).map_err(|error| StorageError::io("read", &path, error))?;
        files.sort();
        Ok(files)
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        let path = self.path();
        if let Err(error) = fs::remove_dir_all(&path) {
            // It keeps disk space from being given back until the next start removes it.
            tracing::warn!(path = %path.display(), %error, "cannot remove what a backup needed");
        }
    }
}
