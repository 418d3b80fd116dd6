//! Databases of groups side by side in one store, as a node has them. What belongs to all of them together, and what a node
//! does by itself, is done here in the simplest way: which databases there are is what is in the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pliantdb_conformance::{feed, schema};
use pliantdb_core::{DatabaseName, Error, GroupId, Rejection, Schema, SlotCount};
use pliantdb_storage::group::{GroupState, Position, Shard};
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::store::{EncryptedStore, OrderedStore, RocksStore};
use pliantdb_storage::{Apis, Database, DatabaseEntry, DatabaseId};

use crate::group::{Group, StateStore};

/// How often a node looks after its databases.
const TENDING: Duration = Duration::from_millis(10);

/// The databases of a node.
#[derive(Clone)]
pub struct Replicas(Arc<Shared>);

struct Shared {
    store: Arc<StateStore>,
    apis: Arc<Apis>,
    databases: Mutex<BTreeMap<DatabaseName, (Arc<Group>, Database)>>,
    /// The highest number that a database has had.
    last_number: AtomicU32,
}

impl Replicas {
    /// Opens what is in a directory; an empty one gets the database `default`.
    fn open(path: &Path) -> Self {
        let plan = MemoryPlan::for_limit(64 << 20);
        let is_new = !path.exists();
        let store = match is_new {
            true => RocksStore::create_state(path, plan),
            false => RocksStore::open_state(path, plan),
        };
        let opened = Self(Arc::new(Shared {
            store: Arc::new(EncryptedStore::plain(store.unwrap())),
            apis: Arc::new(Apis::default().with(|_, request: schema::Greet| schema::greet(&request))),
            databases: Mutex::default(),
            last_number: AtomicU32::new(0),
        }));
        for group in GroupState::list(opened.0.store.as_ref()).unwrap() {
            opened.keep(GroupState::open(&opened.0.store, group).unwrap().unwrap());
        }
        if is_new {
            opened.create::<()>("default").unwrap();
        }
        opened
    }

    fn keep(&self, state: GroupState<StateStore>) -> Database {
        let shard = state.shard().clone();
        let (group, database) = Group::of(state, &self.0.apis);
        self.0.last_number.fetch_max(database.number(), Ordering::Relaxed);
        let kept = (group, database.clone());
        self.0.databases.lock().unwrap().insert(shard.database, kept);
        database
    }

    /// Creates a database: its group has the number that it has.
    pub fn create<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        let database: DatabaseName = name.parse()?;
        if self.find(&database).is_ok() {
            return Err(Rejection::DatabaseExists { database }.into());
        }
        let number = self.0.last_number.load(Ordering::Relaxed) + 1;
        let slots = SlotCount::default();
        let shard = Shard {
            database,
            entry: DatabaseEntry {
                id: DatabaseId::from(number),
                slots,
            },
            first_slot: 0,
            end_slot: slots.get(),
        };
        let group = GroupId::new(number.into());
        let state = GroupState::create(&self.0.store, group, shard, Position::default())?;
        let database = self.keep(state);
        database.define_schema::<S>()?;
        Ok(database)
    }

    /// A database, which is given a schema.
    pub fn open_database<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        let database = self.find(&name.parse()?)?;
        database.define_schema::<S>()?;
        Ok(database)
    }

    /// Deletes a database with its group.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let name: DatabaseName = name.parse()?;
        let removed = self.0.databases.lock().unwrap().remove(&name);
        let (group, database) = removed.ok_or(Error::UnknownDatabase(name))?;
        group.end();
        GroupState::destroy(&self.0.store, GroupId::new(database.number().into()))?;
        Ok(())
    }

    /// The database that has a name now.
    pub fn find(&self, name: &DatabaseName) -> Result<Database, Error> {
        let databases = self.0.databases.lock().unwrap();
        let found = databases.get(name).map(|(_, database)| database.clone());
        found.ok_or_else(|| Error::UnknownDatabase(name.clone()))
    }

    /// The names of all databases, in order.
    pub fn names(&self) -> Vec<DatabaseName> {
        self.0.databases.lock().unwrap().keys().cloned().collect()
    }

    /// Does what a node does by itself.
    fn tend(&self, is_wanted: &dyn Fn() -> bool) {
        for name in self.names() {
            let Ok(database) = self.find(&name) else { continue };
            // It may be deleted meanwhile.
            let _ = database.tend(feed::RETENTION, is_wanted);
            database.refresh();
        }
    }
}

/// A node that runs.
pub struct Running {
    replicas: Option<Replicas>,
    is_stopped: Arc<AtomicBool>,
    tending: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts it on a directory.
    pub fn start(path: &Path) -> Self {
        let replicas = Replicas::open(path);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let tending = {
            let (replicas, is_stopped) = (replicas.clone(), Arc::clone(&is_stopped));
            let is_wanted = move || !is_stopped.load(Ordering::Acquire);
            std::thread::spawn(move || {
                while is_wanted() {
                    replicas.tend(&is_wanted);
                    std::thread::sleep(TENDING);
                }
            })
        };
        Self {
            replicas: Some(replicas),
            is_stopped,
            tending: Some(tending),
        }
    }

    /// Its databases.
    pub fn replicas(&self) -> &Replicas {
        self.replicas.as_ref().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
        let tended = self.tending.take().map(JoinHandle::join);
        assert!(tended.is_none_or(|tended| tended.is_ok()) || std::thread::panicking());
        if let Some(replicas) = self.replicas.take() {
            for (group, _) in std::mem::take(&mut *replicas.0.databases.lock().unwrap()).into_values() {
                group.end();
            }
            replicas.0.store.sync().unwrap();
        }
    }
}
