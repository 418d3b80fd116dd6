//! From the directory of a storage to one of a node, which founds a cluster with what is in it.
//!
//! The databases stay where they are. Each becomes the state of a group, to which a few records are added; what the storage
//! knew of them, and the accounts, become part of what the cluster's log says. Each step survives a crash before the next:
//!
//! 1. Everything in memory and in the storage's log is written to tables. Until here it is a storage.
//! 2. `FORMAT` says that the directory is growing. Nobody opens it as a storage any more, or as a node.
//! 3. The store of the logs is made, and the founding written to it, synced.
//! 4. One batch gives every database the records of its group, and removes those of the storage. It goes through the storage's
//!    log, synced, and then to tables.
//! 5. `FORMAT` says that the directory is of a node.
//!
//! A directory that is growing and still has the storage's records goes on with step 3, from what they say, which nobody has
//! changed since; one that has them no longer, with step 5.

use std::fs;
use std::io;
use std::sync::{Arc, PoisonError};

use pliantdb_core::access::Accounts;
use pliantdb_core::{DatabaseName, GroupId, Timestamp};

use super::{NodeDirectory, Opened, sealed};
use crate::catalog::{Catalog, DatabaseEntry};
use crate::directory::{DataDirectory, Of};
use crate::encryption::SecretKey;
use crate::error::StorageError;
use crate::group::{self, Position, Shard};
use crate::keys;
use crate::machine::StateMachine;
use crate::memory::MemoryPlan;
use crate::storage::StateStore;
use crate::store::{Batch, Durability, KeyRange, OrderedStore, RocksStore, StoreError};

/// What a storage leaves to the cluster that its directory founds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heritage {
    /// Its databases.
    pub databases: Vec<(DatabaseName, DatabaseEntry)>,
    /// The highest number that a database ever had.
    pub last_database: u32,
    /// Its users, roles and API keys.
    pub accounts: Accounts,
    /// The time of its last command: those of the groups are later.
    pub timestamp: Timestamp,
}

/// What founds the cluster.
pub struct Founding {
    /// What is to be in the store of the logs before the node runs.
    pub log: Batch,
    /// The group that each database becomes, and where its log begins.
    pub groups: Vec<(GroupId, Shard, Position)>,
}

/// The steps that a growing directory takes, each of which survives a crash before the next is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrowthStep {
    /// What the storage has is written to tables.
    Flush,
    /// The directory is no storage any more.
    Leave,
    /// The founding is written to the log.
    Found,
    /// The databases are handed over to their groups.
    HandOver,
    /// What was handed over is written to tables.
    FlushState,
    /// The directory is of a node.
    Arrive,
}

/// The directory of a storage that is to become one of a node. Nothing is changed before [`Growth::finish`], and nobody else
/// can open it until this is dropped.
pub struct Growth {
    state: Arc<StateStore>,
    heritage: Heritage,
    catalog: Catalog,
    memory: MemoryPlan,
    key: Option<SecretKey>,
    directory: DataDirectory,
}

impl Growth {
    pub(super) fn begin(
        directory: DataDirectory,
        memory: MemoryPlan,
        key: Option<SecretKey>,
    ) -> Result<Opened, StorageError> {
        // With its log, for a storage may have been killed. What is synced and not there is found to be missing.
        let state = RocksStore::open(&directory.state(), memory)?;
        let state = Arc::new(sealed(state, key.as_ref())?);
        if directory.of() == Of::Growing && state.get(&keys::APPLIED, |_| ())?.is_none() {
            // All that is left to do is to say so.
            return arrive(directory, state, memory, key.as_ref(), &mut |_| {}).map(Opened::Node);
        }
        let machine = StateMachine::open(Arc::clone(&state))?;
        let catalog = machine.catalog();
        let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (_, accounts) = machine.accounts().current();
        let heritage = Heritage {
            databases: catalog
                .databases()
                .map(|(name, state)| (name.clone(), state.entry))
                .collect(),
            last_database: catalog.next_id().get().saturating_sub(1),
            accounts: (*accounts).clone(),
            timestamp: machine.applied().timestamp,
        };
        drop(machine);
        Ok(Opened::Growing(Box::new(Self {
            state,
            heritage,
            catalog,
            memory,
            key,
            directory,
        })))
    }

    /// What there is to found a cluster with.
    #[must_use]
    pub fn heritage(&self) -> &Heritage {
        &self.heritage
    }

    /// Makes it the directory of a node. `on_step` hears of each step before it is taken.
    ///
    /// # Errors
    /// [`StorageError::Store`], [`StorageError::Commit`] and [`StorageError::Io`]. The next start goes on then: as a storage,
    /// if [`GrowthStep::Leave`] was not taken, else from where this came to.
    pub fn finish(
        self,
        founding: &Founding,
        on_step: &mut dyn FnMut(GrowthStep),
    ) -> Result<NodeDirectory, StorageError> {
        let Self {
            state,
            heritage: _,
            catalog,
            memory,
            key,
            mut directory,
        } = self;
        let handed_over = hand_over(&catalog, founding)?;
        if directory.of() == Of::Storage {
            on_step(GrowthStep::Flush);
            state.inner().flush()?;
            on_step(GrowthStep::Leave);
            make_log_folder(&directory)?;
            directory.give_to(Of::Growing)?;
        }
        on_step(GrowthStep::Found);
        // Whatever is in it, no node was ever opened on it.
        remove_log(&directory)?;
        make_log_folder(&directory)?;
        let log = sealed(RocksStore::create_log(&directory.log(), memory)?, key.as_ref())?;
        let written = log.write(&founding.log, Durability::Synced);
        written.map_err(StorageError::Commit)?;
        drop(log);
        on_step(GrowthStep::HandOver);
        let written = state.write(&handed_over, Durability::Synced);
        written.map_err(StorageError::Commit)?;
        arrive(directory, state, memory, key.as_ref(), on_step)
    }
}

/// The last two steps, from a state that is handed over.
fn arrive(
    mut directory: DataDirectory,
    state: Arc<StateStore>,
    memory: MemoryPlan,
    key: Option<&SecretKey>,
    on_step: &mut dyn FnMut(GrowthStep),
) -> Result<NodeDirectory, StorageError> {
    on_step(GrowthStep::FlushState);
    state.inner().flush()?;
    // Closed, for from now on it is opened without a log.
    let state = Arc::into_inner(state);
    let state = state.ok_or_else(|| StoreError::Engine("somebody else reads the state".to_owned()))?;
    drop(state);
    on_step(GrowthStep::Arrive);
    directory.give_to(Of::Node)?;
    NodeDirectory::reopen(directory, memory, key)
}

/// What gives every database to its group, and removes what the storage knew.
fn hand_over(catalog: &Catalog, founding: &Founding) -> Result<Batch, StorageError> {
    let mut batch = Batch::default();
    batch.delete(keys::APPLIED);
    batch.delete(keys::LAST_DATABASE);
    for prefix in [keys::DATABASES, keys::GROUPS, keys::MAKEUPS, keys::ACCOUNTS] {
        batch.delete_range(KeyRange::prefixed(&prefix));
    }
    for (group, shard, position) in &founding.groups {
        let state = catalog.get(&shard.database);
        let state = state.filter(|state| state.entry == shard.entry);
        let state = state.ok_or_else(|| {
            StorageError::InvalidShard(format!(
                "the group {group} is to have the database {:?} with the number {}, which the storage has not",
                shard.database,
                shard.entry.id.get()
            ))
        })?;
        group::put_head(*group, shard, &state.makeup, position, &mut batch)?;
    }
    let databases = catalog.databases().count();
    if founding.groups.len() != databases {
        return Err(StorageError::InvalidShard(format!(
            "{} groups are to have {databases} databases: each is to have one",
            founding.groups.len()
        )));
    }
    Ok(batch)
}

fn make_log_folder(directory: &DataDirectory) -> Result<(), StorageError> {
    let path = directory.log();
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StorageError::io("create", &path, error))
        }
        _ => Ok(()),
    }
}

fn remove_log(directory: &DataDirectory) -> Result<(), StorageError> {
    let path = directory.log();
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove the unfinished", &path, error))
        }
        _ => Ok(()),
    }
}
