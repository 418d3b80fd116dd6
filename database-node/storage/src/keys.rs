//! How keys are laid out. Stored data depends on every line of it.
//!
//! ```text
//! database id   u32, big-endian     0 for the meta range
//! slot          u16, big-endian
//! space         u8                  what kind of thing: 1 = documents
//! collection    ASCII, then 0x00    a name never holds a zero byte
//! document id   UTF-8, to the end
//!
//! 0 | 1                             the applied record
//! 0 | 2 | name                      a database
//! ```
//! So a database, a range of its slots (a shard), and a collection in a slot are each one range of keys.

use pliantdb_core::{CollectionName, DatabaseName, DocumentId, Slot};

use crate::catalog::{DatabaseEntry, DatabaseId};

/// The space of documents.
const DOCUMENTS: u8 = 1;

/// Where the applied record lies.
pub(crate) const APPLIED: [u8; 5] = [0, 0, 0, 0, 1];

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
