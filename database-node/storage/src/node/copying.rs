//! A node's databases as those of a storage: what [`super::growth`] does, the other way round and on a copy.
//!
//! The copy is a checkpoint of the state, so all that it has is of one moment. One batch takes the records of the groups from
//! it, and gives it those of a storage.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pliantdb_core::access::Accounts;
use pliantdb_core::{DatabaseName, GroupId};

use super::{Locked, sealed};
use crate::accounts;
use crate::backup::BackupError;
use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::directory::DataDirectory;
use crate::encryption::SecretKey;
use crate::error::StorageError;
use crate::group::{self, Shard};
use crate::keys;
use crate::memory::MemoryPlan;
use crate::records::{self, Applied};
use crate::storage::StateStore;
use crate::store::{Batch, Durability, KeyRange, OrderedStore, RocksStore, StoreError};

/// What a copy is to have, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its databases, and the group that keeps each.
    pub databases: Vec<(GroupId, DatabaseName, DatabaseEntry)>,
    /// The highest number that a database ever had.
    pub last_database: u32,
    /// Its users, roles and API keys.
    pub accounts: Accounts,
}

/// What a node's databases are copied from while it runs. It keeps the node's directory open.
#[derive(Clone)]
pub struct CopySource {
    pub(super) state: Arc<StateStore>,
    pub(super) key: Option<SecretKey>,
    pub(super) directory: Arc<Locked>,
}

impl CopySource {
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.directory.directory
    }

    /// Makes the state of a storage in the folder `to`, which must not exist; `beside` is the place of another, which is gone
    /// in the end.
    pub(crate) fn copy_state(
        &self,
        inventory: &Inventory,
        to: &Path,
        beside: &Path,
    ) -> Result<(), BackupError> {
        self.state
            .inner()
            .checkpoint(beside)
            .map_err(StorageError::from)?;
        let copy =
            RocksStore::open_checkpoint(beside, MemoryPlan::for_limit(0)).map_err(StorageError::from)?;
        let copy = sealed(copy, self.key.as_ref())?;
        let batch = hand_back(&copy, inventory)?;
        copy.write(&batch, Durability::Synced)
            .map_err(StorageError::from)?;
        // The files that it has since it was opened are no part of it.
        copy.inner().checkpoint(to).map_err(StorageError::from)?;
        drop(copy);
        fs::remove_dir_all(beside).map_err(|error| StorageError::io("remove", beside, error).into())
    }
}

/// What makes the state of a node that of a storage.
fn hand_back(copy: &StateStore, inventory: &Inventory) -> Result<Batch, BackupError> {
    let snapshot = copy.snapshot();
    let mut batch = Batch::default();
    batch.delete_range(KeyRange::prefixed(&keys::GROUPS));
    let is_wanted = |shard: &Shard| {
        let mut numbers = inventory.databases.iter().map(|(_, _, entry)| entry.id);
        numbers.any(|number| number == shard.entry.id)
    };
    // What is left are databases that were deleted, or are about to come.
    for shard in group::shards_at(&snapshot).map_err(StorageError::from)? {
        if !is_wanted(&shard) {
            let number = shard.entry.id.get().to_be_bytes();
            batch.delete_range(KeyRange::prefixed(&number));
            batch.delete_range(KeyRange::prefixed(&[&keys::LAZY_VIEWS[..], &number].concat()));
        }
    }
    let mut applied = Applied::default();
    for (group, name, entry) in &inventory.databases {
        let head = group::head_at(&snapshot, *group).map_err(StorageError::from)?;
        let head = head.filter(|(shard, ..)| {
            let is_whole = shard.first_slot == 0 && shard.end_slot == entry.slots.get();
            shard.database == *name && shard.entry == *entry && is_whole
        });
        let (_, makeup, position) = head.ok_or_else(|| BackupError::NotHere {
            database: name.clone(),
        })?;
        put(&mut batch, keys::database(name), records::encode_database(entry))?;
        put(
            &mut batch,
            keys::makeup(entry.id),
            records::encode_makeup(&makeup),
        )?;
        applied.index = applied.index.max(position.index);
        applied.timestamp = applied.timestamp.max(position.timestamp);
    }
    if let Some(last) = DatabaseId::new(inventory.last_database) {
        put(
            &mut batch,
            keys::LAST_DATABASE.to_vec(),
            records::encode_last_database(last),
        )?;
    }
    for account in inventory.accounts.all() {
        let record = accounts::encode(&inventory.accounts, &account).map_err(StorageError::from)?;
        if let Some(record) = record {
            batch.put(keys::account(&account), record);
        }
    }
    put(
        &mut batch,
        keys::APPLIED.to_vec(),
        records::encode_applied(&applied),
    )?;
    Ok(batch)
}

fn put(batch: &mut Batch, key: Vec<u8>, record: Result<Vec<u8>, StoreError>) -> Result<(), StorageError> {
    batch.put(key, record?);
    Ok(())
}
