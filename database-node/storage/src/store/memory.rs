//! The store in memory, which loses what was not synced when told to crash.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pliantdb_core::Order;

use super::{Batch, BatchNumber, Change, Cursor, Durability, KeyRange, OrderedStore, Snapshot, StoreError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An [`OrderedStore`] in memory, for tests and simulation. [`MemoryStore::crash`] does to it what a power
/// failure does to a disk.
///
/// A write while a snapshot is alive copies the whole map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Arc<Map>,
    /// What a crash leaves.
    synced: Map,
    /// Written since, in order.
    unsynced: Vec<Batch>,
    written: BatchNumber,
    durable: BatchNumber,
}

impl State {
    fn sync(&mut self) -> BatchNumber {
        for batch in self.unsynced.drain(..) {
            change(&mut self.synced, &batch);
        }
        self.durable = self.written;
        self.durable
    }
}

fn change(map: &mut Map, batch: &Batch) {
    for change in batch.changes() {
        match change {
            Change::Put(key, value) => {
                map.insert(key.to_vec(), value.to_vec());
            }
            Change::Delete(key) => {
                map.remove(key);
            }
            Change::DeleteRange(start, end) => {
                let end = end.map_or(Bound::Unbounded, Bound::Excluded);
                let keys: Vec<_> = map
                    .range::<[u8], _>((Bound::Included(start), end))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in keys {
                    map.remove(&key);
                }
            }
        }
    }
}

/// Of a range that is not empty.
fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(&range.start), end)
}

impl MemoryStore {
    /// Forgets every batch that was not synced.
    pub fn crash(&self) {
        let mut state = self.state();
        state.unsynced.clear();
        state.current = Arc::new(state.synced.clone());
        state.written = state.durable;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrderedStore for MemoryStore {
    type Snapshot<'a> = MemorySnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        let map = Arc::clone(&self.state().current);
        Ok(map.get(key).map(|value| read(value)))
    }

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot {
            map: Arc::clone(&self.state().current),
        }
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        let mut state = self.state();
        change(Arc::make_mut(&mut state.current), batch);
        state.unsynced.push(batch.clone());
        state.written += 1;
        if durability == Durability::Synced {
            state.sync();
        }
        Ok(state.written)
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        Ok(self.state().sync())
    }

    fn durable(&self) -> BatchNumber {
        self.state().durable
    }
}

/// A [`MemoryStore`] as it was.
#[derive(Debug)]
pub struct MemorySnapshot {
    map: Arc<Map>,
}

impl Snapshot for MemorySnapshot {
    type Cursor<'a> = MemoryCursor<'a>;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        Ok(self.map.get(key).map(|value| read(value)))
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<MemoryCursor<'_>, StoreError> {
        let rest = match range.is_empty() {
            true => btree_map::Range::default(),
            false => self.map.range::<[u8], _>(bounds(&range)),
        };
        let mut cursor = MemoryCursor {
            rest,
            order,
            here: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }
}

/// A position in a [`MemorySnapshot`].
#[derive(Debug)]
pub struct MemoryCursor<'a> {
    rest: btree_map::Range<'a, Vec<u8>, Vec<u8>>,
    order: Order,
    here: Option<(&'a Vec<u8>, &'a Vec<u8>)>,
}

impl Cursor for MemoryCursor<'_> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.here.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.here = match self.order {
            Order::Ascending => self.rest.next(),
            Order::Descending => self.rest.next_back(),
        };
        Ok(())
    }
}
