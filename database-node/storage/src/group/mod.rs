//! The shards of consensus groups, side by side in one store.
//!
//! A group keeps some slots of a database, its shard, and every node that has a replica of it applies the group's log to
//! its own store: [`GroupState`]. The data lies where that of an embedded database does; what the group knows beside it
//! lies under keys of its own (`keys`). Nothing here syncs what a log can bring back: how far a group has applied its log
//! is written in the batch with what that changed, and a store that keeps a prefix of its batches in a crash goes on
//! from there.
//!
//! A replica that is new, or too far behind, gets the shard as it is elsewhere: [`GroupSnapshot`] is read in chunks, which
//! are staged as they come ([`stage`]) and put in place when all are there ([`install`]).
//!
//! - `state`: the replica and its log
//! - `answer`: what it is asked to read, and to write
//! - `database`: everything that can be asked of a database, as its replica has it
//! - `beside`: what a node makes of a replica for itself
//! - `records`: what a group knows beside its data
//! - `snapshot`, `chunk`: the shard, to be sent
//! - `staging`, `installation`: the shard, received

mod answer;
mod beside;
mod chunk;
mod database;
mod installation;
mod records;
mod snapshot;
mod staging;
mod state;

use pliantdb_core::{Command, DatabaseName, GroupId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalog::{DatabaseEntry, DatabaseId, Makeup};
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys::GroupRecord;
use crate::store::{Batch, Snapshot, StoreError};
pub use chunk::Chunk;
#[cfg(test)]
pub(crate) use chunk::decode as decode_chunk;
#[cfg(feature = "mistakes")]
pub use installation::install_unmarked;
pub use installation::{install, is_installing};
#[cfg(test)]
pub(crate) use records::decode_all as decode_records;
pub use snapshot::GroupSnapshot;
pub use staging::{Staged, discard_staged, stage, staged};
pub use state::GroupState;

/// The slots of a database that a group keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The database's name.
    pub database: DatabaseName,
    /// Its number and slots.
    pub entry: DatabaseEntry,
    /// The first slot of the shard.
    pub first_slot: u16,
    /// The first slot behind it.
    pub end_slot: u16,
}

impl Shard {
    /// Its slots.
    ///
    /// # Errors
    /// [`StorageError::InvalidShard`] when the database has no such slots, or has the number of none.
    fn extent(&self) -> Result<Extent, StorageError> {
        let Self {
            database,
            entry,
            first_slot,
            end_slot,
        } = self;
        let count = entry.slots.get();
        if entry.id < DatabaseId::FIRST {
            return Err(StorageError::InvalidShard(format!(
                "the database {database:?} of a shard has the number 0, which no database has"
            )));
        }
        if first_slot >= end_slot || *end_slot > count {
            return Err(StorageError::InvalidShard(format!(
                "a shard of the database {database:?} cannot have the slots from {first_slot} up to, not including, \
                 {end_slot}: it is to have some of the slots from 0 up to, not including, {count}"
            )));
        }
        Ok(Extent::of(*entry, *first_slot, *end_slot))
    }
}

/// How far a group has applied its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index of the last entry applied; 0 for none.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The timestamp of the last command applied.
    pub timestamp: Timestamp,
    /// What the consensus layer keeps with it: its membership, for one. Nothing here looks into it.
    pub config: Vec<u8>,
}

/// Adds what a replica knows beside its data, of a shard whose data is there already.
pub(crate) fn put_head(
    group: GroupId,
    shard: &Shard,
    makeup: &Makeup,
    position: &Position,
    batch: &mut Batch,
) -> Result<(), StorageError> {
    shard.extent()?;
    let head = records::Head {
        shard: shard.clone(),
        makeup: makeup.clone(),
        position: position.clone(),
    };
    Ok(head.write(group, batch)?)
}

/// The shards of all groups of which a snapshot has anything.
pub(crate) fn shards_at(snapshot: &impl Snapshot) -> Result<Vec<Shard>, StoreError> {
    let mut shards = Vec::new();
    for group in records::groups(snapshot)? {
        shards.extend(records::shards(snapshot, group)?);
    }
    Ok(shards)
}

/// What a snapshot has of a group beside its data; `None` when it has no whole replica.
pub(crate) fn head_at(
    snapshot: &impl Snapshot,
    group: GroupId,
) -> Result<Option<(Shard, Makeup, Position)>, StoreError> {
    let head = records::Head::read(snapshot, group)?;
    Ok(head.map(|head| (head.shard, head.makeup, head.position)))
}

/// The time of the last command that a snapshot has of a group's log.
pub(crate) fn applied_at(snapshot: &impl Snapshot, group: GroupId) -> Result<Timestamp, StoreError> {
    let position = records::get(snapshot, group, GroupRecord::Position, records::decode_position)?;
    Ok(position.unwrap_or_default().timestamp)
}

/// The database of a name, if a group has a shard of it as of a snapshot.
pub(crate) fn database_at(
    snapshot: &impl Snapshot,
    group: GroupId,
    name: &DatabaseName,
) -> Result<Option<DatabaseEntry>, StoreError> {
    let shard = records::get(snapshot, group, GroupRecord::Shard, records::decode_shard)?;
    Ok(shard
        .filter(|shard| shard.database == *name)
        .map(|shard| shard.entry))
}

/// An entry of a group's log, to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index, from 1.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// What it does; `None` when it changes no data, as a leader's first entry.
    pub command: Option<Command>,
    /// [`Position::config`] from here on, if it changes that.
    pub config: Option<Vec<u8>>,
}
