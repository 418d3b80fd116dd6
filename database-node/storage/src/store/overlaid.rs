//! A snapshot with changes over it that are in memory only.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use pliantdb_core::Order;

use super::{Batch, Change, Cursor, KeyRange, Snapshot, StoreError};

/// Changes of single keys; `None` removes one.
#[derive(Default)]
pub(crate) struct Overlay(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Overlay {
    /// What a batch puts and deletes. It must not delete ranges.
    pub(crate) fn of(batch: &Batch) -> Self {
        let mut changes = BTreeMap::new();
        for change in batch.changes() {
            match change {
                Change::Put(key, value) => drop(changes.insert(key.to_vec(), Some(value.to_vec()))),
                Change::Delete(key) => drop(changes.insert(key.to_vec(), None)),
                Change::DeleteRange(..) => {}
            }
        }
        Self(changes)
    }
}

/// What a snapshot would be if the changes of an [`Overlay`] had been made.
pub(crate) struct Overlaid<'s, S> {
    pub(crate) below: &'s S,
    pub(crate) above: &'s Overlay,
}

impl<S: Snapshot> Snapshot for Overlaid<'_, S> {
    type Cursor<'a>
        = OverlaidCursor<'a, S::Cursor<'a>>
    where
        Self: 'a;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        match self.above.0.get(key) {
            Some(changed) => Ok(changed.as_deref().map(read)),
            None => self.below.get(key, read),
        }
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<Self::Cursor<'_>, StoreError> {
        let above = match range.is_empty() {
            // A range of a map must not end before it starts.
            true => btree_map::Range::default(),
            false => {
                let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                self.above
                    .0
                    .range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
            }
        };
        let mut cursor = OverlaidCursor {
            below: self.below.scan(range, order)?,
            above,
            next: None,
            order,
            at: At::Below,
        };
        cursor.next_above();
        cursor.settle()?;
        Ok(cursor)
    }
}

/// A position in an [`Overlaid`] snapshot.
pub(crate) struct OverlaidCursor<'a, C> {
    below: C,
    above: btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>,
    /// The next change that was not passed yet.
    next: Option<(&'a [u8], Option<&'a [u8]>)>,
    order: Order,
    at: At,
}

/// Where the entry is that a cursor is at.
enum At {
    Below,
    Above,
}

impl<C: Cursor> OverlaidCursor<'_, C> {
    fn next_above(&mut self) {
        let next = match self.order {
            Order::Ascending => self.above.next(),
            Order::Descending => self.above.next_back(),
        };
        self.next = next.map(|(key, value)| (key.as_slice(), value.as_deref()));
    }

    /// Goes on to the first entry from here that is there.
    fn settle(&mut self) -> Result<(), StoreError> {
        while let Some((key, value)) = self.next {
            let ordering = self.below.entry().map_or(Ordering::Greater, |(below, _)| {
                let ordering = below.cmp(key);
                match self.order {
                    Order::Ascending => ordering,
                    Order::Descending => ordering.reverse(),
                }
            });
            match ordering {
                Ordering::Less => break,
                // Changed.
                Ordering::Equal => self.below.advance()?,
                Ordering::Greater if value.is_some() => {
                    self.at = At::Above;
                    return Ok(());
                }
                Ordering::Greater => self.next_above(),
            }
        }
        self.at = At::Below;
        Ok(())
    }
}

impl<C: Cursor> Cursor for OverlaidCursor<'_, C> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        match self.at {
            At::Below => self.below.entry(),
            At::Above => self.next.and_then(|(key, value)| Some((key, value?))),
        }
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        match self.at {
            At::Below => self.below.advance()?,
            At::Above => self.next_above(),
        }
        self.settle()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Durability, MemoryStore, OrderedStore};

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0..4u8, 0..3)
    }

    fn changes() -> impl Strategy<Value = Batch> {
        let change = (key(), prop::option::of(any::<u8>()));
        prop::collection::vec(change, 0..20).prop_map(|changes| {
            let mut batch = Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.put(key, [value]),
                    None => batch.delete(key),
                }
            }
            batch
        })
    }

    fn entries(snapshot: &impl Snapshot, range: &KeyRange, order: Order) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cursor = snapshot.scan(range.clone(), order).unwrap();
        let mut entries = Vec::new();
        while let Some((key, value)) = cursor.entry() {
            entries.push((key.to_vec(), value.to_vec()));
            cursor.advance().unwrap();
        }
        entries
    }

    proptest! {
        #[test]
        fn is_as_if_the_changes_were_made(
            before in changes(), over in changes(), start in key(), end in prop::option::of(key()),
        ) {
            let store = MemoryStore::default();
            store.write(&before, Durability::Buffered).unwrap();
            let made = MemoryStore::default();
            for batch in [&before, &over] {
                made.write(batch, Durability::Buffered).unwrap();
            }
            let (below, above) = (store.snapshot(), Overlay::of(&over));
            let overlaid = Overlaid { below: &below, above: &above };
            let range = KeyRange { start, end };
            for order in [Order::Ascending, Order::Descending] {
                prop_assert_eq!(entries(&overlaid, &range, order), entries(&made.snapshot(), &range, order));
            }
            let get = |key: &[u8]| overlaid.get(key, <[u8]>::to_vec).unwrap();
            prop_assert_eq!(get(&range.start), made.get(&range.start, <[u8]>::to_vec).unwrap());
        }
    }
}
