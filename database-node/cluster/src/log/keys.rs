//! How the keys of a node's log are laid out. Stored data depends on every line of it.
//!
//! ```text
//! 1 | group u64 | index u64     an entry of a group's log
//! 2 | group u64                 the record of a group's log: its replica, votes, where the log begins
//! 3                             the identity of the node
//! 4                             the meta group's checkpoint: all that it knows as of an entry
//! 5 | group u64                 the last replica of a group that was removed here
//! ```
//! Numbers are big-endian, so the entries of a group are one range, in their order.

use pliantdb_core::GroupId;
use pliantdb_storage::store::KeyRange;

const ENTRIES: u8 = 1;
const RECORDS: u8 = 2;

const REMOVED: u8 = 5;

/// Where it is noted which replica of a group was removed.
pub(crate) fn removed(group: GroupId) -> [u8; 9] {
    let mut key = [REMOVED; 9];
    key[1..].copy_from_slice(&group.get().to_be_bytes());
    key
}

/// Where the identity of the node lies.
pub(crate) const IDENTITY: [u8; 1] = [3];

/// Where the meta group's checkpoint lies.
pub(crate) const CHECKPOINT: [u8; 1] = [4];

/// Where an entry lies.
pub(crate) fn entry(group: GroupId, index: u64) -> [u8; 17] {
    let mut key = [ENTRIES; 17];
    key[1..9].copy_from_slice(&group.get().to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Where the entries from one index up to, not including, another lie.
pub(crate) fn entries(group: GroupId, from: u64, to: u64) -> KeyRange {
    KeyRange {
        start: entry(group, from).to_vec(),
        end: Some(entry(group, to).to_vec()),
    }
}

/// Where all entries of a group lie.
pub(crate) fn all_entries(group: GroupId) -> KeyRange {
    KeyRange::prefixed(&entry(group, 0)[..9])
}

/// The index in the key of an entry.
pub(crate) fn index_of(key: &[u8]) -> Option<u64> {
    let bytes = key.get(9..17)?;
    (key.len() == 17).then_some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Where the record of a group lies.
pub(crate) fn record(group: GroupId) -> [u8; 9] {
    let mut key = [RECORDS; 9];
    key[1..].copy_from_slice(&group.get().to_be_bytes());
    key
}

/// Where the records of all groups lie.
pub(crate) fn records() -> KeyRange {
    KeyRange::prefixed(&[RECORDS])
}

/// The group in the key of a record.
pub(crate) fn group_of(key: &[u8]) -> Option<GroupId> {
    let bytes = key.get(1..)?.try_into().ok()?;
    Some(GroupId::new(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_as_they_always_were() {
        let group = GroupId::new(0x0102);
        assert_eq!(
            entry(group, 3),
            [1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
        );
        assert_eq!(record(group), [2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((IDENTITY, CHECKPOINT), ([3], [4]));
        assert_eq!(index_of(&entry(group, 7)), Some(7));
        assert_eq!(group_of(&record(group)), Some(group));
        let range = entries(group, 2, 5);
        let lies_in = |index| {
            let key = entry(group, index).to_vec();
            key >= range.start && range.end.as_ref().is_some_and(|end| key < *end)
        };
        assert!(!lies_in(1) && lies_in(2) && lies_in(4) && !lies_in(5));
    }
}
