//! A store that a crash interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pliantdb_storage::store::{
    Batch, BatchNumber, Durability, Holds, MemorySnapshot, MemoryStore, OrderedStore, StoreError,
};

/// A store that makes so many writes and syncs, and then none until it is mended.
#[derive(Debug)]
pub(super) struct Interrupted {
    pub(super) store: MemoryStore,
    left: AtomicUsize,
}

impl Default for Interrupted {
    fn default() -> Self {
        Self {
            store: MemoryStore::default(),
            left: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Interrupted {
    /// Makes so many more.
    pub(super) fn interrupt_after(&self, writes: usize) {
        self.left.store(writes, Ordering::Relaxed);
    }

    /// Comes up again with the first so many of the batches that were not synced.
    pub(super) fn crash_keeping(&self, batches: usize) {
        self.store.crash_keeping(batches);
        self.left.store(usize::MAX, Ordering::Relaxed);
    }

    fn go_on(&self) -> Result<(), StoreError> {
        let left = self.left.load(Ordering::Relaxed);
        let left = left.checked_sub(1);
        let left = left.ok_or_else(|| StoreError::Engine("interrupted".to_owned()))?;
        self.left.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl OrderedStore for Interrupted {
    type Snapshot<'a> = MemorySnapshot;
    type Kept = MemorySnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.store.get(key, read)
    }

    fn snapshot(&self) -> MemorySnapshot {
        self.store.snapshot()
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
        holder.held().snapshot()
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        self.go_on()?;
        self.store.write(batch, durability)
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        self.go_on()?;
        self.store.sync()
    }

    fn written(&self) -> BatchNumber {
        self.store.written()
    }

    fn durable(&self) -> BatchNumber {
        self.store.durable()
    }
}
