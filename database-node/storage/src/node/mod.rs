//! The data directory of a node of a cluster, and how that of a storage becomes one.
//!
//! A node has two stores: the logs of its groups, which are synced, and the state of their shards, which has no log of its own
//! ([`crate::group`]). The state lies where an embedded storage has its own, under the same keys: so the directory of a
//! storage becomes one of a node where it is, and nothing is copied ([`Growth`]).
//!
//! - `growth`: from a storage to a node; `copying`: a copy of a node's databases is a storage

mod copying;
mod growth;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

pub use copying::{CopySource, Inventory};
pub use growth::{Founding, Growth, GrowthStep, Heritage};

use crate::directory::{DataDirectory, Format, Of};
use crate::disk_space::DiskSpace;
use crate::encryption::{self, KeyVault, SecretKey};
use crate::error::StorageError;
use crate::memory::MemoryPlan;
use crate::storage::StateStore;
use crate::store::{EncryptedStore, RocksStats, RocksStore};

/// How to open the data directory of a node.
#[derive(Clone, Copy)]
pub struct NodeOptions<'v> {
    /// The master key that it is encrypted with, or is to be when it is created; `None` for no encryption.
    pub encryption: Option<&'v dyn KeyVault>,
    /// How much memory its two stores take together.
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

/// The data directory of a node, open: nobody else can open it until this is dropped, and whoever uses its stores.
pub struct NodeDirectory {
    log: Arc<StateStore>,
    state: Arc<StateStore>,
    memory: MemoryPlan,
    /// The stores hold it too, so that its lock outlives them.
    directory: Arc<Locked>,
    closed: Receiver<Infallible>,
    key: Option<SecretKey>,
}

/// A directory, and what whoever waits for it to be closed hears the end of.
struct Locked {
    directory: DataDirectory,
    // Last, so that nobody hears of it while the lock is held.
    _open: Sender<Infallible>,
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
                let [of_log, of_state] = split(memory);
                let log = RocksStore::create_log(&directory.log(), of_log)?;
                let state = RocksStore::create_state(&directory.state(), of_state)?;
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
        let [of_log, of_state] = split(memory);
        let log = RocksStore::open_log(&directory.log(), of_log)?;
        let state = RocksStore::open_state(&directory.state(), of_state)?;
        Self::of(directory, log, state, memory, key)
    }

    fn of(
        directory: DataDirectory,
        mut log: RocksStore,
        mut state: RocksStore,
        memory: MemoryPlan,
        key: Option<&SecretKey>,
    ) -> Result<Self, StorageError> {
        let (open, closed) = channel();
        let directory = Arc::new(Locked {
            directory,
            _open: open,
        });
        log.hold(Arc::clone(&directory) as _);
        state.hold(Arc::clone(&directory) as _);
        Ok(Self {
            closed,
            key: key.cloned(),
            log: Arc::new(sealed(log, key)?),
            state: Arc::new(sealed(state, key)?),
            memory,
            directory,
        })
    }

    /// The room on its disk. `reserve` as [`crate::Options::min_free_space`].
    #[must_use]
    pub fn disk_space(&self, reserve: Option<u64>) -> DiskSpace {
        DiskSpace::of_node(self.directory.directory.path().to_owned(), reserve, self.memory)
    }

    /// What its databases are copied from.
    #[must_use]
    pub fn copy_source(&self) -> CopySource {
        CopySource {
            state: Arc::clone(&self.state),
            key: self.key.clone(),
            directory: Arc::clone(&self.directory),
        }
    }

    /// Waits until nobody uses its stores any more, and it can be opened again: for so long. Gives whether it came to that.
    #[must_use]
    pub fn close(self, deadline: Duration) -> bool {
        drop((self.log, self.state, self.directory));
        self.closed.recv_timeout(deadline) == Err(RecvTimeoutError::Disconnected)
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

/// Sizes and counters of a node's stores, the logs' and the state's, together.
#[must_use]
pub fn stats([log, state]: [&StateStore; 2]) -> RocksStats {
    state.inner().stats().with_logs(log.inner().stats())
}

/// The memory of the log and of the state. What is read of logs is read once, so theirs has little more than what it writes.
fn split(memory: MemoryPlan) -> [MemoryPlan; 2] {
    let written = 2 * memory.write_buffer.min(RocksStore::LOG_BUFFER);
    let of_log = (memory.cache / 8).max(written).min(memory.cache / 2);
    let with = |cache| MemoryPlan { cache, ..memory };
    [with(of_log), with(memory.cache - of_log)]
}

/// A store whose values are encrypted, if there is a key.
fn sealed(store: RocksStore, key: Option<&SecretKey>) -> Result<StateStore, StorageError> {
    Ok(match key {
        Some(key) => EncryptedStore::open(store, key.clone())?,
        None => EncryptedStore::plain(store),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Storage;

    fn open(path: &Path) -> Result<NodeDirectory, StorageError> {
        let options = NodeOptions {
            encryption: None,
            memory: MemoryPlan::for_limit(64 << 20),
            may_grow: false,
        };
        match NodeDirectory::open(path, options)? {
            Opened::Node(directory) => Ok(directory),
            Opened::Growing(_) => panic!("it may not grow"),
        }
    }

    fn of_node(path: &Path) -> bool {
        matches!(
            (Storage::open(path).err(), crate::check::check(path, None).err(),),
            (
                Some(StorageError::OfNode { .. }),
                Some(StorageError::OfNode { .. })
            )
        )
    }

    #[test]
    fn is_no_storage() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path()).unwrap();
        assert!(of_node(root.path()), "while it runs");
        assert!(matches!(
            open(root.path()).err(),
            Some(StorageError::DirectoryInUse { .. })
        ));
        drop(directory);
        assert!(of_node(root.path()));
        drop(open(root.path()).unwrap());
    }

    #[test]
    fn one_whose_creation_was_interrupted_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()).unwrap());
        let (format, new) = (root.path().join("FORMAT"), root.path().join("FORMAT.new"));
        fs::rename(&format, &new).unwrap();
        fs::remove_file(root.path().join("log/CURRENT")).unwrap();
        drop(open(root.path()).unwrap());
        // By either.
        fs::rename(&format, &new).unwrap();
        drop(Storage::open(root.path()).unwrap());
        assert!(matches!(
            open(root.path()).err(),
            Some(StorageError::HasDatabases { .. })
        ));
    }

    #[test]
    fn what_is_missing_is_not_made_anew() {
        for missing in ["log", "state", "log/CURRENT"] {
            let root = tempfile::tempdir().unwrap();
            drop(open(root.path()).unwrap());
            let path = root.path().join(missing);
            match path.is_dir() {
                true => fs::remove_dir_all(&path).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
            let error = open(root.path()).err();
            assert!(
                matches!(&error, Some(StorageError::Incomplete { missing, .. }) if *missing == path),
                "{error:?}"
            );
            assert!(of_node(root.path()));
        }
    }

    #[test]
    fn is_closed_when_nobody_reads_any_more() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path()).unwrap();
        let state = Arc::clone(directory.state());
        assert!(!directory.close(Duration::ZERO));
        assert!(matches!(
            open(root.path()).err(),
            Some(StorageError::DirectoryInUse { .. })
        ));
        drop(state);
        assert!(open(root.path()).unwrap().close(Duration::from_secs(10)));
        drop(open(root.path()).unwrap());
    }

    #[test]
    fn the_stores_share_the_memory() {
        for limit in [0, 128 << 20, 4 << 30, 1 << 40] {
            let memory = MemoryPlan::for_limit(limit);
            let [log, state] = split(memory);
            assert_eq!(log.cache + state.cache, memory.cache);
            assert!(log.cache <= state.cache && log.cache >= memory.cache / 8);
        }
    }
}
