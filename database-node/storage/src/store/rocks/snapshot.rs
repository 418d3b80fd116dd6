//! Reading a store as it was.

use std::sync::Arc;

use pliantdb_core::Order;
use rocksdb::{DBRawIterator, ReadOptions, ReadTier};
use self_cell::self_cell;

use super::{RocksStore, store_error};
use crate::store::{Cursor, Holds, KeyRange, OrderedStore, Snapshot, StoreError};

/// A [`RocksStore`] as it was.
pub struct RocksSnapshot<'a> {
    pub(super) snapshot: rocksdb::Snapshot<'a>,
    /// How far down it reads.
    pub(super) tier: ReadTier,
}

impl RocksSnapshot<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_read_tier(self.tier);
        options
    }
}

impl Snapshot for RocksSnapshot<'_> {
    type Cursor<'a>
        = RocksCursor<'a>
    where
        Self: 'a;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        let value = self.snapshot.get_pinned_opt(key, self.options());
        Ok(value.map_err(store_error)?.map(|value| read(&value)))
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<RocksCursor<'_>, StoreError> {
        // RocksDB gives nothing, not an error, when the upper bound lies below the start.
        let mut options = self.options();
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end);
        }
        if order == Order::Descending {
            options.set_iterate_lower_bound(range.start.as_slice());
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        match order {
            Order::Ascending => iterator.seek(&range.start),
            // To the last key below the upper bound.
            Order::Descending => iterator.seek_to_last(),
        }
        iterator.status().map_err(store_error)?;
        Ok(RocksCursor { iterator, order })
    }
}

self_cell!(
    struct Kept {
        owner: Arc<dyn Holds<RocksStore>>,
        #[covariant]
        dependent: RocksSnapshot,
    }
);

/// A [`RocksStore`] as it was, which is kept open.
pub struct KeptRocksSnapshot(Kept);

impl KeptRocksSnapshot {
    pub(super) fn take(holder: Arc<dyn Holds<RocksStore>>) -> Self {
        Self(Kept::new(holder, |holder| holder.held().snapshot()))
    }
}

impl Snapshot for KeptRocksSnapshot {
    type Cursor<'a> = RocksCursor<'a>;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.0.borrow_dependent().get(key, read)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<RocksCursor<'_>, StoreError> {
        self.0.borrow_dependent().scan(range, order)
    }
}

/// A position in a [`RocksSnapshot`].
pub struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
    order: Order,
}

impl Cursor for RocksCursor<'_> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        if self.iterator.valid() {
            match self.order {
                Order::Ascending => self.iterator.next(),
                Order::Descending => self.iterator.prev(),
            }
        }
        // One that has failed is not valid.
        match self.iterator.valid() {
            true => Ok(()),
            false => self.iterator.status().map_err(store_error),
        }
    }
}
