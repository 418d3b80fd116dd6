//! How keys are laid out. Stored data depends on every line of it.
//!
//! ```text
//! database id   u32, big-endian     0 for the meta range
//! slot          u16, big-endian
//! space         u8                  what kind of thing: 1 = documents
//! collection    ASCII, then 0x00    a name never holds a zero byte
//! document id   UTF-8, to the end, without control characters
//!
//! 0 | 1                             the applied record of the embedded database
//! 0 | 2 | name                      a database
//! 0 | 3 | group                     reserved: the applied record of a group (a shard's log)
//! 0 | 4 | database id | key id      a data key, wrapped (u32 and u16, big-endian); only the encrypting store sees it
//! ```
//! An id in text never holds a byte below 0x20. So these are free, for ever:
//! - A first byte below 0x20 of an id is a tag that says of which other kind it is (numbers, tuples…). Each kind must
//!   be encoded such that it ends by itself.
//! - A 0x00 after an id begins a suffix with a version: the before-images of a document lie right behind it and
//!   before every other id, also before those that begin with its own.
//!
//! So a database, a range of its slots (a shard), and a collection in a slot are each one range of keys.

use pliantdb_core::{CollectionName, DatabaseName, DocumentId, Slot};

use crate::catalog::{DatabaseEntry, DatabaseId};

/// The space of documents.
pub(crate) const DOCUMENTS: u8 = 1;

/// Where the applied record lies.
pub(crate) const APPLIED: [u8; 5] = [0, 0, 0, 0, 1];

/// What the key of the applied record of a group begins with; nothing has one yet.
#[allow(dead_code, reason = "reserved, and tested so that nothing else takes it")]
pub(crate) const GROUPS_APPLIED: [u8; 5] = [0, 0, 0, 0, 3];

/// What the key of every wrapped data key begins with.
pub(crate) const DATA_KEYS: [u8; 5] = [0, 0, 0, 0, 4];

/// What the key of every database record begins with.
pub(crate) const DATABASES: [u8; 5] = [0, 0, 0, 0, 2];

/// The key of a database record.
pub(crate) fn database(name: &DatabaseName) -> Vec<u8> {
    [&DATABASES, name.as_str().as_bytes()].concat()
}

/// What the key of every document of a collection in one slot begins with.
pub(crate) fn collection(database: DatabaseId, slot: Slot, collection: &CollectionName) -> Vec<u8> {
    let name = collection.as_str().as_bytes();
    let mut key = Vec::with_capacity(8 + name.len());
    key.extend_from_slice(&database.get().to_be_bytes());
    key.extend_from_slice(&slot.get().to_be_bytes());
    key.push(DOCUMENTS);
    key.extend_from_slice(name);
    key.push(0);
    key
}

/// The key of a document. Its shard key, which picks the slot, is its id.
pub(crate) fn document(database: DatabaseEntry, in_collection: &CollectionName, id: &DocumentId) -> Vec<u8> {
    let slot = database.slots.slot_of(id.as_str().as_bytes());
    let mut key = collection(database.id, slot, in_collection);
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use pliantdb_core::{CollectionName, SlotCount};
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = CollectionName> {
        "[A-Za-z0-9][A-Za-z0-9._-]{0,62}".prop_map(|name| name.parse().unwrap())
    }

    fn id() -> impl Strategy<Value = DocumentId> {
        "\\PC{1,20}".prop_filter_map("dots", |id| id.parse().ok())
    }

    #[test]
    fn is_what_it_always_was() {
        let entry = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        };
        let key = document(entry, &"orders".parse().unwrap(), &"order-1".parse().unwrap());
        assert_eq!(key, b"\0\0\0\x01\0\x06\x01orders\0order-1");
        assert_eq!(
            database(&DatabaseName::default_database()),
            b"\0\0\0\0\x02default"
        );
    }

    #[test]
    fn leaves_room_for_other_ids_and_for_versions() {
        let entry = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::try_from(1).unwrap(),
        };
        let orders = "orders".parse().unwrap();
        let key = |id: &str| document(entry, &orders, &id.parse().unwrap());
        let base = b"\0\0\0\x01\0\0\x01orders\0";
        // The tags of other kinds lie before all text, the first of which is a space.
        assert_eq!(key(" "), [&base[..], b" "].concat());
        assert!([&base[..], b"\x1f\xff\xff"].concat() < key(" "));
        for byte in 0..0x20u8 {
            for id in [vec![byte], vec![b'a', byte], vec![byte, b'a']] {
                let id = String::from_utf8(id).unwrap();
                assert!(id.parse::<DocumentId>().is_err(), "{byte:#x} is not for text");
            }
        }
        // A version of "a" lies between "a" and every id that begins with it.
        let version = [&base[..], b"a\0\xff\xff\xff\xff\xff\xff\xff\xff"].concat();
        assert!(key("a") < version && version < key("a ") && key("a ") < key("aa"));
        assert_eq!(APPLIED, *b"\0\0\0\0\x01");
        assert_eq!(GROUPS_APPLIED, *b"\0\0\0\0\x03");
    }

    proptest! {
        #[test]
        fn sorts_by_database_slot_collection_and_id_and_gives_the_id_back(
            a in (1..9u32, name(), id()), b in (1..9u32, name(), id()), slots in 1..5u16,
        ) {
            let slots = SlotCount::try_from(slots).unwrap();
            let parts = |(database, name, id): &(u32, CollectionName, DocumentId)| {
                (*database, slots.slot_of(id.as_str().as_bytes()), name.clone(), id.clone())
            };
            let key = |(id, name, document_id): &(u32, CollectionName, DocumentId)| {
                let entry = DatabaseEntry { id: DatabaseId::from(*id), slots };
                document(entry, name, document_id)
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), parts(&a).cmp(&parts(&b)));
            let (database, slot, name, id) = parts(&a);
            let prefix = collection(DatabaseId::from(database), slot, &name);
            let whole = key(&a);
            prop_assert_eq!(whole.strip_prefix(prefix.as_slice()), Some(id.as_str().as_bytes()));
        }
    }
}
