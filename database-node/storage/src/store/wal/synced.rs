//! The file `SYNCED`, which says up to which sequence number the log was synced.
//!
//! It is written after each sync of the log and before the write is acknowledged, in place, and not synced itself:
//! that would cost as much as the write. So after the end of a process it is exact, and after a power failure it may
//! be some seconds old, but never ahead of the log, unless the disk has lost what it said was safe.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "SYNCED";
const VERSION: &[u8; 4] = b"PLS1";
/// The version, the number (u64, little-endian), and the crc32c of both.
const LENGTH: usize = 16;

/// The open file.
#[derive(Debug)]
pub(crate) struct SyncedFile(File);

impl SyncedFile {
    /// What it says; 0 when it is not there or says nothing that can be relied on.
    pub(crate) fn read(store: &Path) -> io::Result<u64> {
        match fs::read(store.join(NAME)) {
            Ok(bytes) => Ok(decode(&bytes).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        Ok(Self(file.open(store.join(NAME))?))
    }

    /// Writes it. Without it less damage would be noticed, but nothing is lost: an error is none of the write's.
    pub(crate) fn write(&self, sequence: u64) {
        if let Err(error) = self.0.write_all_at(&encode(sequence), 0) {
            tracing::debug!(%error, "cannot note how far the log is synced");
        }
    }
}

fn encode(sequence: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(VERSION);
    bytes[4..12].copy_from_slice(&sequence.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let sequence = u64::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    (encode(sequence) == bytes).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_written_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let read = || SyncedFile::read(directory.path()).unwrap();
        assert_eq!(read(), 0, "it is not there");
        for sequence in [u64::MAX, 7, 1 << 40] {
            SyncedFile::open(directory.path()).unwrap().write(sequence);
            assert_eq!(read(), sequence);
        }
        let path = directory.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole[..12], *b"PLS1\0\0\0\0\0\x01\0\0");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(), 0, "{at}");
        }
    }
}
