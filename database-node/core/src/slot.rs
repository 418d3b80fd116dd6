//! Slots: the fixed pieces a database is cut into, ranges of which are shards.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The most slots a database can have.
pub const MAX_SLOTS: u16 = 4096;

/// A number of slots that a database cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a database cannot have {value} slots; choose 1 to {MAX_SLOTS}")]
pub struct InvalidSlotCount {
    /// The number.
    pub value: u16,
}

/// Into how many slots a database is cut: 1 to 4,096, fixed when it is created. 16 by default.
///
/// ```
/// use pliantdb_core::SlotCount;
///
/// let slots = SlotCount::try_from(4).unwrap();
/// assert_eq!(slots.slot_of(b"order-1"), slots.slot_of(b"order-1"));
/// assert_eq!(slots.slots().count(), 4);
/// assert!(SlotCount::try_from(0).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct SlotCount(u16);

impl SlotCount {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The slot of everything with this shard key: `xxh3_64(shard key) mod count`, seed 0.
    ///
    /// Stored keys depend on it; it never changes.
    #[must_use]
    pub fn slot_of(self, shard_key: &[u8]) -> Slot {
        let slot = xxh3_64(shard_key) % u64::from(self.0);
        // The remainder is below the count, which is a u16.
        Slot(u16::try_from(slot).unwrap_or(u16::MAX))
    }

    /// Every slot, in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..self.0).map(Slot)
    }
}

impl Default for SlotCount {
    fn default() -> Self {
        Self(16)
    }
}

impl TryFrom<u16> for SlotCount {
    type Error = InvalidSlotCount;

    fn try_from(value: u16) -> Result<Self, InvalidSlotCount> {
        if (1..=MAX_SLOTS).contains(&value) {
            Ok(Self(value))
        } else {
            Err(InvalidSlotCount { value })
        }
    }
}

/// One slot of a database, numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// No slot of any database: where a node keeps what it makes of all its slots, for itself alone.
    pub const LOCAL: Self = Self(u16::MAX);

    /// The number, from 0.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SLOTS, Slot, SlotCount};

    #[test]
    fn has_bounds() {
        assert!(SlotCount::try_from(0).is_err());
        assert!(SlotCount::try_from(MAX_SLOTS + 1).is_err());
        let most = SlotCount::try_from(MAX_SLOTS).unwrap();
        assert_eq!(most.slots().count(), 4096);
        assert!(most.slots().all(|slot| slot < Slot::LOCAL));
    }

    /// Fixed for ever: data on disk lies where these say.
    #[test]
    fn assigns_the_slots_it_always_did() {
        let sixteen = SlotCount::default();
        let most = SlotCount::try_from(MAX_SLOTS).unwrap();
        let seven = SlotCount::try_from(7).unwrap();
        let vectors = [
            "",
            "a",
            "order-1",
            "Grüße",
            "018f2a4c-1d30-7000-8000-000000000000",
        ]
        .map(|key: &str| {
            let key = key.as_bytes();
            (
                sixteen.slot_of(key).get(),
                most.slot_of(key).get(),
                seven.slot_of(key).get(),
            )
        });
        assert_eq!(
            vectors,
            [
                (2, 1218, 4),
                (15, 3615, 1),
                (6, 2166, 6),
                (8, 2008, 1),
                (2, 930, 2)
            ]
        );
    }
}
