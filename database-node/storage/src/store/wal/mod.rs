//! What a crash left of RocksDB's write-ahead logs, looked at before RocksDB does; docs/decisions/0006-torn-log.md.
//!
//! RocksDB cannot tell the last write, torn by a power failure, from damage to writes that were acknowledged: it
//! refuses both, and passes over some damage without a word. Here the two are told apart, a torn end is cut off, and
//! damage is an error that says what is lost.

mod format;
mod synced;
mod verdict;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::StoreError;
pub(super) use format::{checksum_note, synced_note};
pub(super) use synced::SyncedFile;
use verdict::{Judge, Place, Room, Verdict};

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

/// What a crash left of the logs of a store.
#[derive(Debug)]
pub(super) struct Repaired {
    /// What was cut off.
    pub(super) torn: Vec<TornLog>,
    /// The sequence number of the last intact batch, 0 for none: RocksDB must come so far.
    pub(super) end: u64,
}

/// Looks through the logs in `store` and cuts off what a crash tore. `synced` is what [`SyncedFile`] says. With
/// `is_recycled`, files may have been other logs before; what is left of those is cut off too.
///
/// # Errors
/// [`StoreError::Corrupt`] when writes that were acknowledged are damaged: nothing is changed then.
/// [`StoreError::NoSpace`] and [`StoreError::Engine`] when the files cannot be read or changed.
pub(super) fn repair(store: &Path, synced: u64, is_recycled: bool) -> Result<Repaired, StoreError> {
    let logs = logs(store).map_err(|error| failed("list the logs in", store, &error))?;
    let mut judge = Judge::new(synced, is_recycled);
    for (at, (number, path)) in logs.iter().enumerate() {
        judge.begin(at);
        // As much of it as a fragment has.
        let number = Some(*number as u32).filter(|_| is_recycled);
        let read = |log| {
            let log = BufReader::with_capacity(1 << 18, log);
            format::read(log, number, |found| judge.see(&found))
        };
        File::open(path)
            .and_then(read)
            .map_err(|error| failed("read", path, &error))?;
    }
    let logs: Vec<_> = logs.into_iter().map(|(_, path)| path).collect();
    let end = judge.end();
    let (verdict, rooms) = judge.verdict();
    let torn = match verdict {
        Verdict::Whole => Vec::new(),
        Verdict::Torn(place) => cut(store, &logs, place)?,
        Verdict::Damaged(place, synced) => {
            return Err(StoreError::Corrupt(format!(
                "acknowledged writes in {} cannot be read from byte {} on; the log of the last writes was safe on the \
             disk up to sequence number {synced}, so it is no write that lost power tore: the disk has damaged it, \
             or somebody changed the file. Nothing was dropped. Keep a copy of the whole data directory, check the \
             disk, and restore a backup",
                name(&logs, place),
                place.byte,
            )));
        }
        // RocksDB may know better.
        Verdict::Foreign(place) => {
            let log = name(&logs, place);
            tracing::warn!(
                log,
                byte = place.byte,
                "the log holds something of another kind; it is not checked"
            );
            Vec::new()
        }
    };
    clear(store, &logs, &rooms)?;
    let cut = torn.len() + rooms.len();
    if cut > 0 {
        let directory = store.join(TORN_DIRECTORY);
        if let Err(error) = forget_old(&directory, KEPT.max(cut)) {
            tracing::warn!(directory = %directory.display(), %error, "old pieces of torn logs were not removed");
        }
    }
    Ok(Repaired { torn, end })
}

fn name(logs: &[PathBuf], place: Place) -> String {
    logs.get(place.log)
        .map_or_else(String::new, |path| path.display().to_string())
}

/// The logs with their numbers, from the oldest to the newest.
fn logs(store: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
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
    Ok(logs)
}

/// Cuts off what is left behind the ends of logs in files that were other logs before, the newest first. What lies
/// between the end and the first that is known to be of an earlier log is kept: if the last batch was damaged after it
/// was written, it is there.
fn clear(store: &Path, logs: &[PathBuf], rooms: &[Room]) -> Result<(), StoreError> {
    for room in rooms.iter().rev() {
        let Some(log) = logs.get(room.place.log) else {
            continue;
        };
        let kept = place_to_keep(store, log, room.place.byte)?;
        let most = room.old.unwrap_or(u64::MAX).saturating_sub(room.place.byte);
        let length = cut_one(log, room.place.byte, &kept, most)
            .map_err(|error| failed("cut an earlier log off", log, &error))?;
        tracing::debug!(log = %log.display(), from = room.place.byte, length, "the log ends here");
    }
    Ok(())
}

/// Where what is cut off a log is kept.
fn place_to_keep(store: &Path, log: &Path, from: u64) -> Result<PathBuf, StoreError> {
    let directory = store.join(TORN_DIRECTORY);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|error| failed("create", &directory, &error))?;
    let stem = log.file_stem().unwrap_or_default().to_string_lossy();
    Ok(directory.join(format!("{stem}-{from}")))
}

/// Keeps a copy of everything from `place` on, and cuts it off.
///
/// The newest log goes first: if this is interrupted, what is left still ends at `place`.
fn cut(store: &Path, logs: &[PathBuf], place: Place) -> Result<Vec<TornLog>, StoreError> {
    let mut torn = Vec::new();
    for (number, log) in logs.iter().enumerate().skip(place.log).rev() {
        let from = if number == place.log { place.byte } else { 0 };
        let kept = place_to_keep(store, log, from)?;
        let length = cut_one(log, from, &kept, u64::MAX)
            .map_err(|error| failed("cut the torn end off", log, &error))?;
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

/// Cuts a log at `from`, and keeps at most so many bytes of what was there; gives how many.
fn cut_one(log: &Path, from: u64, kept: &Path, most: u64) -> io::Result<u64> {
    let mut source = OpenOptions::new().read(true).write(true).open(log)?;
    source.seek(SeekFrom::Start(from))?;
    let mut copy = File::create(kept)?;
    let length = io::copy(&mut source.by_ref().take(most), &mut copy)?;
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
