//! Reading what lies in many slots in one order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use pliantdb_core::Order;

use crate::store::{Cursor, KeyRange, Snapshot, StoreError};

/// A cursor that waits at a larger value than this is closed and opened again, for it holds the value in memory.
const HELD_VALUE: usize = 64 * 1024;
/// So many cursors wait open at most; each holds a block.
const HELD_CURSORS: usize = 64;

/// A key without its base, and the value.
pub(crate) type Entry<'m> = (&'m [u8], &'m [u8]);

/// A scan of several ranges of keys at once, ordered by what follows the beginning that each range's keys have in
/// common, its base.
///
/// Each range is ordered, so the next key is always at the front of one of them: a k-way merge with a heap of the
/// fronts. One large value at a time is in memory.
pub(crate) struct Merged<'s, S: Snapshot + 's> {
    snapshot: &'s S,
    sources: Vec<Source<S::Cursor<'s>>>,
    fronts: BinaryHeap<Front>,
    order: Order,
    held: usize,
}

struct Source<C> {
    base: Vec<u8>,
    /// The part of the range that is not read yet is up to here, in the order of the scan.
    range: KeyRange,
    /// `None` while it is closed.
    cursor: Option<C>,
}

/// The next key of a source, without its base.
struct Front {
    key: Vec<u8>,
    source: usize,
    order: Order,
}

impl<'s, S: Snapshot> Merged<'s, S> {
    /// Scans `of(base)` for each base.
    pub(crate) fn scan(
        snapshot: &'s S,
        bases: impl Iterator<Item = Vec<u8>>,
        of: impl Fn(&[u8]) -> KeyRange,
        order: Order,
    ) -> Result<Self, StoreError> {
        let mut merged = Self {
            snapshot,
            sources: Vec::new(),
            fronts: BinaryHeap::new(),
            order,
            held: 0,
        };
        for base in bases {
            let range = of(&base);
            let cursor = snapshot.scan(range.clone(), order)?;
            let Some((key, value)) = cursor.entry() else {
                continue;
            };
            merged.fronts.push(Front {
                key: key.get(base.len()..).unwrap_or_default().to_vec(),
                source: merged.sources.len(),
                order,
            });
            let is_held = value.len() <= HELD_VALUE && merged.held < HELD_CURSORS;
            merged.held += usize::from(is_held);
            merged.sources.push(Source {
                base,
                range,
                cursor: is_held.then_some(cursor),
            });
        }
        Ok(merged)
    }

    /// The key here without its base, and the value; `None` past the end.
    pub(crate) fn entry(&mut self) -> Result<Option<Entry<'_>>, StoreError> {
        let Some(front) = self.fronts.peek() else {
            return Ok(None);
        };
        let Some(source) = self.sources.get_mut(front.source) else {
            return Ok(None);
        };
        if source.cursor.is_none() {
            let mut rest = source.range.clone();
            match self.order {
                Order::Ascending => rest.start = [source.base.as_slice(), &front.key].concat(),
                // The first key behind this one is the same with a zero byte added.
                Order::Descending => rest.end = Some([source.base.as_slice(), &front.key, &[0]].concat()),
            }
            source.cursor = Some(self.snapshot.scan(rest, self.order)?);
            self.held += 1;
        }
        let value = source
            .cursor
            .as_ref()
            .and_then(Cursor::entry)
            .map(|(_, value)| value);
        Ok(value.map(|value| (front.key.as_slice(), value)))
    }

    /// Goes to the next key.
    pub(crate) fn advance(&mut self) -> Result<(), StoreError> {
        // The cursor at the front is open.
        self.entry()?;
        let Some(mut front) = self.fronts.peek_mut() else {
            return Ok(());
        };
        let Some(Source { base, cursor, .. }) = self.sources.get_mut(front.source) else {
            return Ok(());
        };
        let mut is_held = false;
        if let Some(open) = cursor {
            open.advance()?;
            match open.entry() {
                Some((key, value)) => {
                    front.key.clear();
                    front
                        .key
                        .extend_from_slice(key.get(base.len()..).unwrap_or_default());
                    is_held = value.len() <= HELD_VALUE && self.held <= HELD_CURSORS;
                    drop(front);
                }
                None => {
                    PeekMut::pop(front);
                }
            }
        }
        if !is_held {
            *cursor = None;
            self.held -= 1;
        }
        Ok(())
    }
}

impl Ord for Front {
    /// The heap gives the greatest, so the first key is the greatest when ascending.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = match self.order {
            Order::Ascending => other.key.cmp(&self.key),
            Order::Descending => self.key.cmp(&other.key),
        };
        by_key.then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Front {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Front {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Front {}
