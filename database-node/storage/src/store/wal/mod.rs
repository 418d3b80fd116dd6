//! What a crash left of RocksDB's write-ahead logs, looked at before RocksDB does; docs/decisions/0006-torn-log.md.
//!
//! RocksDB cannot tell the last write, torn by a power failure, from damage to writes that were acknowledged: it
//! refuses both, and passes over some damage without a word. Here the two are told apart, a torn end is cut off, and
//! damage is an error that says what is lost.

mod format;
mod synced;
mod verdict;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::StoreError;
pub(super) use format::{checksum_note, synced_note};
pub(super) use synced::SyncedFile;
use verdict::{Judge, Place, Verdict};

/// Where what was cut off is kept.
const TORN_DIRECTORY: &str = "torn";
/// How many pieces are kept of earlier crashes and the last together, the newest ones; of the last always all.
const KEPT: usize = 8;

/// The end of a log that a crash tore, and that was cut off. None of it is known to have been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornLog {
    /// The log.
    pub log: PathBuf,
    /// From which byte on it was cut off.
    pub from: u64,
    /// How many bytes.
    pub length: u64,
    /// Where they are kept.
    pub kept: PathBuf,
}

/// Looks through the logs in `store` and cuts off what a crash tore. `synced` is what [`SyncedFile`] says.
///
/// # Errors
/// [`StoreError::Corrupt`] when writes that were acknowledged are damaged: nothing is changed then.
/// [`StoreError::NoSpace`] and [`StoreError::Engine`] when the files cannot be read or changed.
pub(super) fn repair(store: &Path, synced: u64) -> Result<Vec<TornLog>, StoreError> {
    let logs = logs(store).map_err(|error| failed("list the logs in", store, &error))?;
    let mut judge = Judge::new(synced);
    for (number, path) in logs.iter().enumerate() {
        judge.begin(number);
        let read = File::open(path)
            .and_then(|log| format::read(BufReader::with_capacity(1 << 18, log), |found| judge.see(&found)));
        read.map_err(|error| failed("read", path, &error))?;
    }
    match judge.verdict() {
        Verdict::Whole => Ok(Vec::new()),
        Verdict::Torn(place) => cut(store, &logs, place),
        Verdict::Damaged(place, synced) => Err(StoreError::Corrupt(format!(
            "acknowledged writes in {} cannot be read from byte {} on; the log of the last writes was safe on the \
             disk up to sequence number {synced}, so it is no write that lost power tore: the disk has damaged it, \
             or somebody changed the file. Nothing was dropped. Keep a copy of the whole data directory, check the \
             disk, and restore a backup",
            name(&logs, place),
            place.byte,
        ))),
        // RocksDB may know better.
        Verdict::Foreign(place) => {
            let log = name(&logs, place);
            tracing::warn!(
                log,
                byte = place.byte,
                "the log holds something of another kind; it is not checked"
            );
            Ok(Vec::new())
        }
    }
}

fn name(logs: &[PathBuf], place: Place) -> String {
    logs.get(place.log)
        .map_or_else(String::new, |path| path.display().to_string())
}

/// The logs, from the oldest to the newest.
fn logs(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == "log")
        {
            logs.push((number, path));
        }
    }
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// Keeps a copy of everything from `place` on, and cuts it off.
///
/// The newest log goes first: if this is interrupted, what is left still ends at `place`.
fn cut(store: &Path, logs: &[PathBuf], place: Place) -> Result<Vec<TornLog>, StoreError> {
    let directory = store.join(TORN_DIRECTORY);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|error| failed("create", &directory, &error))?;
    let mut torn = Vec::new();
    for (number, log) in logs.iter().enumerate().skip(place.log).rev() {
        let from = if number == place.log { place.byte } else { 0 };
        let stem = log.file_stem().unwrap_or_default().to_string_lossy();
        let kept = directory.join(format!("{stem}-{from}"));
        let length =
            cut_one(log, from, &kept).map_err(|error| failed("cut the torn end off", log, &error))?;
        if length > 0 {
            tracing::warn!(
                log = %log.display(), from, length, kept = %kept.display(),
                "the log ends with a write that a crash tore and that was never acknowledged; it was cut off, and a \
                 copy is kept"
            );
            torn.push(TornLog {
                log: log.clone(),
                from,
                length,
                kept,
            });
        }
    }
    if let Err(error) = forget_old(&directory, KEPT.max(torn.len())) {
        tracing::warn!(directory = %directory.display(), %error, "old pieces of torn logs were not removed");
    }
    Ok(torn)
}

/// Removes all pieces of torn logs but the newest. Logs are numbered in the order in which they are made.
fn forget_old(directory: &Path, keep: usize) -> io::Result<()> {
    let mut pieces = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.split_once('-'));
        if let Some((log, from)) = name
            && let (Ok(log), Ok(from)) = (log.parse::<u64>(), from.parse::<u64>())
        {
            pieces.push((log, from, path));
        }
    }
    pieces.sort_unstable();
    let old = pieces.len().saturating_sub(keep);
    pieces
        .iter()
        .take(old)
        .try_for_each(|(.., path)| fs::remove_file(path))
}

fn cut_one(log: &Path, from: u64, kept: &Path) -> io::Result<u64> {
    let mut source = OpenOptions::new().read(true).write(true).open(log)?;
    source.seek(SeekFrom::Start(from))?;
    let mut copy = File::create(kept)?;
    let length = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    if let Some(directory) = kept.parent() {
        File::open(directory)?.sync_all()?;
    }
    source.set_len(from)?;
    source.sync_all()?;
    Ok(length)
}

fn failed(action: &str, path: &Path, error: &io::Error) -> StoreError {
    let text = format!("cannot {action} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace(text),
        _ => StoreError::Engine(text),
    }
}
