//! The replica of a group, and its log.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use pliantdb_core::access::Accounts;
use pliantdb_core::{APPLY_VERSION, GroupId};

use super::beside::{Beside, forget_beside, forget_views};
use super::records::{self, Head};
use super::{GroupSnapshot, LogEntry, Position, Shard};
use crate::catalog::{Catalog, DatabaseState, Makeup};
use crate::engine::Engine;
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys::{self, GroupRecord};
use crate::log_clock::LogClock;
use crate::machine::{Applied, Applying, CommandResult, Scope};
use crate::progress::Progress;
use crate::store::{Batch, BatchNumber, Durability, KeyRange, OrderedStore};

/// The replica of a group in a store: the data of its shard, and how far it has applied the group's log.
///
/// The same entries leave the same bytes in every replica, however they are cut into batches. While it is open, nothing
/// else may write the records and the data of the group.
#[derive(Debug)]
pub struct GroupState<S> {
    pub(super) store: Arc<S>,
    pub(super) group: GroupId,
    shard: Shard,
    pub(super) extent: Extent,
    position: Position,
    /// Has the shard's database only; whoever reads the replica looks at it too.
    pub(super) catalog: Arc<RwLock<Catalog>>,
    pub(super) progress: Arc<Progress>,
    pub(super) log_clock: Arc<LogClock>,
    /// What is written beside the log ends with this replica.
    pub(super) beside: Arc<Beside<S>>,
    /// What answers for the database, as long as somebody has it.
    pub(super) engine: Mutex<Weak<Engine<S>>>,
    last_batch: BatchNumber,
}

impl<S> Drop for GroupState<S> {
    /// From here on the group's keys may be wiped, and given to another replica.
    fn drop(&mut self) {
        self.progress.close();
        self.beside.end();
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.upgrade() {
            engine.broker.close(None);
        }
    }
}

impl<S: OrderedStore> GroupState<S> {
    /// The groups of which anything is in the store, in order: a replica, or a snapshot that is staged or half
    /// installed.
    ///
    /// # Errors
    /// [`StorageError::Store`].
    pub fn list(store: &S) -> Result<Vec<GroupId>, StorageError> {
        Ok(records::groups(&store.snapshot())?)
    }

    /// An empty shard at `position`. The write is buffered.
    ///
    /// # Errors
    /// [`StorageError::GroupExists`] when the group has a replica already, [`StorageError::InvalidShard`],
    /// [`StorageError::SlotsTaken`] when another group of the store has some of the slots, [`StorageError::Store`] and
    /// [`StorageError::Commit`]. Nothing is changed then.
    pub fn create(
        store: &Arc<S>,
        group: GroupId,
        shard: Shard,
        position: Position,
    ) -> Result<Self, StorageError> {
        let extent = shard.extent()?;
        let snapshot = store.snapshot();
        if !records::shards(&snapshot, group)?.is_empty() {
            return Err(StorageError::GroupExists(group));
        }
        records::refuse_taken(&snapshot, group, extent)?;
        drop(snapshot);
        let head = Head {
            shard,
            makeup: Makeup::default(),
            position,
        };
        let mut batch = Batch::default();
        head.write(group, &mut batch)?;
        let written = store.write(&batch, Durability::Buffered);
        let last_batch = written.map_err(StorageError::Commit)?;
        Ok(Self::of(store, group, head, extent, last_batch))
    }

    /// The replica that is there. `None` when there is none, which is so while a snapshot is being installed too
    /// ([`super::is_installing`]).
    ///
    /// # Errors
    /// [`StorageError::Store`], and [`StorageError::InvalidShard`].
    pub fn open(store: &Arc<S>, group: GroupId) -> Result<Option<Self>, StorageError> {
        // First, so that it is not below the last batch of what is read.
        let head = Head::read(&store.snapshot(), group)?;
        let Some(head) = head else { return Ok(None) };
        let extent = head.shard.extent()?;
        Ok(Some(Self::of(store, group, head, extent, store.written())))
    }

    fn of(store: &Arc<S>, group: GroupId, head: Head, extent: Extent, last_batch: BatchNumber) -> Self {
        let mut catalog = Catalog::default();
        let state = DatabaseState {
            entry: head.shard.entry,
            makeup: Arc::new(head.makeup),
        };
        catalog.insert(head.shard.database.clone(), state);
        let catalog = Arc::new(RwLock::new(catalog));
        Self {
            store: Arc::clone(store),
            group,
            shard: head.shard,
            extent,
            progress: Arc::new(Progress::at(head.position.timestamp)),
            log_clock: Arc::new(LogClock::after(head.position.timestamp)),
            position: head.position,
            beside: Arc::new(Beside::of(store, &catalog)),
            catalog,
            engine: Mutex::default(),
            last_batch,
        }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The slots that it keeps.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// How far it has applied the log.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The schema and views that its log has given the database.
    pub fn makeup(&self) -> Arc<Makeup> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        makeup(&catalog, &self.shard)
    }

    /// The last batch that was written for this group: when it is durable ([`OrderedStore::durable`]), so is the
    /// position. Of a replica that was just opened, the last batch of the whole store.
    pub fn last_batch(&self) -> BatchNumber {
        self.last_batch
    }

    /// Applies entries as one atomic batch, which is buffered, and returns what each command came to: `None` of an entry
    /// without one. A rejected command changes nothing but the position.
    ///
    /// # Errors
    /// [`StorageError::EntryOrder`] when their indexes do not follow on the position without a gap,
    /// [`StorageError::UnknownApplyVersion`], [`StorageError::TimestampOrder`], [`StorageError::Store`] when the store
    /// cannot be read, and [`StorageError::Commit`] when it cannot be written. Nothing was applied then.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<Option<CommandResult>>, StorageError> {
        self.apply_up_to(APPLY_VERSION, entries)
    }

    /// As [`GroupState::apply`], and commands of versions after `newest` are not known.
    ///
    /// # Errors
    /// The same.
    pub fn apply_up_to(
        &mut self,
        newest: u16,
        entries: &[LogEntry],
    ) -> Result<Vec<Option<CommandResult>>, StorageError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (accounts, store) = (Accounts::default(), self.store.as_ref());
        let (group, extent) = (self.group, self.extent);
        let applied = Applied {
            index: self.position.index,
            timestamp: self.position.timestamp,
        };
        let scope = Scope::Shard { group, extent };
        // Only this changes it, below.
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let mut applying = Applying::new(store, scope, newest, &catalog, &accounts, applied);
        let mut position = self.position.clone();
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            let expected = position.index.saturating_add(1);
            if entry.index != expected {
                return Err(StorageError::EntryOrder {
                    found: entry.index,
                    expected,
                });
            }
            let result = entry.command.as_ref().map(|command| applying.command(command));
            results.push(result.transpose()?);
            (position.index, position.term) = (entry.index, entry.term);
            if let Some(config) = &entry.config {
                position.config.clone_from(config);
            }
        }
        position.timestamp = applying.applied.timestamp;
        let Applying { pending, changed, .. } = applying;
        let mut batch = pending.into_batch();
        drop(catalog);
        debug_assert!(
            self.owns(&batch),
            "the log of {group} has changed what is not its own"
        );
        match changed {
            None => self.commit(batch, position)?,
            Some(changed) => {
                let (before, after) = (self.makeup(), makeup(&changed, &self.shard));
                forget_views(&mut batch, self.shard.entry.id, &before, &after);
                let (beside, catalog) = (Arc::clone(&self.beside), Arc::clone(&self.catalog));
                beside.pause(|| {
                    self.commit(batch, position)?;
                    *catalog.write().unwrap_or_else(PoisonError::into_inner) = changed;
                    Ok::<_, StorageError>(())
                })?;
            }
        }
        self.log_clock.follow(self.position.timestamp);
        let is_changed = results.iter().flatten().any(Result::is_ok);
        let changed = is_changed.then_some(&self.shard.database);
        self.progress
            .advance(self.position.timestamp, changed.into_iter());
        Ok(results)
    }

    /// Sets [`Position::config`] alone, as when a configuration is rewritten by force. The write is buffered.
    ///
    /// # Errors
    /// [`StorageError::Commit`], and nothing is changed.
    pub fn set_config(&mut self, config: Vec<u8>) -> Result<(), StorageError> {
        let position = Position {
            config,
            ..self.position.clone()
        };
        self.commit(Batch::default(), position)
    }

    /// Writes a batch with the position that it leads to.
    fn commit(&mut self, mut batch: Batch, position: Position) -> Result<(), StorageError> {
        let key = keys::group_record(self.group, GroupRecord::Position);
        batch.put(key, records::encode_position(&position)?);
        let written = self.store.write(&batch, Durability::Buffered);
        self.last_batch = written.map_err(StorageError::Commit)?;
        self.position = position;
        Ok(())
    }

    /// Whether a batch changes only what belongs to the group.
    fn owns(&self, batch: &Batch) -> bool {
        let own = [KeyRange::prefixed(&keys::group(self.group)), self.extent.keys()];
        batch
            .changes()
            .all(|change| own.iter().any(|range| change.is_within(range)))
    }

    /// Removes the replica, and whatever snapshot is staged or being installed. The write is buffered.
    ///
    /// # Errors
    /// [`StorageError::Store`], [`StorageError::InvalidShard`] and [`StorageError::Commit`]. Nothing is changed then.
    pub fn destroy(store: &Arc<S>, group: GroupId) -> Result<BatchNumber, StorageError> {
        let mut batch = Batch::default();
        for shard in records::shards(&store.snapshot(), group)? {
            batch.delete_range(shard.extent()?.keys());
            forget_beside(&mut batch, shard.entry.id);
        }
        batch.delete_range(KeyRange::prefixed(&keys::group(group)));
        store
            .write(&batch, Durability::Buffered)
            .map_err(StorageError::Commit)
    }

    /// The shard as it is now, to be sent to another replica.
    pub fn snapshot(&self) -> GroupSnapshot<S> {
        let head = Head {
            shard: self.shard.clone(),
            makeup: (*self.makeup()).clone(),
            position: self.position.clone(),
        };
        GroupSnapshot::take(&self.store, self.group, head, self.extent)
    }
}

/// What the database of a shard is made of.
fn makeup(catalog: &Catalog, shard: &Shard) -> Arc<Makeup> {
    let state = catalog.get(&shard.database);
    state.map(|state| Arc::clone(&state.makeup)).unwrap_or_default()
}
