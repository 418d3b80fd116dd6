//! Putting a snapshot that was received in the place of what a replica had.
//!
//! Each step is a batch of its own, so a crash can come between any two:
//!
//! 1. The staged chunks and a marker are synced; with the marker, what says that there is a replica is gone.
//! 2. The slots are wiped, and the chunks written into them.
//! 3. All that is synced.
//! 4. The marker and the staged chunks give way to the position of the snapshot, which is synced.
//!
//! A store that finds the marker begins again with step 2.

use std::sync::Arc;

use pliantdb_core::GroupId;

use super::beside::forget_beside;
use super::records::{self, Installing};
use super::staging::{self, StagedRecord};
use super::{GroupState, chunk};
use crate::error::StorageError;
use crate::keys::{self, GroupRecord};
use crate::records::corrupt;
use crate::store::{Batch, BatchNumber, Durability, OrderedStore, StoreError};

/// Whether an installation was begun and not finished. Until [`install`] has finished it, there is no replica.
///
/// # Errors
/// [`StorageError::Store`].
pub fn is_installing<S: OrderedStore>(store: &S, group: GroupId) -> Result<bool, StorageError> {
    let key = keys::group_record(group, GroupRecord::Installing);
    Ok(store.get(&key, |_| ())?.is_some())
}

/// Installs the complete snapshot that is staged, or goes on with an installation that a crash interrupted. It is synced
/// when this returns.
///
/// # Errors
/// [`StorageError::NothingStaged`] when no complete snapshot is, [`StorageError::SlotsTaken`] when another group of the
/// store has some of its slots, and nothing is changed then. [`StorageError::Store`] and [`StorageError::Commit`]; this
/// can be called again then. What is staged is [`StoreError::Corrupt`] when it was damaged since: destroy the replica and
/// receive it anew.
pub fn install<S: OrderedStore>(store: &Arc<S>, group: GroupId) -> Result<GroupState<S>, StorageError> {
    let snapshot = store.snapshot();
    let staged = StagedRecord::read(&snapshot, group)?.filter(|staged| staged.next.is_none());
    let staged = staged.ok_or(StorageError::NothingStaged(group))?;
    let extent = staged.head.shard.extent()?;
    let mut shards = records::shards(&snapshot, group)?;
    let is_begun = is_installing(store.as_ref(), group)?;
    if !is_begun {
        records::refuse_taken(&snapshot, group, extent)?;
        shards.push(staged.head.shard.clone());
        let installing = Installing {
            shards: shards.clone(),
        };
        let mut batch = Batch::default();
        for record in [GroupRecord::Shard, GroupRecord::Makeup, GroupRecord::Position] {
            batch.delete(keys::group_record(group, record));
        }
        batch.put(
            keys::group_record(group, GroupRecord::Installing),
            records::encode_installing(&installing)?,
        );
        write(store, &batch, Durability::Synced)?;
    }
    drop(snapshot);
    let mut batch = Batch::default();
    for shard in shards {
        batch.delete_range(shard.extent()?.keys());
        forget_beside(&mut batch, shard.entry.id);
    }
    write(store, &batch, Durability::Buffered)?;
    for number in 0..staged.chunks {
        let put = |bytes: &[u8]| {
            let (header, entries) = chunk::decode(bytes)?;
            chunk::check(&header, &entries, extent)?;
            let mut batch = Batch::default();
            for (key, value) in entries {
                batch.put(key, value);
            }
            Ok(batch)
        };
        let damaged = |reason: String| corrupt("staged chunk", reason);
        let batch = store.get(&keys::group_chunk(group, number), put)?;
        let batch = batch.unwrap_or_else(|| Err(format!("number {number} of group {group} is missing")));
        write(store, &batch.map_err(damaged)?, Durability::Buffered)?;
    }
    store.sync().map_err(StorageError::Commit)?;
    let mut batch = Batch::default();
    staged.head.write(group, &mut batch)?;
    batch.delete(keys::group_record(group, GroupRecord::Installing));
    staging::delete(group, &mut batch);
    write(store, &batch, Durability::Synced)?;
    let state = GroupState::open(store, group)?;
    state.ok_or_else(|| StoreError::Engine(format!("the replica of group {group} is gone")).into())
}

/// [`install`] as it would be without a marker and without syncs: a crash can leave half a snapshot that says it is
/// whole. For the simulator to find.
///
/// # Errors
/// As [`install`].
#[cfg(feature = "mistakes")]
pub fn install_unmarked<S: OrderedStore>(
    store: &Arc<S>,
    group: GroupId,
) -> Result<GroupState<S>, StorageError> {
    let staged = StagedRecord::read(&store.snapshot(), group)?.filter(|staged| staged.next.is_none());
    let staged = staged.ok_or(StorageError::NothingStaged(group))?;
    let extent = staged.head.shard.extent()?;
    let mut batch = Batch::default();
    staged.head.write(group, &mut batch)?;
    batch.delete_range(extent.keys());
    write(store, &batch, Durability::Buffered)?;
    for number in 0..staged.chunks {
        let put = |bytes: &[u8]| {
            let (_, entries) = chunk::decode(bytes)?;
            let batches = entries.into_iter().map(|(key, value)| {
                let mut batch = Batch::default();
                batch.put(key, value);
                batch
            });
            Ok::<_, String>(batches.collect::<Vec<_>>())
        };
        let batches = store.get(&keys::group_chunk(group, number), put)?;
        let batches = batches.unwrap_or_else(|| Err(format!("number {number} is missing")));
        for batch in batches.map_err(|reason| corrupt("staged chunk", reason))? {
            write(store, &batch, Durability::Buffered)?;
        }
    }
    let mut batch = Batch::default();
    staging::delete(group, &mut batch);
    write(store, &batch, Durability::Buffered)?;
    let state = GroupState::open(store, group)?;
    state.ok_or_else(|| StoreError::Engine(format!("the replica of group {group} is gone")).into())
}

fn write<S: OrderedStore>(
    store: &Arc<S>,
    batch: &Batch,
    durability: Durability,
) -> Result<BatchNumber, StorageError> {
    store.write(batch, durability).map_err(StorageError::Commit)
}
