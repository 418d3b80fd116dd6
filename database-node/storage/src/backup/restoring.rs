//! Restoring a backup.

use std::fs::File;
use std::io::sink;
use std::path::Path;

use super::manifest::{BackupFile, BackupInfo};
use super::target::Fault;
use super::{BackupError, BackupTarget};
use crate::directory::RestoredDirectory;
use crate::error::StorageError;

/// Restores a backup, `id` or the newest, into a new data directory at `path`, which must not exist or be empty. Every
/// file is checked; if one is missing or damaged, nothing is left there. A directory whose restore was interrupted is
/// refused when it is opened.
///
/// # Errors
/// Any [`BackupError`] except [`BackupError::Running`].
pub fn restore(target: &BackupTarget, id: Option<&str>, path: &Path) -> Result<BackupInfo, BackupError> {
    let backup = target.info(id)?;
    check_complete(target, &backup)?;
    let mut directory = RestoredDirectory::begin(path)?;
    for file in &backup.files {
        let (mut into, place) = directory.create(&file.path)?;
        fetch(target, &backup, file, &mut into, &place)?;
        let synced = File::sync_all(&into);
        synced.map_err(|error| StorageError::io("write", &place, error))?;
    }
    directory.finish()?;
    Ok(backup)
}

/// Reads every file of a backup, `id` or the newest, and checks it.
///
/// # Errors
/// As [`restore`].
pub fn verify(target: &BackupTarget, id: Option<&str>) -> Result<BackupInfo, BackupError> {
    let backup = target.info(id)?;
    check_complete(target, &backup)?;
    for file in &backup.files {
        fetch(target, &backup, file, &mut sink(), Path::new(""))?;
    }
    Ok(backup)
}

/// Before gigabytes are fetched in vain.
fn check_complete(target: &BackupTarget, backup: &BackupInfo) -> Result<(), BackupError> {
    let present = target.files()?;
    for file in &backup.files {
        let fault = match present.get(&file.sha256) {
            None => Fault::Missing,
            Some(size) if *size != file.size => {
                Fault::Differs(format!("has {size} bytes and should have {}", file.size))
            }
            Some(_) => continue,
        };
        return Err(name(fault, target, backup, file));
    }
    Ok(())
}

fn fetch(
    target: &BackupTarget,
    backup: &BackupInfo,
    file: &BackupFile,
    into: &mut dyn std::io::Write,
    place: &Path,
) -> Result<(), BackupError> {
    let fetched = target.fetch(file, into, place);
    fetched.map_err(|fault| name(fault, target, backup, file))
}

fn name(fault: Fault, target: &BackupTarget, backup: &BackupInfo, file: &BackupFile) -> BackupError {
    let (id, object) = (backup.id.clone(), target.content(file).to_string());
    let file = file.path.clone();
    match fault {
        Fault::Missing => BackupError::Missing { id, file, object },
        Fault::Differs(reason) => BackupError::Damaged {
            id,
            file,
            object,
            reason,
        },
        Fault::Other(error) => error,
    }
}
