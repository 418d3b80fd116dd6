//! The store in memory, which loses what was not synced when told to crash.

mod map;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use map::{Map, Place};
use pliantdb_core::Order;

use super::{
    Batch, BatchNumber, Change, Cursor, Durability, Holds, KeyRange, OrderedStore, Snapshot, StoreError,
};

/// An [`OrderedStore`] in memory, for tests and simulation. [`MemoryStore::crash`] does to it what a power
/// failure does to a disk, and [`MemoryStore::set_fault`] what a bad or full disk does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    fault: Arc<RwLock<Fault>>,
    reads: AtomicU64,
}

/// What a disk does wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is full: writes and syncs are [`StoreError::NoSpace`] and change nothing.
    NoSpace,
    /// It is full after so many more batches and syncs: then as [`Fault::NoSpace`].
    NoSpaceAfter {
        /// How many it still takes.
        batches: u64,
    },
    /// Every value of a key with this prefix is damaged: reading it is [`StoreError::Corrupt`].
    Corrupt {
        /// The prefix.
        prefix: Vec<u8>,
    },
}

/// What a [`MemoryStore`] has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Values read by their keys, snapshots of the whole store not included.
    pub reads: u64,
    /// Batches written.
    pub batches: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Times that something was synced: by a batch that was to be, or by itself.
    pub syncs: u64,
}

#[derive(Debug, Default)]
struct State {
    current: Map,
    /// What a crash leaves.
    synced: Map,
    /// Written since, in order.
    unsynced: Vec<Batch>,
    written: BatchNumber,
    durable: BatchNumber,
    counters: Counters,
}

impl State {
    fn sync(&mut self) -> BatchNumber {
        self.unsynced.clear();
        self.synced = self.current.clone();
        self.durable = self.written;
        self.counters.syncs += 1;
        self.durable
    }
}

fn change(map: &mut Map, batch: &Batch) {
    for change in batch.changes() {
        match change {
            Change::Put(key, value) => map.insert(key, value),
            Change::Delete(key) => map.remove(key),
            Change::DeleteRange(start, end) => map.remove_range(start, end),
        }
    }
}

impl MemoryStore {
    /// Forgets every batch that was not synced.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Forgets every batch that was not synced, but the first so many of them: a crash may come when some had reached
    /// the disk by themselves. They survive the next crash too.
    pub fn crash_keeping(&self, batches: usize) {
        let mut state = self.state();
        let State { synced, unsynced, .. } = &mut *state;
        let kept = batches.min(unsynced.len());
        for batch in unsynced.iter().take(kept) {
            change(synced, batch);
        }
        unsynced.clear();
        state.current = state.synced.clone();
        state.durable += kept as u64;
        state.written = state.durable;
    }

    /// How many batches a crash can take back.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }

    /// Lets the disk go wrong from now on, snapshots that were taken before included; [`Fault::None`] mends it.
    pub fn set_fault(&self, fault: Fault) {
        *self.fault.write().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            reads: self.reads.load(Ordering::Relaxed),
            ..self.state().counters
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> Result<(), StoreError> {
        let mut fault = self.fault.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *fault {
            Fault::NoSpaceAfter { batches } if *batches > 0 => {
                *batches -= 1;
                Ok(())
            }
            Fault::NoSpace | Fault::NoSpaceAfter { .. } => {
                Err(StoreError::NoSpace("of the store in memory".to_owned()))
            }
            Fault::None | Fault::Corrupt { .. } => Ok(()),
        }
    }
}

/// Refuses a key whose value is damaged.
fn intact(fault: &RwLock<Fault>, key: &[u8]) -> Result<(), StoreError> {
    match &*fault.read().unwrap_or_else(PoisonError::into_inner) {
        Fault::Corrupt { prefix } if key.starts_with(prefix) => {
            let key = key.escape_ascii();
            Err(StoreError::Corrupt(format!(
                "the value of the key \"{key}\" is damaged"
            )))
        }
        _ => Ok(()),
    }
}

impl OrderedStore for MemoryStore {
    type Snapshot<'a> = MemorySnapshot;
    type Kept = MemorySnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.snapshot().get(key, read)
    }

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot {
            map: self.state().current.clone(),
            fault: Arc::clone(&self.fault),
        }
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
        holder.held().snapshot()
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        self.room()?;
        let mut state = self.state();
        change(&mut state.current, batch);
        state.unsynced.push(batch.clone());
        state.written += 1;
        state.counters.batches += 1;
        state.counters.bytes += batch.size() as u64;
        if durability == Durability::Synced {
            state.sync();
        }
        Ok(state.written)
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        self.room()?;
        Ok(self.state().sync())
    }

    fn written(&self) -> BatchNumber {
        self.state().written
    }

    fn durable(&self) -> BatchNumber {
        self.state().durable
    }
}

/// A [`MemoryStore`] as it was.
#[derive(Debug)]
pub struct MemorySnapshot {
    map: Map,
    fault: Arc<RwLock<Fault>>,
}

impl Snapshot for MemorySnapshot {
    type Cursor<'a> = MemoryCursor<'a>;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        intact(&self.fault, key)?;
        Ok(self.map.get(key).map(read))
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<MemoryCursor<'_>, StoreError> {
        let (start, end) = self.map.places(&range);
        let cursor = MemoryCursor {
            snapshot: self,
            // A range may end before it starts.
            start: start.min(end),
            end,
            order,
        };
        cursor.check()?;
        Ok(cursor)
    }
}

/// A position in a [`MemorySnapshot`].
#[derive(Debug)]
pub struct MemoryCursor<'a> {
    snapshot: &'a MemorySnapshot,
    /// What is left to read lies between these.
    start: Place,
    end: Place,
    order: Order,
}

impl MemoryCursor<'_> {
    /// Refuses a damaged value.
    fn check(&self) -> Result<(), StoreError> {
        self.entry()
            .map_or(Ok(()), |(key, _)| intact(&self.snapshot.fault, key))
    }
}

impl Cursor for MemoryCursor<'_> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        let map = &self.snapshot.map;
        let place = match self.order {
            _ if self.start >= self.end => return None,
            Order::Ascending => self.start,
            Order::Descending => map.previous(self.end),
        };
        map.entry(place)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        let map = &self.snapshot.map;
        if self.start < self.end {
            match self.order {
                Order::Ascending => self.start = map.next(self.start),
                Order::Descending => self.end = map.previous(self.end),
            }
        }
        self.check()
    }
}
