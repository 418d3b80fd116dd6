//! The layouts that are compared: what one write puts where.

use pliantdb_core::SlotCount;
use pliantdb_storage::store::{Batch, KeyRange};

/// What of a key lies before the collection: database, slot and space.
const DATABASE: [u8; 4] = [0, 0, 0, 1];
const DOCUMENTS: u8 = 1;
const CHANGES: u8 = 2;
const HISTORY: u8 = 3;
const COLLECTION: &[u8] = b"documents\0";

/// Where the record goes that a write replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// It is lost.
    None,
    /// `… HISTORY | collection 00 id 00 | timestamp of the replacing write`
    OwnSpace,
    /// `… DOCUMENTS | collection 00 id 00 | timestamp of the replacing write`
    Inline,
    /// Into the entry of the change log, which is ordered by time.
    InChangeLog,
    /// `… HISTORY | timestamp of the replacing write | collection 00 id`
    ByTime,
}

impl History {
    /// Whether a before-image is found only through the revision that replaced it.
    pub fn is_chained(self) -> bool {
        matches!(self, Self::InChangeLog | Self::ByTime)
    }
}

/// One way of laying out a database.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub name: &'static str,
    /// `None`: keys begin with the collection, without database, slot and space.
    pub slots: Option<u16>,
    /// Whether each write also puts `… CHANGES | timestamp | sequence` → collection, id, kind.
    pub change_log: bool,
    pub history: History,
}

const fn slots(name: &'static str, slots: u16) -> Layout {
    Layout {
        name,
        slots: Some(slots),
        change_log: false,
        history: History::None,
    }
}

const fn with_history(name: &'static str, history: History) -> Layout {
    Layout {
        name,
        slots: Some(16),
        change_log: true,
        history,
    }
}

pub const PLAIN: Layout = Layout {
    name: "plain",
    slots: None,
    change_log: false,
    history: History::None,
};
pub const SLOTS_1: Layout = slots("slots-1", 1);
pub const SLOTS_16: Layout = slots("slots-16", 16);
pub const SLOTS_256: Layout = slots("slots-256", 256);
pub const SLOTS_4096: Layout = slots("slots-4096", 4096);
pub const CHANGE_LOG: Layout = with_history("change-log", History::None);
pub const OWN_SPACE: Layout = with_history("history-own-space", History::OwnSpace);
pub const INLINE: Layout = with_history("history-inline", History::Inline);
pub const IN_CHANGE_LOG: Layout = with_history("history-in-log", History::InChangeLog);

pub const BY_TIME: Layout = with_history("history-by-time", History::ByTime);

/// The id of the `number`th document: text whose order is not the order of numbers.
pub fn id(number: u64) -> [u8; 16] {
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::array::from_fn(|at| b"0123456789abcdef"[(scattered >> (60 - 4 * at)) as usize & 15])
}

/// A body of 256 bytes, different for every document and revision.
pub fn body(number: u64, revision: u64) -> [u8; 256] {
    let mut state = number ^ revision.rotate_left(32);
    let mut body = [0; 256];
    for eight in body.chunks_exact_mut(8) {
        let bits = next_random(&mut state);
        for (at, byte) in eight.iter_mut().enumerate() {
            *byte = b'a' + (bits >> (8 * at)) as u8 % 26;
        }
    }
    body
}

/// SplitMix64.
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A record as the engine writes it: version, revision, body.
fn record(revision: u64, body: &[u8]) -> Vec<u8> {
    [&[1], &revision.to_be_bytes()[..], body].concat()
}

/// The revision in a record.
pub fn revision(record: &[u8]) -> u64 {
    record[1..9].try_into().map_or(0, u64::from_be_bytes)
}

impl Layout {
    fn slot_of(self, id: &[u8]) -> u16 {
        match self.slots.map(SlotCount::try_from) {
            Some(Ok(count)) => count.slot_of(id).get(),
            _ => 0,
        }
    }

    /// The slots, or the one place where everything lies.
    pub fn places(self) -> impl Iterator<Item = u16> {
        0..self.slots.unwrap_or(1)
    }

    fn prefix(self, slot: u16, space: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        if self.slots.is_some() {
            key.extend_from_slice(&DATABASE);
            key.extend_from_slice(&slot.to_be_bytes());
            key.push(space);
        }
        key
    }

    /// What the keys of the collection's documents in a slot begin with.
    pub fn documents(self, slot: u16) -> Vec<u8> {
        let mut key = self.prefix(slot, DOCUMENTS);
        key.extend_from_slice(COLLECTION);
        key
    }

    /// What the keys of the collection's before-images in a slot begin with.
    pub fn histories(self, slot: u16) -> Vec<u8> {
        let space = if self.history == History::Inline {
            DOCUMENTS
        } else {
            HISTORY
        };
        let mut key = self.prefix(slot, space);
        key.extend_from_slice(COLLECTION);
        key
    }

    /// The whole change log of a slot.
    pub fn changes(self, slot: u16) -> KeyRange {
        KeyRange::prefixed(&self.prefix(slot, CHANGES))
    }

    /// What in a slot is ordered by time, and so collected by range.
    pub fn ordered_by_time(self, slot: u16) -> KeyRange {
        let mut range = self.changes(slot);
        if self.history == History::ByTime {
            range.end = KeyRange::prefixed(&self.prefix(slot, HISTORY)).end;
        }
        range
    }

    pub fn document_key(self, id: &[u8]) -> Vec<u8> {
        let mut key = self.documents(self.slot_of(id));
        key.extend_from_slice(id);
        key
    }

    /// The key of the before-image that a write at `timestamp` leaves. Not inverted: the image that was valid at T is
    /// the first whose timestamp is greater than T.
    pub fn history_key(self, id: &[u8], timestamp: u64) -> Vec<u8> {
        let mut key = self.histories(self.slot_of(id));
        key.extend_from_slice(id);
        key.push(0);
        key.extend_from_slice(&timestamp.to_be_bytes());
        key
    }

    pub fn change_key(self, id: &[u8], timestamp: u64) -> Vec<u8> {
        let mut key = self.prefix(self.slot_of(id), CHANGES);
        key.extend_from_slice(&timestamp.to_be_bytes());
        key.extend_from_slice(&0u32.to_be_bytes());
        key
    }

    /// The same, ordered by time.
    pub fn history_key_by_time(self, id: &[u8], timestamp: u64) -> Vec<u8> {
        let mut key = self.prefix(self.slot_of(id), HISTORY);
        key.extend_from_slice(&timestamp.to_be_bytes());
        key.extend_from_slice(COLLECTION);
        key.extend_from_slice(id);
        key
    }

    /// Adds what one write changes; `before` is the record that it replaces.
    pub fn write(self, batch: &mut Batch, id: &[u8], timestamp: u64, body: &[u8], before: Option<&[u8]>) {
        batch.put(self.document_key(id), record(timestamp, body));
        if self.change_log {
            let kind = [u8::from(before.is_some())];
            let mut entry = [&kind, COLLECTION, id, &[0]].concat();
            if self.history == History::InChangeLog {
                entry.extend_from_slice(before.unwrap_or_default());
            }
            batch.put(self.change_key(id, timestamp), entry);
        }
        match (self.history, before) {
            (History::OwnSpace | History::Inline, Some(before)) => {
                batch.put(self.history_key(id, timestamp), before);
            }
            (History::ByTime, Some(before)) => batch.put(self.history_key_by_time(id, timestamp), before),
            _ => {}
        }
    }
}

/// The id in an entry of the change log, and the before-image if it has one.
pub fn split_change(entry: &[u8]) -> (&[u8], &[u8]) {
    let rest = &entry[1 + COLLECTION.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    (&rest[..end], rest.get(end + 1..).unwrap_or_default())
}
