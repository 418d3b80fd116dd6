//! The embedded interface: a directory of databases, blocking.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::{
    Body, CollectionName, DatabaseName, Document, DocumentAddress, DocumentId, Operation, Outcome,
    Precondition, Revision, SlotCount,
};

use crate::catalog::{Catalog, DatabaseEntry};
use crate::directory::DataDirectory;
use crate::disk_space::DiskSpace;
use crate::encryption::{self, KeyVault};
use crate::error::StorageError;
use crate::machine::StateMachine;
use crate::memory::{self, MemoryPlan};
use crate::reading::{self, Found, Listing, Page};
use crate::store::{EncryptedStore, OrderedStore, RocksStats, RocksStore};
pub use crate::writer::Commit;
use crate::writer::Writer;

/// How to open a [`Storage`].
#[derive(Default)]
pub struct Options {
    /// How many bytes must stay free on the disk for writes to be taken; by default 5 % of the file
    /// system, at least 64 MiB and at most 1 GiB, but never less than four write buffers. On top comes what is yet to
    /// be written to tables. Deletes may use three quarters of it.
    pub min_free_space: Option<u64>,
    /// How many bytes of memory the process may use, by default what [`memory::limit`] finds.
    /// [`MemoryPlan`] says what the storage takes of it.
    pub memory_limit: Option<u64>,
    /// The master key that the directory is encrypted with, or is to be when it is created; `None` for no encryption.
    pub encryption: Option<Arc<dyn KeyVault>>,
    /// Hears of every commit, on the writer's thread: it must not block.
    pub observer: Option<Box<dyn Fn(Commit) + Send>>,
    /// Hears, once, when a commit failed such that no write is taken any more until the directory is opened again
    /// ([`StorageError::Failed`]), on the writer's thread: it must not block.
    pub on_failure: Option<Box<dyn FnOnce(StorageError) + Send>>,
}

/// An open data directory with its databases. Clones share it; the last one to be dropped closes it.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    store: Arc<EncryptedStore<RocksStore>>,
    catalog: Arc<RwLock<Catalog>>,
    disk: Arc<DiskSpace>,
    /// Last, so that the lock outlives the store.
    directory: DataDirectory,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.close();
    }
}

/// Sizes and counters of a [`Storage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Of the store.
    pub store: RocksStats,
    /// Bytes free on the disk.
    pub disk_free: u64,
    /// Bytes that must stay free for writes to be taken.
    pub disk_reserve: u64,
}

impl Storage {
    /// Opens the data directory at `path`, or creates it with the empty database `default`.
    ///
    /// # Errors
    /// A [`StorageError`] that says whether the directory is in use, not ours, from a newer version,
    /// damaged, or not accessible.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_with(path, Options::default())
    }

    /// [`Storage::open`], with options.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, StorageError> {
        let directory = DataDirectory::open(path.as_ref(), options.encryption.is_some())?;
        let key = encryption::directory_key(&directory, options.encryption.as_deref())?;
        let memory = MemoryPlan::for_limit(options.memory_limit.unwrap_or_else(memory::limit));
        let memory = memory.on_disk(DiskSpace::total(directory.path())?);
        let store = match directory.is_new() {
            true => RocksStore::create(&directory.state(), memory)?,
            false => RocksStore::open(&directory.state(), memory)?,
        };
        let store = Arc::new(match key {
            Some(key) => EncryptedStore::open(store, key)?,
            None => EncryptedStore::plain(store),
        });
        let machine = StateMachine::open(Arc::clone(&store))?;
        let catalog = machine.catalog();
        let disk = Arc::new(DiskSpace::of(
            directory.path().to_owned(),
            options.min_free_space,
            memory,
        ));
        let observer = options.observer.unwrap_or_else(|| Box::new(|_| {}));
        let on_failure = options.on_failure.unwrap_or_else(|| Box::new(|_| {}));
        let writer = Writer::start(machine, Arc::clone(&disk), observer, on_failure)
            .map_err(|error| StorageError::io("start the writer for", directory.path(), error))?;
        let storage = Self {
            inner: Arc::new(Inner {
                writer,
                store,
                catalog,
                disk,
                directory,
            }),
        };
        if storage.inner.directory.is_new() {
            storage.create_database(&DatabaseName::default_database(), SlotCount::default())?;
            storage.inner.directory.finish()?;
        }
        Ok(storage)
    }

    /// Creates a database, cut into `slots` for good.
    ///
    /// # Errors
    /// [`StorageError::Rejected`] when the name is taken; else as [`Storage::execute`].
    pub fn create_database(&self, name: &DatabaseName, slots: SlotCount) -> Result<Database, StorageError> {
        self.execute(Operation::CreateDatabase {
            name: name.clone(),
            slots,
        })?;
        self.database(name)
    }

    /// The database of that name.
    ///
    /// # Errors
    /// [`StorageError::UnknownDatabase`].
    pub fn database(&self, name: &DatabaseName) -> Result<Database, StorageError> {
        let entry = self
            .entry(name)
            .ok_or_else(|| StorageError::UnknownDatabase(name.clone()))?;
        Ok(Database {
            storage: self.clone(),
            name: name.clone(),
            entry,
        })
    }

    /// The names of all databases, in order.
    #[must_use]
    pub fn databases(&self) -> Vec<DatabaseName> {
        self.inner
            .catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .names()
            .cloned()
            .collect()
    }

    /// Commits one operation and waits until it is on disk.
    ///
    /// # Errors
    /// [`StorageError::Rejected`] when it was carried out and changed nothing; [`StorageError::DiskFull`]
    /// and [`StorageError::Closed`] when it was not carried out; [`StorageError::Commit`] when the commit failed: it is
    /// not visible then, but when the directory is opened again it may turn out to have been made. After that, unless
    /// it was only for want of room, every write is answered with [`StorageError::Failed`].
    pub fn execute(&self, operation: Operation) -> Result<Outcome, StorageError> {
        self.inner.writer.execute(operation)
    }

    /// Queues one operation without waiting; `done` is called with what [`Storage::execute`] would
    /// return, on the writer's thread, and must not block.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when [`crate::QUEUE_CAPACITY`] operations wait, [`StorageError::Closed`]; `done`
    /// is dropped then.
    pub fn submit(
        &self,
        operation: Operation,
        done: impl FnOnce(Result<Outcome, StorageError>) + Send + 'static,
    ) -> Result<(), StorageError> {
        self.inner.writer.submit(operation, Box::new(done))
    }

    /// Whether writes are taken at the moment.
    ///
    /// # Errors
    /// Why not: [`StorageError::Failed`], [`StorageError::DiskFull`], or the failure of the last commit.
    pub fn writable(&self) -> Result<(), StorageError> {
        let failure = self.inner.writer.failure();
        if !matches!(failure, Some(StorageError::Failed(_))) {
            self.inner.disk.check(self.inner.store.unflushed())?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sizes and counters as they are now.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the disk cannot be asked.
    pub fn stats(&self) -> Result<Stats, StorageError> {
        let (disk_free, disk_reserve) = self.inner.disk.measure()?;
        Ok(Stats {
            store: self.inner.store.inner().stats(),
            disk_free,
            disk_reserve,
        })
    }

    /// Takes no more writes, commits those that wait, and writes all to table files, so that the next
    /// start is quick. Reads go on; the directory is free when the last clone is dropped.
    ///
    /// # Errors
    /// [`StorageError::Store`] when the tables could not be written. Nothing is lost then. [`StorageError::Failed`]
    /// when the storage failed before; nothing is flushed then, for the log is what counts.
    pub fn close(&self) -> Result<(), StorageError> {
        self.inner.writer.close();
        if let Some(failed @ StorageError::Failed(_)) = self.inner.writer.failure() {
            return Err(failed);
        }
        Ok(self.inner.store.inner().flush()?)
    }

    /// The store, for who reads all of it.
    pub(crate) fn store(&self) -> &EncryptedStore<RocksStore> {
        &self.inner.store
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.inner.directory
    }

    fn entry(&self, name: &DatabaseName) -> Option<DatabaseEntry> {
        self.inner
            .catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
    }
}

/// One database of a [`Storage`]. Every call blocks until it is done: writes, until they are on disk.
#[derive(Clone)]
pub struct Database {
    storage: Storage,
    name: DatabaseName,
    entry: DatabaseEntry,
}

impl Database {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Reads a document; `None` when there is none.
    ///
    /// # Errors
    /// [`StorageError::Store`].
    pub fn get(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<Document>, StorageError> {
        reading::get(self.storage.inner.store.as_ref(), self.entry, collection, id)
    }

    /// Reads a document if its body has at most `most` bytes; else tells its size. For who must have room before.
    ///
    /// # Errors
    /// [`StorageError::Store`].
    pub fn get_within(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        most: usize,
    ) -> Result<Found, StorageError> {
        reading::get_within(
            self.storage.inner.store.as_ref(),
            self.entry,
            collection,
            id,
            most,
        )
    }

    /// Reads one page of a collection, in the order of ids.
    ///
    /// # Errors
    /// [`StorageError::Store`].
    pub fn list(&self, collection: &CollectionName, listing: &Listing) -> Result<Page, StorageError> {
        reading::list(
            &self.storage.inner.store.snapshot(),
            self.entry,
            collection,
            listing,
        )
    }

    /// Writes a document if `precondition` holds; returns its revision, and whether it is new.
    ///
    /// # Errors
    /// As [`Storage::execute`].
    pub fn put(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        body: Body,
        precondition: Precondition,
    ) -> Result<(Revision, bool), StorageError> {
        let address = self.address(collection, id);
        match self.storage.execute(Operation::Put {
            address,
            body,
            precondition,
        })? {
            Outcome::Written { revision, created } => Ok((revision, created)),
            other => Err(unexpected(&other)),
        }
    }

    /// Inserts a document under an id made for it.
    ///
    /// # Errors
    /// As [`Storage::execute`].
    pub fn push(
        &self,
        collection: &CollectionName,
        body: Body,
    ) -> Result<(DocumentId, Revision), StorageError> {
        let id = generate_document_id();
        let (revision, _) = self.put(collection, &id, body, Precondition::Absent)?;
        Ok((id, revision))
    }

    /// Deletes a document if `precondition` holds.
    ///
    /// # Errors
    /// As [`Storage::execute`]; it is rejected when there is no such document.
    pub fn delete(
        &self,
        collection: &CollectionName,
        id: &DocumentId,
        precondition: Precondition,
    ) -> Result<(), StorageError> {
        let address = self.address(collection, id);
        match self.storage.execute(Operation::Delete {
            address,
            precondition,
        })? {
            Outcome::Deleted => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn address(&self, collection: &CollectionName, id: &DocumentId) -> DocumentAddress {
        DocumentAddress {
            database: self.name.clone(),
            collection: collection.clone(),
            id: id.clone(),
        }
    }
}

/// A new id: a UUID of version 7 (RFC 9562), so ids made later sort later, to the millisecond.
#[must_use]
pub fn generate_document_id() -> DocumentId {
    DocumentId::from_u128(uuid::Uuid::now_v7().as_u128())
}

/// An outcome of another kind of operation: a fault of this program.
fn unexpected(outcome: &Outcome) -> StorageError {
    StorageError::Store(crate::store::StoreError::Engine(format!(
        "a commit came to {outcome:?}"
    )))
}
