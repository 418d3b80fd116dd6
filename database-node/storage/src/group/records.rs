//! What a group knows beside its data, as it is stored.

use pliantdb_core::{GroupId, Order};
use serde::{Deserialize, Serialize};

use super::{Position, Shard};
use crate::catalog::Makeup;
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys::{self, GroupRecord};
use crate::records::{self, corrupt};
use crate::store::{Batch, Cursor, KeyRange, Snapshot, StoreError};

/// Everything that a replica knows beside its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) shard: Shard,
    pub(super) makeup: Makeup,
    pub(super) position: Position,
}

impl Head {
    /// What the store has of a group; `None` if it has nothing, or a snapshot is being installed.
    pub(super) fn read(snapshot: &impl Snapshot, group: GroupId) -> Result<Option<Self>, StoreError> {
        let position = get(snapshot, group, GroupRecord::Position, decode_position)?;
        let Some(position) = position else { return Ok(None) };
        let shard = get(snapshot, group, GroupRecord::Shard, decode_shard)?;
        let shard = shard.ok_or_else(|| corrupt("group shard", format_args!("group {group} has none")))?;
        let makeup = get(snapshot, group, GroupRecord::Makeup, records::decode_makeup)?;
        Ok(Some(Self {
            shard,
            makeup: makeup.unwrap_or_default(),
            position,
        }))
    }

    pub(super) fn write(&self, group: GroupId, batch: &mut Batch) -> Result<(), StoreError> {
        let key = |record| keys::group_record(group, record);
        batch.put(key(GroupRecord::Shard), encode_shard(&self.shard)?);
        batch.put(key(GroupRecord::Makeup), records::encode_makeup(&self.makeup)?);
        batch.put(key(GroupRecord::Position), encode_position(&self.position)?);
        Ok(())
    }
}

/// That a snapshot is being installed: the slots may hold anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installing {
    /// The shards that the replica had before and is to have; both are wiped.
    pub(super) shards: Vec<Shard>,
}

/// Reads a record of a group.
pub(super) fn get<T>(
    snapshot: &impl Snapshot,
    group: GroupId,
    record: GroupRecord,
    decode: impl FnOnce(&[u8]) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    snapshot
        .get(&keys::group_record(group, record), decode)?
        .transpose()
}

/// The groups of which anything is stored, in order.
pub(super) fn groups(snapshot: &impl Snapshot) -> Result<Vec<GroupId>, StoreError> {
    let mut groups = Vec::new();
    let mut rest = KeyRange::prefixed(&keys::GROUPS);
    loop {
        let cursor = snapshot.scan(rest.clone(), Order::Ascending)?;
        let Some((key, _)) = cursor.entry() else {
            return Ok(groups);
        };
        let group = keys::group_of(key).ok_or_else(|| {
            corrupt(
                "group",
                format_args!("\"{}\" is no key of one", key.escape_ascii()),
            )
        })?;
        groups.push(group);
        // Past all that it has: chunks can be many and large.
        match KeyRange::prefixed(&keys::group(group)).end {
            Some(end) => rest.start = end,
            None => return Ok(groups),
        }
    }
}

/// The shards that a group has, or is about to have while a snapshot is being installed.
pub(super) fn shards(snapshot: &impl Snapshot, group: GroupId) -> Result<Vec<Shard>, StoreError> {
    let mut shards = Vec::from_iter(get(snapshot, group, GroupRecord::Shard, decode_shard)?);
    if let Some(installing) = get(snapshot, group, GroupRecord::Installing, decode_installing)? {
        shards.extend(installing.shards);
    }
    Ok(shards)
}

/// Refuses slots that another group of the store has: one would write over the other.
pub(super) fn refuse_taken(
    snapshot: &impl Snapshot,
    group: GroupId,
    extent: Extent,
) -> Result<(), StorageError> {
    for other in groups(snapshot)?.into_iter().filter(|other| *other != group) {
        for shard in shards(snapshot, other)? {
            if extent.overlaps(shard.extent()?) {
                return Err(StorageError::SlotsTaken { group, by: other });
            }
        }
    }
    Ok(())
}

pub(super) fn encode_shard(shard: &Shard) -> Result<Vec<u8>, StoreError> {
    records::encode("group shard", shard)
}

pub(super) fn decode_shard(value: &[u8]) -> Result<Shard, StoreError> {
    records::decode("group shard", value)
}

pub(super) fn encode_position(position: &Position) -> Result<Vec<u8>, StoreError> {
    records::encode("group position", position)
}

pub(super) fn decode_position(value: &[u8]) -> Result<Position, StoreError> {
    records::decode("group position", value)
}

pub(super) fn encode_installing(installing: &Installing) -> Result<Vec<u8>, StoreError> {
    records::encode("group installation", installing)
}

pub(super) fn decode_installing(value: &[u8]) -> Result<Installing, StoreError> {
    records::decode("group installation", value)
}

/// What the bytes are as each kind of record.
#[cfg(test)]
pub(crate) fn decode_all(bytes: &[u8]) -> [Result<(), StoreError>; 3] {
    [
        decode_shard(bytes).map(|_| ()),
        decode_position(bytes).map(|_| ()),
        decode_installing(bytes).map(|_| ()),
    ]
}

#[cfg(test)]
mod tests {
    use pliantdb_core::{SlotCount, Timestamp};

    use super::*;
    use crate::catalog::{DatabaseEntry, DatabaseId};

    #[test]
    fn are_what_they_always_were() {
        let shard = Shard {
            database: "shop".parse().unwrap(),
            entry: DatabaseEntry {
                id: DatabaseId::FIRST,
                slots: SlotCount::default(),
            },
            first_slot: 4,
            end_slot: 300,
        };
        assert_eq!(encode_shard(&shard).unwrap(), b"\x01\x04shop\x01\x10\x04\xac\x02");
        let position = Position {
            index: 300,
            term: 2,
            timestamp: Timestamp::from_bits(5),
            config: b"ab".to_vec(),
        };
        let bytes = b"\x01\xac\x02\x02\x05\x02ab";
        assert_eq!(encode_position(&position).unwrap(), bytes);
        assert_eq!(decode_position(bytes), Ok(position));
        let installing = Installing { shards: vec![shard] };
        let bytes = b"\x01\x01\x04shop\x01\x10\x04\xac\x02";
        assert_eq!(encode_installing(&installing).unwrap(), bytes);
        assert_eq!(decode_installing(bytes), Ok(installing));
    }
}
