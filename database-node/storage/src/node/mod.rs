//! The data directory of a node of a cluster, and how that of a storage becomes one.
//!
//! A node has two stores: the logs of its groups, which are synced, and the state of their shards, which has no log of its own
//! ([`crate::group`]). The state lies where an embedded storage has its own, under the same keys: so the directory of a
//! storage becomes one of a node where it is, and nothing is copied ([`Growth`]).
//!
//! - `growth`: from a storage to a node

mod growth;

use std::path::Path;
use std::sync::Arc;

pub use growth::{Founding, Growth, GrowthStep, Heritage};

use crate::directory::{DataDirectory, Format, Of};
use crate::disk_space::DiskSpace;
use crate::encryption::{self, KeyVault, SecretKey};
use crate::error::StorageError;
use crate::memory::MemoryPlan;
use crate::storage::StateStore;
use crate::store::{EncryptedStore, RocksStore};

/// How to open the data directory of a node.
#[derive(Clone, Copy)]
pub struct NodeOptions<'v> {
    /// The master key that it is encrypted with, or is to be when it is created; `None` for no encryption.
    pub encryption: Option<&'v dyn KeyVault>,
    /// How much memory its two stores take, at most.
    pub memory: MemoryPlan,
    /// Whether the directory of a storage may become one of a node, which founds a cluster with what is in it.
    pub may_grow: bool,
}

/// What was found at a path.
pub enum Opened {
    /// The directory of a node, which may have been made just now.
    Node(NodeDirectory),
    /// The directory of a storage, which is to become one of a node.
    Growing(Box<Growth>),
}

/// The data directory of a node, open: nobody else can open it until this is dropped.
pub struct NodeDirectory {
    log: Arc<StateStore>,
    state: Arc<StateStore>,
    memory: MemoryPlan,
    /// Last, so that the lock outlives the stores.
    directory: DataDirectory,
}

impl NodeDirectory {
    /// Opens the directory at `path`, or makes one.
    ///
    /// # Errors
    /// As [`crate::Storage::open`]; and [`StorageError::HasDatabases`] for the directory of a storage that may not grow.
    pub fn open(path: &Path, options: NodeOptions<'_>) -> Result<Opened, StorageError> {
        let created = Format {
            is_encrypted: options.encryption.is_some(),
            of: Of::Node,
        };
        let directory = DataDirectory::open_or_create(path, created)?;
        let key = encryption::directory_key(&directory, options.encryption)?;
        let memory = options.memory.on_disk(DiskSpace::total(directory.path())?);
        let may_grow = options.may_grow;
        match (directory.of(), directory.is_new()) {
            (Of::Node, true) => {
                let log = RocksStore::create_log(&directory.log(), memory)?;
                let state = RocksStore::create_state(&directory.state(), memory)?;
                directory.finish()?;
                Self::of(directory, log, state, memory, key.as_ref()).map(Opened::Node)
            }
            (Of::Node, false) => Self::reopen(directory, memory, key.as_ref()).map(Opened::Node),
            (Of::Storage | Of::Growing, _) if !may_grow => Err(StorageError::HasDatabases {
                path: path.to_owned(),
            }),
            (Of::Storage | Of::Growing, _) => Growth::begin(directory, memory, key),
        }
    }

    fn reopen(
        directory: DataDirectory,
        memory: MemoryPlan,
        key: Option<&SecretKey>,
    ) -> Result<Self, StorageError> {
        let log = RocksStore::open_log(&directory.log(), memory)?;
        let state = RocksStore::open_state(&directory.state(), memory)?;
        Self::of(directory, log, state, memory, key)
    }

    fn of(
        directory: DataDirectory,
        log: RocksStore,
        state: RocksStore,
        memory: MemoryPlan,
        key: Option<&SecretKey>,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            log: Arc::new(sealed(log, key)?),
            state: Arc::new(sealed(state, key)?),
            memory,
            directory,
        })
    }

    /// The room on its disk. `reserve` as [`crate::Options::min_free_space`].
    #[must_use]
    pub fn disk_space(&self, reserve: Option<u64>) -> DiskSpace {
        DiskSpace::of_node(self.directory.path().to_owned(), reserve, self.memory)
    }

    /// The logs of its groups. Their entries are what users write, so they are encrypted as the state is.
    #[must_use]
    pub fn log(&self) -> &Arc<StateStore> {
        &self.log
    }

    /// The state of its shards.
    #[must_use]
    pub fn state(&self) -> &Arc<StateStore> {
        &self.state
    }
}

/// A store whose values are encrypted, if there is a key.
fn sealed(store: RocksStore, key: Option<&SecretKey>) -> Result<StateStore, StorageError> {
    Ok(match key {
        Some(key) => EncryptedStore::open(store, key.clone())?,
        None => EncryptedStore::plain(store),
    })
}
