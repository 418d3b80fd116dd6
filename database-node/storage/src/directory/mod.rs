//! The data directory: whose it is, which format it has, and who has it open.
//!
//! ```text
//! LOCK        held by the process that has the directory open
//! FORMAT.new  there while the directory is being created; renamed to FORMAT at the end
//! FORMAT      "pliantdb 1": what this is, and the version of its layout; then whether it is encrypted, and whose it is
//! ENCRYPTION  of an encrypted one: by which master key, and its own key, wrapped
//! state/      RocksDB; in it, of ours: SYNCED, how far the log is synced, and torn/, what crashes tore of logs
//! log/        of a node of a cluster: RocksDB, with the logs of groups
//! backup/     while a backup is made: what belongs to it
//! ```
//! So `FORMAT` says that everything else was once there and synced. With it, what is missing is lost and never
//! made anew; without it, nothing was ever acknowledged, and a creation that was interrupted starts over.

mod format;
mod restored;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(crate) use format::{Format, Of};
pub(crate) use restored::RestoredDirectory;

use crate::encryption;
use crate::error::StorageError;

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const NEW_FORMAT_FILE: &str = "FORMAT.new";
const STATE_DIRECTORY: &str = "state";
const LOG_DIRECTORY: &str = "log";
const BACKUP_DIRECTORY: &str = "backup";

/// What a fresh volume can hold, or a creation that was interrupted before it came to the state.
const HARMLESS: [&str; 4] = [LOCK_FILE, NEW_FORMAT_FILE, "lost+found", "tls"];

/// What a creation makes after its mark.
const PARTS: [&str; 4] = [
    STATE_DIRECTORY,
    LOG_DIRECTORY,
    encryption::HEADER_FILE,
    encryption::NEW_HEADER_FILE,
];

/// An open data directory; nobody else can open it until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    is_new: bool,
    format: Format,
    _lock: Lock,
}

impl DataDirectory {
    /// Opens the directory of a storage, or begins to create it, readable by its owner only, and encrypted if so wished.
    ///
    /// Its format is a file of its own and not a record in RocksDB, so that a newer directory is refused
    /// before anything in it is opened, and so that it covers all that will lie beside `state`.
    pub(crate) fn open(path: &Path, create_encrypted: bool) -> Result<Self, StorageError> {
        let created = Format {
            is_encrypted: create_encrypted,
            of: Of::Storage,
        };
        // Before the lock, which the node has while it runs.
        refuse_node_at(path)?;
        let directory = Self::open_or_create(path, created)?;
        refuse_of_node(path, directory.format)?;
        Ok(directory)
    }

    /// Opens the directory, whosever it is, or begins to create one.
    pub(crate) fn open_or_create(path: &Path, created: Format) -> Result<Self, StorageError> {
        create_synced(path).map_err(|error| StorageError::io("create the data directory", path, error))?;
        // Before the lock, which is a file too: a foreign directory is left as it is.
        let begun = find(path)?;
        let lock = lock(path)?;
        let (is_new, format) = match read_format(path, FORMAT_FILE)? {
            Some(text) => {
                let format = check(path, &text)?;
                remove_backup(path)?;
                (false, format)
            }
            None => {
                begin(path, begun, created)?;
                (true, created)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            is_new,
            format,
            _lock: lock,
        })
    }

    /// Opens the directory of a storage that must be there, whole.
    pub(crate) fn open_existing(path: &Path) -> Result<Self, StorageError> {
        refuse_node_at(path)?;
        let directory = Self::open_any(path)?;
        refuse_of_node(path, directory.format)?;
        Ok(directory)
    }

    /// Opens a directory that must be there, whole, whosever it is.
    pub(crate) fn open_any(path: &Path) -> Result<Self, StorageError> {
        // Looked at before the lock, which is a file too.
        let format = || {
            read_format(path, FORMAT_FILE)?.ok_or_else(|| StorageError::Incomplete {
                path: path.to_owned(),
                missing: path.join(FORMAT_FILE),
            })
        };
        format()?;
        let lock = lock(path)?;
        let format = check(path, &format()?)?;
        remove_backup(path)?;
        Ok(Self {
            path: path.to_owned(),
            is_new: false,
            format,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state lies.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join(STATE_DIRECTORY)
    }

    /// Where the logs of a node lie.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG_DIRECTORY)
    }

    /// Where a backup has its copy while it is made.
    pub(crate) fn backup(&self) -> PathBuf {
        self.path.join(BACKUP_DIRECTORY)
    }

    /// Writes what belongs to it besides its stores into the folder `to`, for the directory of a storage.
    pub(crate) fn copy_as_storage(&self, to: &Path) -> Result<(), StorageError> {
        let of = Of::Storage;
        let (format, text) = (to.join(FORMAT_FILE), Format { of, ..self.format }.text());
        fs::write(&format, text).map_err(|error| StorageError::io("write", &format, error))?;
        if self.format.is_encrypted {
            let header = self.path.join(encryption::HEADER_FILE);
            let copied = fs::copy(&header, to.join(encryption::HEADER_FILE));
            copied.map_err(|error| StorageError::io("copy", &header, error))?;
        }
        Ok(())
    }

    /// Whether the state is yet to be created, and [`DataDirectory::finish`] to be called then.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether its values are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.format.is_encrypted
    }

    /// Whose it is.
    pub(crate) fn of(&self) -> Of {
        self.format.of
    }

    /// Marks the creation as finished. Everything in the stores must be synced; the names of their files are here.
    pub(crate) fn finish(&self) -> Result<(), StorageError> {
        let (new, file) = (self.path.join(NEW_FORMAT_FILE), self.path.join(FORMAT_FILE));
        let finish = || {
            sync_directory(&self.state())?;
            if self.format.of != Of::Storage {
                sync_directory(&self.log())?;
            }
            sync_directory(&self.path)?;
            fs::rename(&new, &file)?;
            sync_directory(&self.path)
        };
        finish().map_err(|error| StorageError::io("write", &file, error))
    }

    /// Says whose it is from now on: a crash leaves the one or the other.
    pub(crate) fn give_to(&mut self, of: Of) -> Result<(), StorageError> {
        let format = Format { of, ..self.format };
        let new = self.path.join(NEW_FORMAT_FILE);
        let write = || {
            let mut writing = File::create(&new)?;
            writing.write_all(format.text().as_bytes())?;
            writing.sync_all()
        };
        write().map_err(|error| StorageError::io("write", &new, error))?;
        let before = std::mem::replace(&mut self.format, format);
        self.finish().inspect_err(|_| self.format = before)
    }
}

/// Creates a directory and those above it, each synced into the one that holds it: a directory whose entry is lost
/// in a power failure is lost with everything in it.
fn create_synced(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return DirBuilder::new().create(path),
    };
    create_synced(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Someone was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    sync_directory(parent)
}

/// Syncs the names of the files in a directory.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What lies in a directory without a finished format, besides what is harmless.
enum Begun {
    Nothing,
    /// Some of [`PARTS`], which were being created.
    Parts,
}

/// Looks for what is not ours, changing nothing.
fn find(path: &Path) -> Result<Begun, StorageError> {
    let text = read_format(path, NEW_FORMAT_FILE)?;
    let has_format = path.join(FORMAT_FILE).try_exists();
    if has_format.map_err(|error| StorageError::io("look into", path, error))? {
        return Ok(Begun::Nothing);
    }
    let foreign = |found: String| StorageError::ForeignDirectory {
        path: path.to_owned(),
        found,
    };
    let failed = |error| StorageError::io("read the data directory", path, error);
    // The rest is created when FORMAT.new is whole and synced, so with less it is not from us.
    let ours = text.as_ref().is_some_and(|text| Format::parse(text).is_some());
    let mut begun = Begun::Nothing;
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if ours && PARTS.iter().any(|part| name == *part) {
            begun = Begun::Parts;
        } else if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Err(foreign(name.to_string_lossy().into_owned()));
        }
    }
    match text {
        Some(text) if !Format::begins_with(&text) => {
            Err(foreign(format!("{NEW_FORMAT_FILE} with the text {text:?}")))
        }
        _ => Ok(begun),
    }
}

/// Starts the creation, from the beginning.
fn begin(path: &Path, begun: Begun, format: Format) -> Result<(), StorageError> {
    let new = path.join(NEW_FORMAT_FILE);
    if let Begun::Parts = begun {
        tracing::warn!(path = %path.display(), "the creation of the data directory was interrupted; it starts over");
        for part in PARTS.map(|part| path.join(part)) {
            let removed = if part.is_dir() {
                fs::remove_dir_all(&part)
            } else {
                fs::remove_file(&part)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove the unfinished", &part, error));
                }
                _ => {}
            }
        }
    }
    let write = || {
        let mut writing = File::create(&new)?;
        writing.write_all(format.text().as_bytes())?;
        writing.sync_all()?;
        sync_directory(path)?;
        for folder in folders(format.of) {
            DirBuilder::new().mode(0o700).create(path.join(folder))?;
        }
        sync_directory(path)
    };
    write().map_err(|error| StorageError::io("begin", &new, error))
}

/// Removes what a backup left that did not end. It would keep disk space from being given back.
fn remove_backup(path: &Path) -> Result<(), StorageError> {
    let backup = path.join(BACKUP_DIRECTORY);
    match fs::remove_dir_all(&backup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove the unfinished", &backup, error))
        }
        _ => Ok(()),
    }
}

/// Where the stores lie that must be there. While a directory becomes one of a node, its logs are made anew.
fn folders(of: Of) -> &'static [&'static str] {
    match of {
        Of::Storage | Of::Growing => &[STATE_DIRECTORY],
        Of::Node => &[STATE_DIRECTORY, LOG_DIRECTORY],
    }
}

/// Refuses a directory that is of a node, to whoever wants one of a storage.
fn refuse_of_node(path: &Path, format: Format) -> Result<(), StorageError> {
    match format.of {
        Of::Storage => Ok(()),
        Of::Growing | Of::Node => Err(StorageError::OfNode {
            path: path.to_owned(),
        }),
    }
}

/// The same, of the directory at `path`, if there is one.
fn refuse_node_at(path: &Path) -> Result<(), StorageError> {
    let text = read_format(path, FORMAT_FILE)?;
    let format = text.and_then(|text| Format::parse(&text));
    format.map_or(Ok(()), |format| refuse_of_node(path, format))
}

/// Refuses a directory that is not ours, is of a later version, or lacks a part; else tells what it is.
fn check(path: &Path, format: &str) -> Result<Format, StorageError> {
    let format = Format::read(path, format)?;
    for folder in folders(format.of) {
        check_store(path, folder)?;
    }
    let header = path.join(encryption::HEADER_FILE);
    if format.is_encrypted && !header.is_file() {
        return Err(StorageError::Incomplete {
            path: path.to_owned(),
            missing: header,
        });
    }
    Ok(format)
}

/// Refuses a store of which a part is missing: RocksDB would start an empty one in its place, and delete what is
/// left of the old.
fn check_store(path: &Path, folder: &str) -> Result<(), StorageError> {
    let state = path.join(folder);
    let incomplete = |missing: PathBuf| StorageError::Incomplete {
        path: path.to_owned(),
        missing,
    };
    if !state.is_dir() {
        return Err(incomplete(state));
    }
    let current = state.join("CURRENT");
    let manifest = match fs::read_to_string(&current) {
        Ok(name) => name.trim_end().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(incomplete(current)),
        Err(error) => return Err(StorageError::io("read", &current, error)),
    };
    if manifest.is_empty() {
        return Err(incomplete(current));
    }
    let manifest = state.join(manifest);
    match fs::metadata(&manifest) {
        Ok(found) if found.len() > 0 => Ok(()),
        Ok(_) => Err(incomplete(manifest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(incomplete(manifest)),
        Err(error) => Err(StorageError::io("read", &manifest, error)),
    }
}

/// The lock of a directory.
///
/// It is given back when it is dropped, and not only when the last descriptor of its file is closed: a process that is
/// started by another thread at that moment holds one too, until it becomes the program that it is to be.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of a data directory could not be given back");
        }
    }
}

fn lock(path: &Path) -> Result<Lock, StorageError> {
    let file = path.join(LOCK_FILE);
    let failed = |error| StorageError::io("lock", &file, error);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(StorageError::DirectoryInUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The beginning of a format file; `None` when there is none.
fn read_format(path: &Path, name: &str) -> Result<Option<String>, StorageError> {
    let file = path.join(name);
    let read = File::open(&file).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(100).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    match read {
        Ok(text) => Ok(Some(text)),
        // Also where a file is in the place of the directory: whoever makes it says so.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(StorageError::io("read", &file, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDirectory, StorageError> {
        DataDirectory::open(path, false)
    }

    #[test]
    fn creates_and_opens_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let directory = open(&path).unwrap();
        assert!(directory.is_new() && !path.join("FORMAT").exists());
        finish(&directory);
        assert_eq!(fs::read_to_string(path.join("FORMAT")).unwrap(), "pliantdb 1\n");
        assert_eq!(
            open(&path).unwrap_err(),
            StorageError::DirectoryInUse { path: path.clone() }
        );
        drop(directory);
        assert!(!open(&path).unwrap().is_new());
    }

    #[test]
    fn a_descriptor_that_lives_on_does_not_keep_it_locked() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path()).unwrap();
        let lives_on = directory._lock.0.try_clone().unwrap();
        drop(directory);
        let again = open(root.path()).unwrap();
        assert!(lives_on.try_lock().is_err(), "whoever opened it again has it");
        drop((again, lives_on));
    }

    /// What RocksDB would have left, as far as it is looked at.
    fn finish(directory: &DataDirectory) {
        fs::write(directory.state().join("CURRENT"), "MANIFEST-000001\n").unwrap();
        fs::write(directory.state().join("MANIFEST-000001"), "x").unwrap();
        directory.finish().unwrap();
    }

    #[test]
    fn starts_an_unfinished_creation_over() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path()).unwrap();
        fs::write(directory.state().join("CURRENT"), "half").unwrap();
        drop(directory);
        let directory = open(root.path()).unwrap();
        assert!(directory.is_new());
        assert_eq!(fs::read_dir(directory.state()).unwrap().count(), 0);
        finish(&directory);
        assert!(!root.path().join("FORMAT.new").exists());
    }

    #[test]
    fn starts_an_unfinished_creation_over_with_other_wishes() {
        let root = tempfile::tempdir().unwrap();
        drop(DataDirectory::open(root.path(), true).unwrap());
        fs::remove_dir(root.path().join("state")).unwrap();
        fs::write(root.path().join("ENCRYPTION"), "half").unwrap();
        let directory = open(root.path()).unwrap();
        assert!(directory.is_new() && !directory.is_encrypted());
        assert!(!root.path().join("ENCRYPTION").exists());
    }

    #[test]
    fn says_whether_it_is_encrypted() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(root.path(), true).unwrap();
        fs::write(root.path().join("ENCRYPTION"), "").unwrap();
        finish(&directory);
        drop(directory);
        let format = fs::read_to_string(root.path().join("FORMAT")).unwrap();
        assert_eq!(format, "pliantdb 1\nencrypted\n");
        assert!(open(root.path()).unwrap().is_encrypted());
        fs::remove_file(root.path().join("ENCRYPTION")).unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(
            matches!(&error, StorageError::Incomplete { missing, .. } if missing.ends_with("ENCRYPTION")),
            "{error}"
        );
    }

    #[test]
    fn an_existing_one_is_not_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("none");
        let error = DataDirectory::open_existing(&path).unwrap_err();
        assert!(matches!(error, StorageError::Incomplete { .. }), "{error}");
        assert!(!path.exists());
        finish(&open(&path).unwrap());
        assert!(!DataDirectory::open_existing(&path).unwrap().is_new());
    }

    #[test]
    fn a_finished_one_is_never_created_again() {
        for missing in ["state", "state/CURRENT", "state/MANIFEST-000001"] {
            let root = tempfile::tempdir().unwrap();
            finish(&open(root.path()).unwrap());
            let path = root.path().join(missing);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            for _ in 0..2 {
                let error = open(root.path()).unwrap_err();
                assert!(
                    matches!(&error, StorageError::Incomplete { missing, .. } if *missing == path),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn takes_no_state_without_its_mark() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("state")).unwrap();
        for mark in [None, Some(""), Some("pliantdb 2\n")] {
            if let Some(mark) = mark {
                fs::write(root.path().join("FORMAT.new"), mark).unwrap();
            }
            let error = open(root.path()).unwrap_err();
            assert!(
                matches!(&error, StorageError::ForeignDirectory { found, .. } if found == "state"),
                "{error}"
            );
        }
        assert!(root.path().join("state").exists());
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
        fs::write(root.path().join("FORMAT"), "pliantdb 2\nencrypted\n").unwrap();
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
