//! How a piece of a snapshot is encoded, to be sent from node to node.
//!
//! ```text
//! version    u8      1
//! header     postcard: group, index and term of the snapshot's position, the cursors before and behind the chunk, and
//!            in the first chunk the shard, its makeup and the position
//! entries    key length u32 | key | value length u32 | value, in the order of the keys
//! checksum   u32     crc32c of all that
//! ```
//! Numbers outside the header are little-endian.

use pliantdb_core::GroupId;
use serde::{Deserialize, Serialize};

use super::records::Head;
use crate::extent::Extent;
use crate::keys;
use crate::store::StoreError;

/// The version that this build writes.
const VERSION: u8 = 1;

/// A piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The piece, encoded with a version and a checksum.
    pub bytes: Vec<u8>,
    /// What the next one is to be asked for with; `None` of the last.
    pub next: Option<Vec<u8>>,
}

/// What a chunk says besides its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(super) group: GroupId,
    /// The index and term of the snapshot's position, by which its chunks are told from another's.
    pub(super) index: u64,
    pub(super) term: u64,
    /// The last key of the chunk before; nothing in the first.
    pub(super) after: Vec<u8>,
    /// The last key of this one; `None` in the last.
    pub(crate) next: Option<Vec<u8>>,
    /// In the first.
    pub(super) head: Option<Head>,
}

/// Keys and values.
pub(crate) type Entries<'b> = Vec<(&'b [u8], &'b [u8])>;

/// Appends an entry to those of a chunk.
pub(super) fn push_entry(entries: &mut Vec<u8>, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    for part in [key, value] {
        let length = u32::try_from(part.len())
            .map_err(|_| StoreError::Engine("a value of 4 GiB or more cannot be sent".to_owned()))?;
        entries.extend_from_slice(&length.to_le_bytes());
        entries.extend_from_slice(part);
    }
    Ok(())
}

/// The bytes of a chunk.
pub(super) fn encode(header: &Header, entries: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(entries.len() + 128);
    bytes.push(VERSION);
    let mut bytes = postcard::to_extend(header, bytes)
        .map_err(|error| StoreError::Engine(format!("cannot encode a chunk: {error}")))?;
    bytes.extend_from_slice(entries);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// What the bytes of a chunk say, or why they cannot be read.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, Entries<'_>), String> {
    let (checked, checksum) = bytes.split_last_chunk().ok_or("it is cut short")?;
    // First, for nothing can be said of bytes that are not what was sent.
    if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
        return Err("its checksum does not match: it was damaged or cut short on the way".to_owned());
    }
    let (version, rest) = checked.split_first().ok_or("it is empty")?;
    if *version != VERSION {
        return Err(format!(
            "it has version {version}, and this version of the program knows {VERSION}"
        ));
    }
    let (header, mut rest) =
        postcard::take_from_bytes(rest).map_err(|error| format!("its header cannot be read: {error}"))?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let mut part = || {
            let (length, behind) = rest.split_first_chunk()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (part, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some(part)
        };
        let (Some(key), Some(value)) = (part(), part()) else {
            return Err("its last entry is cut short".to_owned());
        };
        entries.push((key, value));
    }
    Ok((header, entries))
}

/// Why the entries of a chunk cannot belong to a snapshot of these slots, if they cannot.
pub(super) fn check(header: &Header, entries: &Entries<'_>, extent: Extent) -> Result<(), String> {
    let mut before = header.after.as_slice();
    for (key, _) in entries {
        let shown = || key.escape_ascii();
        if *key <= before {
            return Err(format!("the key \"{}\" comes too late in it", shown()));
        }
        let is_own = key.starts_with(&extent.database.id.get().to_be_bytes()) && extent.check(key).is_ok();
        if !is_own || !keys::is_replicated(key) {
            return Err(format!("the key \"{}\" does not belong to the shard", shown()));
        }
        before = key;
    }
    match &header.next {
        Some(next) if entries.is_empty() || next != before => {
            Err("its last key is not where the next one begins".to_owned())
        }
        _ => Ok(()),
    }
}
