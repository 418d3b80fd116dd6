//! The entries of a view, in order.

use pliantdb_core::{Order, Slot};

use super::Readable;
use crate::keys::{self, Space};
use crate::merge::Merged;
use crate::store::{Cursor, KeyRange, Snapshot, StoreError};

/// An entry as it lies in its slot, and its value.
type Entry<'e> = (&'e [u8], &'e [u8]);

/// The entries of a view in a range, in one order.
pub(super) enum Entries<'s, S: Snapshot + 's> {
    /// Of one slot: how long what its keys have in common is, and where it is.
    Slot(usize, S::Cursor<'s>),
    /// Of several slots.
    Slots(Merged<'s, S>),
}

impl<'s, S: Snapshot> Entries<'s, S> {
    /// Reads the entries from `start`, inclusive, to `end`, exclusive.
    pub(super) fn scan(
        snapshot: &'s S,
        view: &Readable,
        mut slots: impl Iterator<Item = Slot>,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
    ) -> Result<Self, StoreError> {
        let base = |slot| keys::view(view.database.id, slot, Space::Entries, view.id, 0);
        let of = |base: &[u8]| {
            let mut range = KeyRange::prefixed(base);
            range.start.extend_from_slice(start);
            if let Some(end) = end {
                range.end = Some([base, end].concat());
            }
            range
        };
        match (slots.next(), slots.next()) {
            (Some(only), None) => {
                let base = base(only);
                Ok(Self::Slot(base.len(), snapshot.scan(of(&base), order)?))
            }
            (first, second) => {
                let bases = first.into_iter().chain(second).chain(slots).map(base);
                Ok(Self::Slots(Merged::scan(snapshot, bases, of, order)?))
            }
        }
    }

    /// The entry here, or `None` past the end.
    pub(super) fn entry(&mut self) -> Result<Option<Entry<'_>>, StoreError> {
        match self {
            Self::Slot(base, cursor) => Ok(cursor
                .entry()
                .map(|(key, value)| (key.get(*base..).unwrap_or_default(), value))),
            Self::Slots(merged) => merged.entry(),
        }
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Slot(_, cursor) => cursor.advance(),
            Self::Slots(merged) => merged.advance(),
        }
    }
}
