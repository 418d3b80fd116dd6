//! The state machine: the only code that changes state.

mod access;
mod documents;
mod once;
mod pending;
mod schema;
mod scope;
mod values;
pub(crate) mod views;

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::access::Accounts;
use pliantdb_core::{APPLY_VERSION, Command, DatabaseName, Operation, Outcome, Rejection, Timestamp};

use crate::accounts::{self, SharedAccounts};
use crate::catalog::{Catalog, DatabaseState};
use crate::error::StorageError;
use crate::keys;
pub use crate::records::Applied;
use crate::records::{self, corrupt};
use crate::store::{Batch, Cursor, Durability, KeyRange, OrderedStore, Snapshot};
pub(crate) use once::MEMORY_MS;
pub(crate) use pending::Pending;
pub(crate) use scope::Scope;

/// The first version of commands: there was none before it.
const OLDEST_VERSION: u16 = 1;

/// Applies commands to a store.
///
/// The same commands in the same order leave the same bytes, however they are cut into batches: nothing
/// here reads a clock, draws a number, or depends on the order of a hash map.
#[derive(Debug)]
pub struct StateMachine<S> {
    store: Arc<S>,
    catalog: Arc<RwLock<Catalog>>,
    accounts: Arc<SharedAccounts>,
    applied: Applied,
    /// The last command that a crash cannot take back.
    synced: Timestamp,
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
        if let Some(id) = store
            .get(&keys::LAST_DATABASE, records::decode_last_database)?
            .transpose()?
        {
            catalog.was_given(id);
        }
        let snapshot = store.snapshot();
        let databases = KeyRange::prefixed(&keys::DATABASES);
        let mut cursor = snapshot.scan(databases, pliantdb_core::Order::Ascending)?;
        while let Some((key, value)) = cursor.entry() {
            let name = str::from_utf8(key.get(keys::DATABASES.len()..).unwrap_or_default())
                .map_err(|error| corrupt("database", error))?
                .parse()
                .map_err(|error| corrupt("database", error))?;
            let entry = records::decode_database(value)?;
            let makeup = snapshot
                .get(&keys::makeup(entry.id), records::decode_makeup)?
                .transpose()?;
            let makeup = Arc::new(makeup.unwrap_or_default());
            catalog.insert(name, DatabaseState { entry, makeup });
            cursor.advance()?;
        }
        drop(cursor);
        let accounts = accounts::read(&snapshot)?;
        drop(snapshot);
        Ok(Self {
            store,
            catalog: Arc::new(RwLock::new(catalog)),
            accounts: Arc::new(SharedAccounts::new(accounts)),
            applied,
            synced: applied.timestamp,
        })
    }

    /// The databases, for readers; it changes as commands are applied.
    #[must_use]
    pub fn catalog(&self) -> Arc<RwLock<Catalog>> {
        Arc::clone(&self.catalog)
    }

    /// The users, roles and API keys, for readers; they change as commands are applied.
    #[must_use]
    pub fn accounts(&self) -> Arc<SharedAccounts> {
        Arc::clone(&self.accounts)
    }

    /// How far it has come.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The time of the last command that a crash cannot take back. Those after it have only been rejected.
    #[must_use]
    pub fn synced(&self) -> Timestamp {
        self.synced
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
        // Only this changes it, below.
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let (_, accounts) = self.accounts.current();
        let store = self.store.as_ref();
        let scope = Scope::Storage;
        let mut applying = Applying::new(store, scope, APPLY_VERSION, &catalog, &accounts, self.applied);
        let results = commands
            .iter()
            .map(|command| applying.command(command))
            .collect::<Result<Vec<_>, _>>()?;
        let Applying {
            pending,
            changed,
            changed_accounts,
            applied,
            ..
        } = applying;
        let mut batch = pending.into_batch();
        drop(catalog);
        // Rejections tell of what is on disk already. If a crash takes back that they were applied, nobody can have
        // seen their timestamps, which are given anew.
        let durability = match batch.is_empty() {
            true => Durability::Buffered,
            false => Durability::Synced,
        };
        batch.put(keys::APPLIED, records::encode_applied(&applied)?);
        self.store
            .write(&batch, durability)
            .map_err(StorageError::Commit)?;
        self.applied = applied;
        if durability == Durability::Synced {
            self.synced = applied.timestamp;
        }
        if let Some(changed) = changed {
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = changed;
        }
        if let Some(changed) = changed_accounts {
            self.accounts.replace(changed);
        }
        Ok(results)
    }

    /// Writes what is local to this node and can be made anew, of one view: it is not a command, and a crash may take
    /// it back.
    ///
    /// # Errors
    /// [`StorageError::ViewGone`], for nothing would ever remove it then, and [`StorageError::Commit`].
    pub(crate) fn write_local(&self, batch: &Batch) -> Result<(), StorageError> {
        let Some(first) = batch.change(0) else {
            return Ok(());
        };
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let is_there =
            keys::view_of(first.key()).is_some_and(|(database, view)| catalog.has_view(database, view));
        drop(catalog);
        if !is_there {
            return Err(StorageError::ViewGone);
        }
        let written = self.store.write(batch, Durability::Buffered);
        written.map(|_| ()).map_err(StorageError::Commit)
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

/// A batch of commands being applied.
pub(crate) struct Applying<'a, S> {
    scope: Scope,
    /// The last version of commands to apply.
    newest: u16,
    pub(crate) pending: Pending<'a, S>,
    /// The databases as they were before the batch.
    shared: &'a Catalog,
    /// The databases, if the batch has changed them.
    pub(crate) changed: Option<Catalog>,
    /// The accounts as they were before the batch.
    accounts: &'a Accounts,
    /// The accounts, if the batch may have changed them.
    changed_accounts: Option<Accounts>,
    pub(crate) applied: Applied,
}

impl<'a, S: OrderedStore> Applying<'a, S> {
    pub(crate) fn new(
        store: &'a S,
        scope: Scope,
        newest: u16,
        catalog: &'a Catalog,
        accounts: &'a Accounts,
        applied: Applied,
    ) -> Self {
        Self {
            scope,
            newest,
            pending: Pending::new(store),
            shared: catalog,
            changed: None,
            accounts,
            changed_accounts: None,
            applied,
        }
    }

    /// Applies one command. When it is rejected it changes nothing.
    pub(crate) fn command(&mut self, command: &Command) -> Result<CommandResult, StorageError> {
        if !(OLDEST_VERSION..=self.newest).contains(&command.version) {
            return Err(StorageError::UnknownApplyVersion {
                found: command.version,
                supported: self.newest,
            });
        }
        if command.timestamp <= self.applied.timestamp {
            let last = self.applied.timestamp;
            return Err(StorageError::TimestampOrder {
                found: command.timestamp,
                last,
            });
        }
        let before = self.pending.savepoint();
        let result = match self.operation(&command.operation, command.timestamp) {
            Ok(outcome) => Ok(outcome),
            Err(StorageError::Rejected(rejection)) => {
                self.pending.go_back(&before);
                Err(rejection)
            }
            Err(failure) => return Err(failure),
        };
        self.applied = Applied {
            index: self.applied.index + 1,
            timestamp: command.timestamp,
        };
        Ok(result)
    }

    fn operation(&mut self, operation: &Operation, time: Timestamp) -> Result<Outcome, StorageError> {
        match operation {
            Operation::CreateDatabase { .. }
            | Operation::DeleteDatabase { .. }
            | Operation::ChangeAccounts(_)
                if self.scope.is_shard() =>
            {
                return Err(Rejection::NotOfShard.into());
            }
            Operation::CreateDatabase { name, slots } => self.create_database(name, *slots)?,
            Operation::DeleteDatabase { name } => self.delete_database(name)?,
            Operation::DefineSchema {
                database,
                schema,
                views,
            } => self.define_schema(database, schema, views)?,
            Operation::Transact { database, changes } => {
                let state = self.database(database)?;
                return self.transact(&state, changes, time).map(Outcome::Transacted);
            }
            Operation::BuildView {
                database,
                view,
                documents,
                is_last,
            } => self.build_view(database, *view, documents, *is_last, time)?,
            Operation::FailView {
                database,
                view,
                reason,
            } => self.fail_view(database, *view, reason.clone())?,
            Operation::ChangeKey {
                database,
                namespace,
                key,
                action,
            } => {
                let entry = self.database(database)?.entry;
                return self
                    .change_key(entry, namespace, key, action, time)
                    .map(Outcome::Key);
            }
            Operation::ExpireKeys { database, keys } => {
                let entry = self.database(database)?.entry;
                self.expire_keys(entry, keys, time)?;
            }
            Operation::TrimChanges { database, before } => self.trim_changes(database, *before)?,
            Operation::Once { database, id, write } => return self.once(database, *id, write, time),
            Operation::ChangeAccounts(change) => self.change_accounts(change)?,
            Operation::ForgetRequests { database, before } => {
                self.forget_requests(database, *before, time)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// A database as this batch leaves it so far.
    fn database(&self, name: &DatabaseName) -> Result<Cow<'a, DatabaseState>, StorageError> {
        let found = match &self.changed {
            Some(changed) => changed.get(name).cloned().map(Cow::Owned),
            None => self.shared.get(name).map(Cow::Borrowed),
        };
        let unknown = || Rejection::UnknownDatabase {
            database: name.clone(),
        };
        Ok(found.ok_or_else(unknown)?)
    }

    /// The databases, to be changed.
    fn catalog(&mut self) -> &mut Catalog {
        self.changed.get_or_insert_with(|| self.shared.clone())
    }
}
