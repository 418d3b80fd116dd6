//! Which slots of a database are meant.

use pliantdb_core::{Rejection, Slot};

use crate::catalog::DatabaseEntry;
use crate::store::KeyRange;

/// Slots of a database that lie beside each other: all of them, or those of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) database: DatabaseEntry,
    first: u16,
    end: u16,
}

impl From<DatabaseEntry> for Extent {
    fn from(database: DatabaseEntry) -> Self {
        Self::of(database, 0, database.slots.get())
    }
}

impl Extent {
    /// The slots from `first` up to, not including, `end`.
    pub(crate) fn of(database: DatabaseEntry, first: u16, end: u16) -> Self {
        Self { database, first, end }
    }

    /// The slots, in order.
    pub(crate) fn slots(self) -> impl Iterator<Item = Slot> {
        let all = self.database.slots.slots().take(self.end.into());
        all.skip(self.first.into())
    }

    /// Every key in these slots.
    pub(crate) fn keys(self) -> KeyRange {
        let id = self.database.id.get().to_be_bytes();
        let bound = |slot: u16| [&id[..], &slot.to_be_bytes()].concat();
        KeyRange {
            start: bound(self.first),
            end: Some(bound(self.end)),
        }
    }

    /// Whether they have a slot in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.database.id == other.database.id && self.first < other.end && other.first < self.end
    }

    /// Refuses a key of the database that lies in another slot.
    pub(crate) fn check(self, key: &[u8]) -> Result<(), Rejection> {
        let slot = key.get(4..).and_then(<[u8]>::first_chunk);
        self.check_slot(slot.map_or(u16::MAX, |slot| u16::from_be_bytes(*slot)))
    }

    /// Refuses another slot.
    pub(crate) fn check_slot(self, slot: u16) -> Result<(), Rejection> {
        match (self.first..self.end).contains(&slot) {
            true => Ok(()),
            false => Err(Rejection::WrongShard {
                slot,
                first_slot: self.first,
                end_slot: self.end,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use pliantdb_core::SlotCount;

    use super::*;
    use crate::catalog::DatabaseId;
    use crate::keys;

    #[test]
    fn has_its_slots_and_their_keys_only() {
        let database = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        };
        let part = Extent::of(database, 3, 5);
        assert_eq!(part.slots().map(Slot::get).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(Extent::from(database).slots().count(), 16);
        let range = part.keys();
        for slot in database.slots.slots().chain([Slot::LOCAL]) {
            let key = keys::space(database.id, slot, keys::Space::Documents, 0);
            let is_in = range.start <= key && range.end.as_ref().is_some_and(|end| key < *end);
            assert_eq!(is_in, matches!(slot.get(), 3 | 4));
            assert_eq!(part.check(&key).is_ok(), is_in);
        }
    }
}
