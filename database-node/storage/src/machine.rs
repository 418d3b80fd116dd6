//! The state machine: the only code that changes state.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::{
    APPLY_VERSION, Command, DocumentAddress, DocumentId, Operation, Outcome, Precondition, Rejection,
    Revision,
};

use crate::catalog::{Catalog, DatabaseEntry};
use crate::error::StorageError;
use crate::keys;
pub use crate::records::Applied;
use crate::records::{self, corrupt};
use crate::store::{Batch, Cursor, Durability, KeyRange, OrderedStore, Snapshot};

/// Applies commands to a store.
///
/// The same commands in the same order leave the same bytes, however they are cut into batches: nothing
/// here reads a clock, draws a number, or depends on the order of a hash map.
#[derive(Debug)]
pub struct StateMachine<S> {
    store: Arc<S>,
    catalog: Arc<RwLock<Catalog>>,
    applied: Applied,
}

/// What one command came to.
pub type CommandResult = Result<Outcome, Rejection>;

impl<S: OrderedStore> StateMachine<S> {
    /// Takes up where the store left off; an empty store is at the beginning.
    ///
    /// # Errors
    /// [`StorageError::Store`] when the store fails or its meta range cannot be read.
    pub fn open(store: Arc<S>) -> Result<Self, StorageError> {
        let applied = store
            .get(&keys::APPLIED, records::decode_applied)?
            .transpose()?
            .unwrap_or_default();
        let mut catalog = Catalog::default();
        let snapshot = store.snapshot();
        let mut cursor = snapshot.scan(KeyRange::prefixed(&keys::DATABASES))?;
        while let Some((key, value)) = cursor.entry() {
            let name = str::from_utf8(&key[keys::DATABASES.len()..])
                .map_err(|error| corrupt("database", error))?
                .parse()
                .map_err(|error| corrupt("database", error))?;
            catalog.insert(name, records::decode_database(value)?);
            cursor.advance()?;
        }
        drop(cursor);
        drop(snapshot);
        Ok(Self {
            store,
            catalog: Arc::new(RwLock::new(catalog)),
            applied,
        })
    }

    /// The databases, for readers; it changes as commands are applied.
    #[must_use]
    pub fn catalog(&self) -> Arc<RwLock<Catalog>> {
        Arc::clone(&self.catalog)
    }

    /// How far it has come.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Applies `commands` in order as one atomic batch, synced if it changes anything, and returns what each came to.
    /// A rejected command changes nothing; those after it see the effects of those before it.
    ///
    /// # Errors
    /// [`StorageError::UnknownApplyVersion`] and [`StorageError::TimestampOrder`] before anything is
    /// applied, [`StorageError::Store`] when the store cannot be read, and [`StorageError::Commit`] when it cannot be
    /// written. No command was applied then, as far as readers and later commands can tell; after a failed commit
    /// and a restart the batch may turn out to be there, whole.
    pub fn apply(&mut self, commands: &[Command]) -> Result<Vec<CommandResult>, StorageError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pending = Pending::new(self);
        let results = commands
            .iter()
            .map(|command| pending.command(command))
            .collect::<Result<Vec<_>, _>>()?;
        let Pending {
            mut batch,
            catalog,
            applied,
            ..
        } = pending;
        // Rejections tell of what is on disk already. If a crash takes back that they were applied, nobody can have
        // seen their timestamps, which are given anew.
        let durability = match batch.changes().is_empty() {
            true => Durability::Buffered,
            false => Durability::Synced,
        };
        batch.put(keys::APPLIED, records::encode_applied(&applied)?);
        self.store
            .write(&batch, durability)
            .map_err(StorageError::Commit)?;
        self.applied = applied;
        if let Some(changed) = catalog {
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = changed;
        }
        Ok(results)
    }

    /// The store.
    pub(crate) fn store(&self) -> &S {
        &self.store
    }

    /// Writes the applied record again as it is, to see whether the store takes writes.
    ///
    /// # Errors
    /// [`StorageError::Commit`] when it does not.
    pub fn probe(&self) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.put(keys::APPLIED, records::encode_applied(&self.applied)?);
        let probed = self.store.write(&batch, Durability::Synced);
        probed.map(|_| ()).map_err(StorageError::Commit)
    }
}

/// A batch in the making: what it will write, and what its commands see that the store does not hold yet.
struct Pending<'a, S> {
    machine: &'a StateMachine<S>,
    batch: Batch,
    /// Documents the batch has touched, by key: the new revision, or `None` when deleted.
    touched: HashMap<Vec<u8>, Option<Revision>>,
    /// The databases, if the batch has created one.
    catalog: Option<Catalog>,
    applied: Applied,
}

impl<'a, S: OrderedStore> Pending<'a, S> {
    fn new(machine: &'a StateMachine<S>) -> Self {
        let applied = machine.applied;
        Self {
            machine,
            batch: Batch::default(),
            touched: HashMap::new(),
            catalog: None,
            applied,
        }
    }

    fn command(&mut self, command: &Command) -> Result<CommandResult, StorageError> {
        if command.version != APPLY_VERSION {
            return Err(StorageError::UnknownApplyVersion {
                found: command.version,
                supported: APPLY_VERSION,
            });
        }
        if command.timestamp <= self.applied.timestamp {
            let last = self.applied.timestamp;
            return Err(StorageError::TimestampOrder {
                found: command.timestamp,
                last,
            });
        }
        let result = match self.operation(&command.operation, Revision::at(command.timestamp)) {
            Ok(outcome) => Ok(outcome),
            Err(StorageError::Rejected(rejection)) => Err(rejection),
            Err(failure) => return Err(failure),
        };
        self.applied = Applied {
            index: self.applied.index + 1,
            timestamp: command.timestamp,
        };
        Ok(result)
    }

    fn operation(&mut self, operation: &Operation, revision: Revision) -> Result<Outcome, StorageError> {
        match operation {
            Operation::CreateDatabase { name, slots } => {
                let mut catalog = self.catalog();
                if catalog.get(name).is_some() {
                    return Err(Rejection::DatabaseExists {
                        database: name.clone(),
                    }
                    .into());
                }
                let entry = DatabaseEntry {
                    id: catalog.next_id(),
                    slots: *slots,
                };
                self.batch
                    .put(keys::database(name), records::encode_database(&entry)?);
                catalog.insert(name.clone(), entry);
                self.catalog = Some(catalog);
                Ok(Outcome::DatabaseCreated)
            }
            Operation::Put {
                address,
                body,
                precondition,
            } => {
                let (key, current) = self.locate(address)?;
                check(&address.id, *precondition, current)?;
                self.batch
                    .put(key.as_slice(), records::encode_document(revision, body));
                self.touched.insert(key, Some(revision));
                Ok(Outcome::Written {
                    revision,
                    created: current.is_none(),
                })
            }
            Operation::Delete {
                address,
                precondition,
            } => {
                let (key, current) = self.locate(address)?;
                check(&address.id, *precondition, current)?;
                if current.is_none() {
                    let DocumentAddress { collection, id, .. } = address.clone();
                    return Err(Rejection::UnknownDocument { collection, id }.into());
                }
                self.batch.delete(key.as_slice());
                self.touched.insert(key, None);
                Ok(Outcome::Deleted)
            }
        }
    }

    fn catalog(&self) -> Catalog {
        self.catalog.clone().unwrap_or_else(|| {
            self.machine
                .catalog
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }

    fn database(&self, address: &DocumentAddress) -> Option<DatabaseEntry> {
        match &self.catalog {
            Some(changed) => changed.get(&address.database),
            None => self
                .machine
                .catalog
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&address.database),
        }
    }

    /// The key of a document, and its revision as this batch leaves it so far.
    fn locate(&self, address: &DocumentAddress) -> Result<(Vec<u8>, Option<Revision>), StorageError> {
        let database = self.database(address).ok_or_else(|| Rejection::UnknownDatabase {
            database: address.database.clone(),
        })?;
        let key = keys::document(database, &address.collection, &address.id);
        let current = match self.touched.get(&key) {
            Some(touched) => *touched,
            None => {
                let read = |value: &[u8]| records::split_document(value).map(|(revision, _)| revision);
                self.machine.store.get(&key, read)?.transpose()?
            }
        };
        Ok((key, current))
    }
}

fn check(id: &DocumentId, wanted: Precondition, current: Option<Revision>) -> Result<(), Rejection> {
    let holds = match wanted {
        Precondition::None => true,
        Precondition::Absent => current.is_none(),
        Precondition::Exists => current.is_some(),
        Precondition::Revision(revision) => current == Some(revision),
    };
    if holds {
        Ok(())
    } else {
        Err(Rejection::PreconditionFailed {
            id: id.clone(),
            wanted,
            current,
        })
    }
}
