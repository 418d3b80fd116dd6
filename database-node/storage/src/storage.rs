//! The embedded storage: a directory of databases.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{
    DatabaseName, DocumentId, Error, Operation, Outcome, Schema, SlotCount, StorageConnection,
};

use crate::accounts::SharedAccounts;
use crate::apis::Apis;
use crate::database::Database;
use crate::directory::DataDirectory;
use crate::disk_space::DiskSpace;
use crate::encryption::{self, KeyVault};
use crate::engine::Engine;
use crate::error::StorageError;
use crate::housekeeping::Housekeeper;
use crate::memory::{self, MemoryPlan};
use crate::proposer::Proposer;
use crate::standalone::Standalone;
use crate::store::{EncryptedStore, OrderedStore, RocksStats, RocksStore, TornLog};
pub use crate::writer::Commit;

/// How long changes are kept for feeds, unless said.
pub const CHANGE_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How to open a [`Storage`].
#[derive(Default)]
pub struct Options {
    /// Whether a directory that does not exist is an error; else it is created.
    pub must_exist: bool,
    /// How many bytes must stay free on the disk for writes to be taken; by default 5 % of the file
    /// system, at least 64 MiB and at most 1 GiB, but never less than four write buffers. On top comes what is yet to
    /// be written to tables. Deletes may use three quarters of it.
    pub min_free_space: Option<u64>,
    /// How many bytes of memory the process may use, by default what [`memory::limit`] finds.
    /// [`MemoryPlan`] says what the storage takes of it.
    pub memory_limit: Option<u64>,
    /// The master key that the directory is encrypted with, or is to be when it is created; `None` for no encryption.
    pub encryption: Option<Arc<dyn KeyVault>>,
    /// How long changes are kept for feeds to go on from, by default a day. Lazy views read them before they go; one whose
    /// schema was not opened for longer is built anew.
    pub change_retention: Option<Duration>,
    /// Hears of every commit, on the writer's thread: it must not block.
    pub observer: Option<Box<dyn Fn(Commit) + Send>>,
    /// Hears, once, when a commit failed such that no write is taken any more until the directory is opened again
    /// ([`StorageError::Failed`]), on the writer's thread: it must not block.
    pub on_failure: Option<Box<dyn FnOnce(StorageError) + Send>>,
    /// Who answers custom APIs.
    pub apis: Apis,
}

/// An open data directory with its databases. Clones share it; the last one to be dropped closes it.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

/// What a storage stands on, and the state of a node's shards.
pub type StateStore = EncryptedStore<RocksStore>;

pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine<StateStore>>,
    standalone: Standalone<StateStore>,
    pub(crate) apis: Arc<Apis>,
    housekeeper: Housekeeper,
    /// Last, so that the lock outlives the store.
    directory: DataDirectory,
}

impl Inner {
    /// Lets the housekeeper look for views to build.
    pub(crate) fn wake_housekeeper(&self) {
        self.housekeeper.wake();
    }

    fn close(&self) {
        // First, so that whoever waits or builds stops.
        self.engine.progress.close();
        // The housekeeper may be waiting for the writer, so the writer must not wait for it: when the last owner goes in a
        // callback, the threads end by themselves.
        if self.standalone.writer.is_this_thread() {
            self.housekeeper.tell_to_stop();
        } else {
            self.housekeeper.stop();
        }
        self.standalone.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
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
    /// Subscriptions to messages that somebody receives from.
    pub subscriptions: u64,
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
    /// As [`Storage::open`], and [`StorageError::InvalidApi`] for an API that cannot be registered.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, StorageError> {
        options.apis.check()?;
        let directory = match options.must_exist {
            true => DataDirectory::open_existing(path.as_ref())?,
            false => DataDirectory::open(path.as_ref(), options.encryption.is_some())?,
        };
        let key = encryption::directory_key(&directory, options.encryption.as_deref())?;
        let memory = MemoryPlan::for_limit(options.memory_limit.unwrap_or_else(memory::limit));
        let memory = memory.on_disk(DiskSpace::total(directory.path())?);
        let store = match directory.is_new() {
            true => RocksStore::create(&directory.state(), memory)?,
            false => RocksStore::open(&directory.state(), memory)?,
        };
        let store = match key {
            Some(key) => EncryptedStore::open(store, key)?,
            None => EncryptedStore::plain(store),
        };
        let path = directory.path().to_owned();
        let disk = DiskSpace::of(path.clone(), options.min_free_space, memory);
        let observer = options.observer.unwrap_or_else(|| Box::new(|_| {}));
        let on_failure = options.on_failure.unwrap_or_else(|| Box::new(|_| {}));
        let standalone = Standalone::start(Arc::new(store), disk, observer, on_failure)?;
        let engine = Arc::clone(&standalone.engine);
        if directory.is_new() {
            engine.create_database(&DatabaseName::default_database(), SlotCount::default())?;
            directory.finish()?;
        }
        let retention = options.change_retention.unwrap_or(CHANGE_RETENTION);
        let housekeeper = Housekeeper::start(Arc::clone(&engine), retention)
            .map_err(|error| StorageError::io("start the housekeeper of", &path, error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                standalone,
                apis: Arc::new(options.apis),
                housekeeper,
                directory,
            }),
        })
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Creates a database without a schema, cut into `slots` for good.
    ///
    /// # Errors
    /// [`StorageError::Rejected`] when the name is taken; else as [`Storage::execute`].
    pub fn create(&self, name: &DatabaseName, slots: SlotCount) -> Result<Database, StorageError> {
        self.inner.engine.create_database(name, slots)?;
        self.get(name)
    }

    /// The database of that name, with the schema that it was last opened with.
    ///
    /// # Errors
    /// [`StorageError::UnknownDatabase`].
    pub fn get(&self, name: &DatabaseName) -> Result<Database, StorageError> {
        let catalog = self
            .inner
            .engine
            .catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match catalog.get(name) {
            Some(state) => Ok(Database::new(
                Arc::clone(&self.inner),
                name.clone(),
                state.entry.id,
            )),
            None => Err(StorageError::UnknownDatabase(name.clone())),
        }
    }

    /// The schema that a database has, if any: its name and views.
    ///
    /// # Errors
    /// [`StorageError::UnknownDatabase`].
    pub fn schema(&self, name: &DatabaseName) -> Result<Option<SchemaOffer>, StorageError> {
        self.inner
            .engine
            .schema(name)
            .map_err(|_| StorageError::UnknownDatabase(name.clone()))
    }

    /// The users, roles and API keys. They are changed by [`Operation::ChangeAccounts`].
    #[must_use]
    pub fn accounts(&self) -> Arc<SharedAccounts> {
        Arc::clone(&self.inner.standalone.accounts)
    }

    /// The names of all databases, in order.
    #[must_use]
    pub fn names(&self) -> Vec<DatabaseName> {
        let catalog = self
            .inner
            .engine
            .catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        catalog.databases().map(|(name, _)| name.clone()).collect()
    }

    /// Commits one operation and waits until it is on disk.
    ///
    /// # Errors
    /// [`StorageError::Rejected`] when it was carried out and changed nothing; [`StorageError::DiskFull`]
    /// and [`StorageError::Closed`] when it was not carried out; [`StorageError::Commit`] when the commit failed: it is
    /// not visible then, but when the directory is opened again it may turn out to have been made. After that, unless
    /// it was only for want of room, every write is answered with [`StorageError::Failed`].
    pub fn execute(&self, operation: Operation) -> Result<Outcome, StorageError> {
        self.inner.standalone.writer.execute(operation)
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
        let submitted = self
            .inner
            .standalone
            .writer
            .try_submit(operation, Box::new(done))?;
        submitted.map_err(|_| StorageError::Busy)
    }

    /// Whether writes are taken at the moment.
    ///
    /// # Errors
    /// Why not: [`StorageError::Failed`], [`StorageError::DiskFull`], or the failure of the last commit.
    pub fn writable(&self) -> Result<(), StorageError> {
        let Standalone {
            writer, disk, engine, ..
        } = &self.inner.standalone;
        let failure = writer.failure();
        if !matches!(failure, Some(StorageError::Failed(_))) {
            disk.check(engine.store.unflushed())?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// What time it is for the databases, in milliseconds since the Unix epoch: what expires, and the ids of requests, are
    /// compared with it. It is the wall clock's time, or later if that was once ahead.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.engine.log_clock.now_ms()
    }

    /// Sizes and counters as they are now.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the disk cannot be asked.
    pub fn stats(&self) -> Result<Stats, StorageError> {
        let (disk_free, disk_reserve) = self.inner.standalone.disk.measure()?;
        Ok(Stats {
            store: self.inner.engine.store.inner().stats(),
            disk_free,
            disk_reserve,
            subscriptions: self.inner.engine.broker.subscriptions(),
        })
    }

    /// What a crash had torn of the log of the last writes, and was cut off when the directory was opened. It was never
    /// acknowledged, as far as can be told (docs/decisions/0006-torn-log.md); a copy is kept, as are those of the last few
    /// crashes before.
    #[must_use]
    pub fn torn_logs(&self) -> &[TornLog] {
        self.inner.engine.store.inner().torn()
    }

    /// Takes no more writes, commits those that wait, ends subscriptions, and writes all to table files, so that the
    /// next start is quick. Reads go on; the directory is free when the last clone is dropped.
    ///
    /// # Errors
    /// [`StorageError::Store`] when the tables could not be written. Nothing is lost then. [`StorageError::Failed`]
    /// when the storage failed before; nothing is flushed then, for the log is what counts.
    pub fn close(&self) -> Result<(), StorageError> {
        self.inner.close();
        if let Some(failed @ StorageError::Failed(_)) = self.inner.standalone.writer.failure() {
            return Err(failed);
        }
        Ok(self.inner.engine.store.inner().flush()?)
    }

    /// The databases and their store.
    pub(crate) fn engine(&self) -> &Engine<StateStore> {
        &self.inner.engine
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &DataDirectory {
        &self.inner.directory
    }

    fn define<S: Schema>(&self, name: DatabaseName) -> Result<Database, Error> {
        let database = self.get(&name)?;
        database.define_schema::<S>()?;
        Ok(database)
    }
}

impl StorageConnection for Storage {
    type Database = Database;

    fn create_database<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        let name: DatabaseName = name.parse()?;
        self.inner.engine.create_database(&name, SlotCount::default())?;
        self.define::<S>(name)
    }

    fn database<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        self.define::<S>(name.parse()?)
    }

    fn delete_database(&self, name: &str) -> Result<(), Error> {
        self.inner.engine.delete_database(&name.parse()?)
    }

    fn databases(&self) -> Result<Vec<DatabaseName>, Error> {
        Ok(self.names())
    }
}

/// A new id: a UUID of version 7 (RFC 9562), so ids made later sort later, to the millisecond.
#[must_use]
pub fn generate_document_id() -> DocumentId {
    DocumentId::from_u128(uuid::Uuid::now_v7().as_u128())
}
