//! The logs of all groups of a node, in one store with one writer.
//!
//! What is to be written goes into batches that a driver writes and syncs; until then it is here, in memory, and so is
//! the newest part of every log. Older entries are read from the store.

mod keys;
mod records;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pliantdb_core::{GroupId, Order};
use pliantdb_storage::store::{Batch, Cursor, OrderedStore, Snapshot as _, StoreError};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::group::config::Members;
use crate::ids::{LogPoint, ReplicaId};
use crate::wire::raft::WireEntry;
pub use records::Identity;
pub(crate) use records::{LogRecord, Removed};

/// How many applied entries of a group stay in memory, for replicas that are a little behind.
const CACHED_ENTRIES: usize = 256;
/// How many bytes of applied entries of a group stay in memory.
const CACHED_BYTES: usize = 1 << 20;
/// How many bytes of entries that are safe and not applied stay in memory, unless it is said otherwise.
const UNAPPLIED_BYTES: usize = 4 << 20;

/// Reads the identity of a node.
///
/// # Errors
/// [`StoreError`].
pub fn read_identity(store: &impl OrderedStore) -> Result<Option<Identity>, StoreError> {
    store
        .get(&keys::IDENTITY, |bytes| {
            records::decode("the identity of the node", bytes)
        })?
        .transpose()
}

/// The prefixes of all keys but those of the logs of shards: who the node is, and the meta group.
#[cfg(feature = "mistakes")]
#[must_use]
pub fn kept_without_groups() -> Vec<Vec<u8>> {
    let meta = crate::meta::META;
    vec![
        keys::IDENTITY.to_vec(),
        keys::CHECKPOINT.to_vec(),
        keys::record(meta).to_vec(),
        keys::all_entries(meta).start,
    ]
}

/// Adds the identity of a node to a batch.
pub(crate) fn put_identity(batch: &mut Batch, identity: Identity) -> Result<(), StoreError> {
    batch.put(keys::IDENTITY, records::encode(&identity)?);
    Ok(())
}

/// Adds the record of a group's log to a batch.
pub(crate) fn put_record(batch: &mut Batch, group: GroupId, record: &LogRecord) -> Result<(), StoreError> {
    batch.put(keys::record(group), records::encode(record)?);
    Ok(())
}

/// Reads the meta group's checkpoint.
pub(crate) fn read_checkpoint<T: serde::de::DeserializeOwned>(
    store: &impl OrderedStore,
) -> Result<Option<T>, StoreError> {
    store
        .get(&keys::CHECKPOINT, |bytes| {
            records::decode("the checkpoint of the meta group", bytes)
        })?
        .transpose()
}

/// Adds the meta group's checkpoint to a batch.
pub(crate) fn put_checkpoint(
    batch: &mut Batch,
    checkpoint: &impl serde::Serialize,
) -> Result<(), StoreError> {
    batch.put(keys::CHECKPOINT, records::encode(checkpoint)?);
    Ok(())
}

/// The records of all groups that have a log here.
pub(crate) fn read_records(store: &impl OrderedStore) -> Result<BTreeMap<GroupId, LogRecord>, StoreError> {
    let snapshot = store.snapshot();
    let mut cursor = snapshot.scan(keys::records(), Order::Ascending)?;
    let mut found = BTreeMap::new();
    while let Some((key, value)) = cursor.entry() {
        let group = keys::group_of(key)
            .ok_or_else(|| StoreError::Corrupt("the key of a log's record has another length".to_owned()))?;
        found.insert(group, records::decode("the record of a log", value)?);
        cursor.advance()?;
    }
    Ok(found)
}

/// Which replica of a group was removed here last.
pub(crate) fn read_removed(store: &impl OrderedStore, group: GroupId) -> Result<Option<Removed>, StoreError> {
    store
        .get(&keys::removed(group), |bytes| {
            records::decode("the note of a removed replica", bytes)
        })?
        .transpose()
}

/// A snapshot that can be sent.
#[derive(Debug, Clone)]
pub(crate) struct Available {
    pub(crate) snapshot: Snapshot,
    pub(crate) index: u64,
    pub(crate) members: Members,
}

/// The log of one group.
pub(crate) struct GroupLog<L> {
    store: Arc<L>,
    group: GroupId,
    record: LogRecord,
    /// The newest entries, without a gap up to the last. Everything that may not be in the store yet is here.
    cache: VecDeque<Entry>,
    cached_bytes: usize,
    /// So many bytes of entries stay in memory that are safe in the store and not applied.
    unapplied_bytes: usize,
    last: LogPoint,
    /// The last entry that is safe in the store.
    persisted: u64,
    /// The last entry that is applied.
    applied: u64,
    /// The members as of when the replica was opened.
    members: Members,
    available: Option<Available>,
    /// Set when consensus asked for a snapshot that is not there.
    wanted: Cell<bool>,
    /// Why the log could not be read. The replica must stop: what consensus was told instead is not true.
    failed: RefCell<Option<StoreError>>,
}

impl<L: OrderedStore> GroupLog<L> {
    /// A log without entries, behind a point: `truncated` is where the state stands that it goes on from.
    pub(crate) fn create(store: Arc<L>, group: GroupId, record: LogRecord, members: Members) -> Self {
        let last = record.truncated;
        Self {
            store,
            group,
            cache: VecDeque::new(),
            cached_bytes: 0,
            unapplied_bytes: UNAPPLIED_BYTES,
            last,
            persisted: last.index,
            applied: last.index,
            members,
            available: None,
            wanted: Cell::new(false),
            failed: RefCell::new(None),
            record,
        }
    }

    /// The log that is in the store.
    pub(crate) fn open(
        store: Arc<L>,
        group: GroupId,
        record: LogRecord,
        members: Members,
        applied: u64,
    ) -> Result<Self, StoreError> {
        let mut log = Self::create(Arc::clone(&store), group, record, members);
        log.applied = applied;
        let snapshot = store.snapshot();
        let cursor = snapshot.scan(keys::all_entries(group), Order::Descending)?;
        if let Some((key, value)) = cursor.entry() {
            let index = keys::index_of(key)
                .ok_or_else(|| StoreError::Corrupt("the key of an entry has another length".to_owned()))?;
            let entry: WireEntry = records::decode("an entry of the log", value)?;
            if index > log.last.index {
                log.last = LogPoint {
                    index,
                    term: entry.term,
                };
            }
        }
        drop(cursor);
        drop(snapshot);
        log.persisted = log.last.index;
        Ok(log)
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.record.replica
    }

    pub(crate) fn record(&self) -> &LogRecord {
        &self.record
    }

    /// The end of the log.
    pub(crate) fn last(&self) -> LogPoint {
        self.last
    }

    /// The index before the first entry.
    pub(crate) fn truncated(&self) -> LogPoint {
        self.record.truncated
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.last.index - self.record.truncated.index
    }

    /// Why the log could not be read.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failed.borrow().clone()
    }

    /// Whether consensus has asked for a snapshot since this was called last.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// Offers a snapshot to replicas that are too far behind.
    pub(crate) fn set_available(&mut self, available: Option<Available>) {
        self.available = available;
    }

    /// Appends entries, which replace those from the first on.
    pub(crate) fn append(&mut self, batch: &mut Batch, entries: Vec<Entry>) -> Result<(), StoreError> {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return Ok(());
        };
        if first <= self.last.index {
            batch.delete_range(keys::entries(self.group, first, self.last.index + 1));
            while self.cache.back().is_some_and(|entry| entry.index >= first) {
                if let Some(entry) = self.cache.pop_back() {
                    self.cached_bytes -= size(&entry);
                }
            }
            self.persisted = self.persisted.min(first - 1);
        }
        for entry in entries {
            let stored = records::encode(&WireEntry::of(entry.clone()))?;
            batch.put(keys::entry(self.group, entry.index), stored);
            self.last = LogPoint {
                index: entry.index,
                term: entry.term,
            };
            self.cached_bytes += size(&entry);
            self.cache.push_back(entry);
        }
        Ok(())
    }

    /// Notes what the replica has promised.
    pub(crate) fn set_hard_state(&mut self, batch: &mut Batch, state: &HardState) -> Result<(), StoreError> {
        (self.record.term, self.record.vote, self.record.commit) = (state.term, state.vote, state.commit);
        self.put_record(batch)
    }

    /// Notes up to where the log is committed.
    pub(crate) fn put_commit(&mut self, batch: &mut Batch, commit: u64) -> Result<(), StoreError> {
        self.record.commit = self.record.commit.max(commit);
        self.put_record(batch)
    }

    /// Writes the record as it is.
    pub(crate) fn put_record(&self, batch: &mut Batch) -> Result<(), StoreError> {
        put_record(batch, self.group, &self.record)
    }

    /// Drops the entries up to an index that is applied, for good, by the state.
    pub(crate) fn truncate(&mut self, batch: &mut Batch, index: u64) -> Result<(), StoreError> {
        if index <= self.record.truncated.index || index > self.last.index {
            return Ok(());
        }
        let Ok(term) = self.term(index) else {
            return Ok(());
        };
        batch.delete_range(keys::entries(self.group, self.record.truncated.index, index + 1));
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            if let Some(entry) = self.cache.pop_front() {
                self.cached_bytes -= size(&entry);
            }
        }
        self.record.truncated = LogPoint { index, term };
        self.put_record(batch)
    }

    /// Begins again behind a point, as after a snapshot.
    pub(crate) fn reset(
        &mut self,
        batch: &mut Batch,
        at: LogPoint,
        members: Members,
    ) -> Result<(), StoreError> {
        batch.delete_range(keys::all_entries(self.group));
        self.cache.clear();
        self.cached_bytes = 0;
        (self.last, self.persisted, self.applied) = (at, at.index, at.index);
        self.members = members;
        self.record.truncated = at;
        self.record.commit = self.record.commit.max(at.index);
        self.record.term = self.record.term.max(at.term);
        self.put_record(batch)
    }

    /// Removes the log, and notes whose it was: that replica never comes back.
    pub(crate) fn destroy(group: GroupId, batch: &mut Batch, removed: Removed) -> Result<(), StoreError> {
        batch.delete_range(keys::all_entries(group));
        batch.delete(keys::record(group));
        batch.put(keys::removed(group), records::encode(&removed)?);
        Ok(())
    }

    /// Notes that everything up to an index is safe in the store.
    pub(crate) fn set_persisted(&mut self, index: u64) {
        self.persisted = self.persisted.max(index.min(self.last.index));
        self.evict();
    }

    /// Notes that everything up to an index is applied.
    pub(crate) fn set_applied(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        self.evict();
    }

    /// The members as of now, for a replica that is opened anew on this log.
    pub(crate) fn set_members(&mut self, members: Members) {
        self.members = members;
    }

    /// Keeps so many bytes of entries in memory that are not applied; more are read from the store again.
    pub(crate) fn keep_unapplied(&mut self, bytes: u64) {
        self.unapplied_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// How many bytes of entries are in memory.
    #[cfg(test)]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Keeps no entry in memory that is safe in the store and applied.
    pub(crate) fn release(&mut self) {
        let safe = self.persisted.min(self.applied);
        while self.cache.front().is_some_and(|entry| entry.index <= safe) {
            if let Some(entry) = self.cache.pop_front() {
                self.cached_bytes -= size(&entry);
            }
        }
        self.cache.shrink_to_fit();
    }

    fn evict(&mut self) {
        let safe = self.persisted.min(self.applied);
        let is_superfluous = |cache: &VecDeque<Entry>, bytes: usize, first: u64| {
            let is_many = cache.len() > CACHED_ENTRIES || bytes > CACHED_BYTES;
            (is_many && first <= safe) || (bytes > self.unapplied_bytes && first <= self.persisted)
        };
        while let Some(first) = self.cache.front().map(|entry| entry.index)
            && is_superfluous(&self.cache, self.cached_bytes, first)
        {
            if let Some(entry) = self.cache.pop_front() {
                self.cached_bytes -= size(&entry);
            }
        }
    }

    /// Reads entries from one index up to, not including, another, at most about `limit` bytes and at least one.
    pub(crate) fn read(&self, low: u64, high: u64, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let first_cached = self
            .cache
            .front()
            .map_or(self.last.index + 1, |entry| entry.index);
        for index in low..high {
            let entry = match index.checked_sub(first_cached) {
                Some(place) => self
                    .cache
                    .get(usize::try_from(place).unwrap_or(usize::MAX))
                    .cloned(),
                None => self.read_stored(index)?,
            };
            let entry = entry.ok_or_else(|| {
                StoreError::Corrupt(format!(
                    "entry {index} of the log of group {} is missing",
                    self.group
                ))
            })?;
            bytes += size(&entry) as u64;
            if !found.is_empty() && bytes > limit {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// Of what kinds entries are, without what they say: that is all for which consensus wants any number of them, to see
    /// whether a change of members is among them.
    fn read_kinds(&self, low: u64, high: u64) -> Result<Vec<Entry>, StoreError> {
        let kind = |index| {
            let mut read = self.read(index, index + 1, u64::MAX)?;
            let mut entry = read.pop().unwrap_or_default();
            if entry.get_entry_type() == EntryType::EntryNormal {
                entry.data = Default::default();
            }
            Ok(entry)
        };
        (low..high).map(kind).collect()
    }

    fn read_stored(&self, index: u64) -> Result<Option<Entry>, StoreError> {
        let read = |bytes: &[u8]| records::decode::<WireEntry>("an entry of the log", bytes);
        let entry = self
            .store
            .get(&keys::entry(self.group, index), read)?
            .transpose()?;
        Ok(entry.map(|entry| entry.into_raft(index)))
    }

    /// The term of an entry; `None` when it is not in the log.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        self.term(index).ok()
    }

    fn fail(&self, error: StoreError) {
        self.failed.borrow_mut().get_or_insert(error);
    }
}

fn size(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + 32
}

/// As the consensus library reads it. It ends the process at most errors, so a log that cannot be read answers
/// something harmless, and says that it failed: the caller looks before anything leaves the replica.
impl<L: OrderedStore> Storage for GroupLog<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let hard_state = HardState {
            term: self.record.term,
            vote: self.record.vote,
            // What was applied was committed, also when a crash took the word of it; and never ahead of the entries.
            commit: self.record.commit.max(self.applied).min(self.last.index),
            ..HardState::default()
        };
        let members = match self.members == Members::default() {
            true => ConfState::default(),
            false => self.members.to_raft(),
        };
        Ok(RaftState::new(hard_state, members))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.record.truncated.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let high = high.min(self.last.index + 1);
        let read = match max_size.into() {
            Some(limit) => self.read(low, high, limit),
            None => self.read_kinds(low, high),
        };
        Ok(read.unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        }))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let truncated = self.record.truncated;
        if index == truncated.index {
            return Ok(truncated.term);
        }
        if index == self.last.index {
            return Ok(self.last.term);
        }
        if index < truncated.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.index {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        match self.read(index, index + 1, u64::MAX) {
            Ok(found) => Ok(found.first().map_or(0, |entry| entry.term)),
            Err(error) => {
                self.fail(error);
                Err(raft::Error::Store(StorageError::Compacted))
            }
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.record.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match &self.available {
            // Whoever gets it goes on with the log behind it, and must be a member as of it.
            Some(available)
                if available.index >= request_index.max(self.record.truncated.index)
                    && available.members.contains(ReplicaId::from_raft(to)) =>
            {
                Ok(available.snapshot.clone())
            }
            _ => {
                self.wanted.set(true);
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
