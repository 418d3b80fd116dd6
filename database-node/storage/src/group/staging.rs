//! The snapshot that a replica is receiving, chunk by chunk.

use pliantdb_core::GroupId;
use serde::{Deserialize, Serialize};

use super::chunk::{self, Chunk};
use super::records::{self, Head};
use crate::error::StorageError;
use crate::keys::{self, GroupRecord};
use crate::records as encoding;
use crate::store::{Batch, Durability, KeyRange, OrderedStore, Snapshot, StoreError};

/// How much of a snapshot is staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Which snapshot, as whoever staged it said.
    pub snapshot: u128,
    /// How many chunks are there: the number of the next.
    pub chunks: u32,
    /// What to ask for the next chunk with; `None` when it is complete.
    pub next: Option<Vec<u8>>,
    /// Whether all are there.
    pub is_complete: bool,
}

/// What is known of a snapshot that is staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedRecord {
    snapshot: u128,
    pub(super) chunks: u32,
    pub(super) next: Option<Vec<u8>>,
    pub(super) head: Head,
}

impl StagedRecord {
    pub(super) fn read(snapshot: &impl Snapshot, group: GroupId) -> Result<Option<Self>, StoreError> {
        let decode = |value: &[u8]| encoding::decode("staged snapshot", value);
        records::get(snapshot, group, GroupRecord::Staged, decode)
    }

    fn write(&self, group: GroupId, batch: &mut Batch) -> Result<(), StoreError> {
        let key = keys::group_record(group, GroupRecord::Staged);
        batch.put(key, encoding::encode("staged snapshot", self)?);
        Ok(())
    }
}

/// What is staged for a group.
///
/// # Errors
/// [`StorageError::Store`].
pub fn staged<S: OrderedStore>(store: &S, group: GroupId) -> Result<Option<Staged>, StorageError> {
    let record = StagedRecord::read(&store.snapshot(), group)?;
    Ok(record.map(|record| Staged {
        snapshot: record.snapshot,
        chunks: record.chunks,
        is_complete: record.next.is_none(),
        next: record.next,
    }))
}

/// Stages a chunk of a snapshot, whose number is that of the chunks before it. The first of another snapshot than the one
/// staged starts over; a chunk that is there already changes nothing. The write is buffered.
///
/// # Errors
/// [`StorageError::InvalidChunk`] when the chunk is damaged, not the next one, or of another group or snapshot,
/// [`StorageError::InvalidShard`], [`StorageError::Installing`] while a snapshot is being installed,
/// [`StorageError::Store`] and [`StorageError::Commit`]. Nothing is changed then.
pub fn stage<S: OrderedStore>(
    store: &S,
    group: GroupId,
    snapshot: u128,
    number: u32,
    chunk: &Chunk,
) -> Result<(), StorageError> {
    let invalid = |reason: String| StorageError::InvalidChunk { group, reason };
    let found = store.snapshot();
    refuse_installing(&found, group)?;
    let staged = StagedRecord::read(&found, group)?.filter(|staged| staged.snapshot == snapshot);
    let (header, entries) = chunk::decode(&chunk.bytes).map_err(invalid)?;
    if header.group != group {
        return Err(invalid(format!("it is of the group {}", header.group)));
    }
    if header.next != chunk.next {
        return Err(invalid(
            "it says of itself that another one comes next".to_owned(),
        ));
    }
    let expected = staged.as_ref().map_or(0, |staged| staged.chunks);
    if number < expected {
        let same = found.get(&keys::group_chunk(group, number), |bytes| bytes == chunk.bytes)?;
        return match same {
            Some(true) => Ok(()),
            _ => Err(invalid(format!("another chunk {number} is there already"))),
        };
    }
    if number != expected {
        return Err(invalid(format!(
            "it has number {number}, and {expected} is the next"
        )));
    }
    let record = match (staged, header.head.clone()) {
        (None, Some(head)) if header.after.is_empty() => StagedRecord {
            snapshot,
            chunks: 1,
            next: header.next.clone(),
            head,
        },
        (Some(staged), None) if staged.next.as_ref() == Some(&header.after) => StagedRecord {
            chunks: number.saturating_add(1),
            next: header.next.clone(),
            ..staged
        },
        _ => return Err(invalid("it does not follow on the one before".to_owned())),
    };
    let position = &record.head.position;
    if (header.index, header.term) != (position.index, position.term) {
        return Err(invalid(format!(
            "it is of a snapshot at index {} of term {}, and the first one of one at index {} of term {}",
            header.index, header.term, position.index, position.term
        )));
    }
    chunk::check(&header, &entries, record.head.shard.extent()?).map_err(invalid)?;
    let mut batch = Batch::default();
    if number == 0 {
        delete(group, &mut batch);
    }
    batch.put(keys::group_chunk(group, number), &chunk.bytes);
    record.write(group, &mut batch)?;
    let written = store.write(&batch, Durability::Buffered);
    written.map(|_| ()).map_err(StorageError::Commit)
}

/// Removes what is staged for a group. The write is buffered.
///
/// # Errors
/// [`StorageError::Installing`] when it is being installed: the group can be destroyed then. [`StorageError::Store`] and
/// [`StorageError::Commit`].
pub fn discard_staged<S: OrderedStore>(store: &S, group: GroupId) -> Result<(), StorageError> {
    refuse_installing(&store.snapshot(), group)?;
    let mut batch = Batch::default();
    delete(group, &mut batch);
    let written = store.write(&batch, Durability::Buffered);
    written.map(|_| ()).map_err(StorageError::Commit)
}

/// Deletes what is staged.
pub(super) fn delete(group: GroupId, batch: &mut Batch) {
    for record in [GroupRecord::Staged, GroupRecord::Chunk] {
        batch.delete_range(KeyRange::prefixed(&keys::group_record(group, record)));
    }
}

fn refuse_installing(snapshot: &impl Snapshot, group: GroupId) -> Result<(), StorageError> {
    match records::get(
        snapshot,
        group,
        GroupRecord::Installing,
        records::decode_installing,
    )? {
        Some(_) => Err(StorageError::Installing(group)),
        None => Ok(()),
    }
}
