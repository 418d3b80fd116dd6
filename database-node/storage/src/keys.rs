//! How keys are laid out. Stored data depends on every line of it.
//!
//! ```text
//! database id   u32, big-endian     0 for the meta range
//! slot          u16, big-endian     65,535, which no database has, for what is local to the node
//! space         u8                  what kind of thing:
//!
//!   1 documents   collection 00 id
//!   2 changes     commit timestamp u64 | number in the transaction u32
//!   3 history     reserved for before-images
//!   4 entries     view u32 | key | id, and for the n-th of the same key and id: 00 | n u16
//!   5 emitted     view u32 | id                          which keys a document has in a view
//!   6 owners      view u32 | key                         which document has a key of a unique view
//!   7 partials    view u32 | level u8 | first entry      reduced values of runs of entries; local, can be made anew
//!   8 stale       view u32 | timestamp u64 | entry       entries that partials do not count yet; local
//!   9 values      namespace 00 key                       the key-value store
//!  10 expiries    milliseconds u64 | namespace 00 key    when its values expire
//!  11 requests    request id (16 bytes)                 what came of a write, so that it is made once
//!
//! 0 | 1                             the applied record of the embedded database
//! 0 | 2 | name                      a database
//! 0 | 3 | group u64 | kind u8        a record of a consensus group: 1 its shard, 2 what its part of the database is made
//!                                   of, 3 how far it has applied its log, 4 that a snapshot is being installed,
//!                                   5 which snapshot is being received, 6 | number u32 a chunk of that
//! 0 | 4 | database id | key id u16  a data key, wrapped; only the encrypting store sees it
//! 0 | 5 | database id               what a database is made of
//! 0 | 6                             the highest database id ever given
//! 0 | 7 | database id | view u32    how far a lazy view has read the changes; local
//! 0 | 8 | kind u8 | name            an account: 1 a user, 2 a role, 3 an API key
//! ```
//! - Names are ASCII and are ended by a 00. Ids and keys of the key-value store are UTF-8 without control characters, to
//!   the end. Keys of views end by themselves ([`pliantdb_core::Key`]).
//! - A document and what it emits lie in the slot of its id. What it emits to a lazy view lies in the local slot, for all
//!   slots together (`docs/decisions/0007`); until format 2 of the record of how far the view is, it lay in slots too.
//! - A unique key lies in the slot of its bytes, after its view's number; a key-value pair in that of its namespace and
//!   key. Numbers are big-endian.
//! - What came of a write lies in the slot of the first document or key that it names, and goes with it to another shard.
//!   A request id begins with its time.
//! - An id in text never holds a byte below 0x20. So these are free, for ever: a first byte below 0x20 of an id is a tag
//!   that says of which other kind it is, each of which must end by itself; and a 0x00 after an id begins a suffix.
//!
//! So a database, a range of its slots (a shard), and a collection in a slot are each one range of keys.

use pliantdb_core::access::Account;
use pliantdb_core::{
    CollectionName, DatabaseName, DocumentId, GroupId, KeyName, NamespaceName, RequestId, Slot, Timestamp,
    ViewId, WriteAction,
};

use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::store::KeyRange;

/// What kind of thing a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Space {
    Documents = 1,
    Changes = 2,
    Entries = 4,
    Emitted = 5,
    Owners = 6,
    Partials = 7,
    Stale = 8,
    Values = 9,
    Expiries = 10,
    Requests = 11,
}

/// The spaces whose keys begin with a view.
const VIEW_SPACES: [Space; 5] = [
    Space::Entries,
    Space::Emitted,
    Space::Owners,
    Space::Partials,
    Space::Stale,
];

/// Where the applied record lies.
pub(crate) const APPLIED: [u8; 5] = [0, 0, 0, 0, 1];

/// What the key of every database record begins with.
pub(crate) const DATABASES: [u8; 5] = [0, 0, 0, 0, 2];

/// What the keys of all records of groups begin with.
pub(crate) const GROUPS: [u8; 5] = [0, 0, 0, 0, 3];

/// What the key of every wrapped data key begins with.
pub(crate) const DATA_KEYS: [u8; 5] = [0, 0, 0, 0, 4];

/// What the key of every makeup record begins with.
pub(crate) const MAKEUPS: [u8; 5] = [0, 0, 0, 0, 5];

/// Where the highest database id lies.
pub(crate) const LAST_DATABASE: [u8; 5] = [0, 0, 0, 0, 6];

/// What the key of every lazy view's progress begins with.
pub(crate) const LAZY_VIEWS: [u8; 5] = [0, 0, 0, 0, 7];

/// What the key of every account begins with, before its kind and name.
pub(crate) const ACCOUNTS: [u8; 5] = [0, 0, 0, 0, 8];

/// The kind of users.
pub(crate) const USER: u8 = 1;

/// The kind of roles.
pub(crate) const ROLE: u8 = 2;

/// The kind of API keys.
pub(crate) const API_KEY: u8 = 3;

/// What a record of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GroupRecord {
    Shard = 1,
    Makeup = 2,
    Position = 3,
    Installing = 4,
    Staged = 5,
    Chunk = 6,
}

/// What the keys of all records of a group begin with.
pub(crate) fn group(group: GroupId) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&GROUPS);
    key[5..].copy_from_slice(&group.get().to_be_bytes());
    key
}

/// The key of a record of a group, or what the keys of its chunks begin with.
pub(crate) fn group_record(of: GroupId, record: GroupRecord) -> [u8; 14] {
    let mut key = [record as u8; 14];
    key[..13].copy_from_slice(&group(of));
    key
}

/// The key of a chunk of the snapshot that a group is receiving.
pub(crate) fn group_chunk(of: GroupId, number: u32) -> [u8; 18] {
    let mut key = [0; 18];
    key[..14].copy_from_slice(&group_record(of, GroupRecord::Chunk));
    key[14..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The group that a key is a record of; `None` if it is none.
pub(crate) fn group_of(key: &[u8]) -> Option<GroupId> {
    let group = key.strip_prefix(&GROUPS)?.first_chunk()?;
    Some(GroupId::new(u64::from_be_bytes(*group)))
}

/// The key of an account.
pub(crate) fn account(account: &Account) -> Vec<u8> {
    let (kind, name) = match account {
        Account::User(name) => (USER, name.as_str()),
        Account::Role(name) => (ROLE, name.as_str()),
        Account::ApiKey(name) => (API_KEY, name.as_str()),
    };
    [&ACCOUNTS[..], &[kind], name.as_bytes()].concat()
}

/// The key of a database record.
pub(crate) fn database(name: &DatabaseName) -> Vec<u8> {
    [&DATABASES, name.as_str().as_bytes()].concat()
}

/// The key of what a database is made of.
pub(crate) fn makeup(database: DatabaseId) -> Vec<u8> {
    [&MAKEUPS[..], &database.get().to_be_bytes()].concat()
}

/// The key of how far a lazy view is.
pub(crate) fn lazy_view(database: DatabaseId, view: ViewId) -> Vec<u8> {
    [
        &LAZY_VIEWS[..],
        &database.get().to_be_bytes(),
        &view.get().to_be_bytes(),
    ]
    .concat()
}

/// The keys of how far the lazy views of a database are.
pub(crate) fn lazy_views(database: DatabaseId) -> KeyRange {
    KeyRange::prefixed(&[&LAZY_VIEWS[..], &database.get().to_be_bytes()].concat())
}

/// All keys of a database but its meta records.
pub(crate) fn everything(database: DatabaseId) -> KeyRange {
    KeyRange::prefixed(&database.get().to_be_bytes())
}

/// All keys of a slot of a database.
pub(crate) fn everything_in(database: DatabaseId, slot: Slot) -> KeyRange {
    KeyRange::prefixed(&[&database.get().to_be_bytes()[..], &slot.get().to_be_bytes()].concat())
}

/// What every key of a space in a slot begins with; `room` is how many bytes are to follow.
pub(crate) fn space(database: DatabaseId, slot: Slot, space: Space, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(7 + room);
    key.extend_from_slice(&database.get().to_be_bytes());
    key.extend_from_slice(&slot.get().to_be_bytes());
    key.push(space as u8);
    key
}

/// What the key of every document of a collection in one slot begins with.
pub(crate) fn collection(
    database: DatabaseId,
    slot: Slot,
    collection: &CollectionName,
    room: usize,
) -> Vec<u8> {
    let name = collection.as_str().as_bytes();
    let mut key = space(database, slot, Space::Documents, name.len() + 1 + room);
    key.extend_from_slice(name);
    key.push(0);
    key
}

/// The slot of a document, and of what it emits. Its shard key, which picks the slot, is its id.
pub(crate) fn slot_of(database: DatabaseEntry, id: &DocumentId) -> Slot {
    database.slots.slot_of(id.as_str().as_bytes())
}

/// The key of a document.
pub(crate) fn document(database: DatabaseEntry, in_collection: &CollectionName, id: &DocumentId) -> Vec<u8> {
    let mut key = collection(
        database.id,
        slot_of(database, id),
        in_collection,
        id.as_str().len(),
    );
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// The key of a change: the `number`-th of the transaction committed at `timestamp`, from 0.
pub(crate) fn change(database: DatabaseId, slot: Slot, timestamp: Timestamp, number: u32) -> [u8; 19] {
    let mut key = [0; 19];
    key[..4].copy_from_slice(&database.get().to_be_bytes());
    key[4..6].copy_from_slice(&slot.get().to_be_bytes());
    key[6] = Space::Changes as u8;
    key[7..15].copy_from_slice(&timestamp.bits().to_be_bytes());
    key[15..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What every key of a view in one of its spaces in a slot begins with.
pub(crate) fn view(database: DatabaseId, slot: Slot, in_space: Space, view: ViewId, room: usize) -> Vec<u8> {
    let mut key = space(database, slot, in_space, 4 + room);
    key.extend_from_slice(&view.get().to_be_bytes());
    key
}

/// All keys of a view in a slot.
pub(crate) fn view_ranges(
    database: DatabaseId,
    slot: Slot,
    of_view: ViewId,
) -> impl Iterator<Item = KeyRange> {
    let prefix = move |space| view(database, slot, space, of_view, 0);
    VIEW_SPACES
        .into_iter()
        .map(move |space| KeyRange::prefixed(&prefix(space)))
}

/// Whether a key in a slot of a database is of what every replica has, and not of what a node makes for itself.
pub(crate) fn is_replicated(key: &[u8]) -> bool {
    let is_local = |space: &u8| *space == Space::Partials as u8 || *space == Space::Stale as u8;
    key.get(6).is_some_and(|space| !is_local(space))
}

/// Which version of a view a key belongs to, of those that are local to a node.
pub(crate) fn view_of(key: &[u8]) -> Option<(DatabaseId, ViewId)> {
    let number = |at: usize| {
        key.get(at..)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
    };
    match key.starts_with(&LAZY_VIEWS) {
        true => Some((
            DatabaseId::from(number(LAZY_VIEWS.len())?),
            ViewId::from(number(LAZY_VIEWS.len() + 4)?),
        )),
        false => Some((DatabaseId::from(number(0)?), ViewId::from(number(7)?))),
    }
}

/// An entry without what comes before it: its key, its document, and a number if the document has emitted the key
/// before.
pub(crate) fn entry(key: &[u8], id: &DocumentId, times_before: u16) -> Vec<u8> {
    let id = id.as_str().as_bytes();
    let mut entry = Vec::with_capacity(key.len() + id.len() + 3);
    entry.extend_from_slice(key);
    entry.extend_from_slice(id);
    if times_before > 0 {
        entry.push(0);
        entry.extend_from_slice(&times_before.to_be_bytes());
    }
    entry
}

/// The key and the document's id of an entry; `None` if it is none.
pub(crate) fn split_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, id) = entry.split_at(pliantdb_core::key::encoded_length(entry)?);
    Some((
        key,
        match id {
            // No id has a zero in it.
            [id @ .., 0, _, _] => id,
            id => id,
        },
    ))
}

/// The key of which document has a key of a unique view.
pub(crate) fn owner(database: DatabaseEntry, of_view: ViewId, key: &[u8]) -> Vec<u8> {
    let slot = database
        .slots
        .slot_of(&[&of_view.get().to_be_bytes(), key].concat());
    let mut owner = view(database.id, slot, Space::Owners, of_view, key.len());
    owner.extend_from_slice(key);
    owner
}

/// A namespace and key of the key-value store, without what comes before them.
pub(crate) fn name_in(namespace: &NamespaceName, key: &str) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[0], key.as_bytes()].concat()
}

/// The key of a value of the key-value store.
pub(crate) fn value(database: DatabaseEntry, namespace: &NamespaceName, key: &KeyName) -> Vec<u8> {
    let name = name_in(namespace, key.as_str());
    let mut value = space(
        database.id,
        database.slots.slot_of(&name),
        Space::Values,
        name.len(),
    );
    value.extend_from_slice(&name);
    value
}

/// The key of when a value expires.
pub(crate) fn expiry(
    database: DatabaseEntry,
    namespace: &NamespaceName,
    key: &KeyName,
    millis: u64,
) -> Vec<u8> {
    let name = name_in(namespace, key.as_str());
    let mut expiry = space(
        database.id,
        database.slots.slot_of(&name),
        Space::Expiries,
        8 + name.len(),
    );
    expiry.extend_from_slice(&millis.to_be_bytes());
    expiry.extend_from_slice(&name);
    expiry
}

/// The key of what came of a write; `None` for a transaction without a change.
pub(crate) fn request(database: DatabaseEntry, id: RequestId, write: &WriteAction) -> Option<Vec<u8>> {
    let slot = match write {
        WriteAction::Transact(changes) => slot_of(database, &changes.first()?.id),
        WriteAction::ChangeKey { namespace, key, .. } => {
            database.slots.slot_of(&name_in(namespace, key.as_str()))
        }
    };
    let mut request = space(database.id, slot, Space::Requests, 16);
    request.extend_from_slice(&id.to_bytes());
    Some(request)
}

/// The keys, in a slot, of what came of the writes that were asked for before a time in milliseconds since the Unix
/// epoch.
pub(crate) fn requests_before(database: DatabaseId, slot: Slot, millis: u64) -> KeyRange {
    let start = space(database, slot, Space::Requests, 0);
    // The first six bytes of an id are its time.
    let [time @ .., _, _] = Timestamp::at_millis(millis).bits().to_be_bytes();
    let end = Some([&start[..], &time].concat());
    KeyRange { start, end }
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
    fn views_changes_and_values_are_where_they_always_were() {
        let entry = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        };
        let (id, slot) = (
            "order-1".parse().unwrap(),
            slot_of(entry, &"order-1".parse().unwrap()),
        );
        let time = Timestamp::from_bits(0x0102);
        assert_eq!(
            change(entry.id, slot, time, 3),
            *b"\0\0\0\x01\0\x06\x02\0\0\0\0\0\0\x01\x02\0\0\0\x03"
        );
        assert_eq!(
            view(entry.id, slot, Space::Entries, ViewId::FIRST, 0),
            b"\0\0\0\x01\0\x06\x04\0\0\0\x01"
        );
        let key = pliantdb_core::Key::encoded(&"a".to_owned());
        assert_eq!(super::entry(&key, &id, 0), b"\x30a\0\x01order-1");
        assert_eq!(super::entry(&key, &id, 2), b"\x30a\0\x01order-1\0\0\x02");
        for times in [0, 2] {
            assert_eq!(
                split_entry(&super::entry(&key, &id, times)),
                Some((key.as_slice(), &b"order-1"[..]))
            );
        }
        let namespace = "n".parse().unwrap();
        assert_eq!(value(entry, &namespace, &"k".parse().unwrap())[6..], *b"\x09n\0k");
        assert_eq!(
            expiry(entry, &namespace, &"k".parse().unwrap(), 5)[6..],
            *b"\x0a\0\0\0\0\0\0\0\x05n\0k"
        );
        assert_eq!(
            owner(entry, ViewId::FIRST, &key)[6..],
            *b"\x06\0\0\0\x01\x30a\0\x01"
        );
        let accounts = [
            (Account::User("ada".parse().unwrap()), b"\0\0\0\0\x08\x01ada"),
            (Account::Role("ada".parse().unwrap()), b"\0\0\0\0\x08\x02ada"),
            (Account::ApiKey("ada".parse().unwrap()), b"\0\0\0\0\x08\x03ada"),
        ];
        for (of, key) in accounts {
            assert_eq!(account(&of), key);
        }
        assert_eq!(makeup(entry.id), b"\0\0\0\0\x05\0\0\0\x01");
        assert_eq!(
            view_of(&lazy_view(entry.id, ViewId::FIRST)),
            Some((entry.id, ViewId::FIRST))
        );
        let key = view(entry.id, slot, Space::Stale, ViewId::FIRST.next(), 0);
        assert_eq!(view_of(&key), Some((entry.id, ViewId::FIRST.next())));
        assert_eq!(
            lazy_view(entry.id, ViewId::FIRST),
            b"\0\0\0\0\x07\0\0\0\x01\0\0\0\x01"
        );
    }

    #[test]
    fn records_of_groups_are_where_they_always_were() {
        let id = GroupId::new(0x0102);
        let base = b"\0\0\0\0\x03\0\0\0\0\0\0\x01\x02";
        assert_eq!(group(id), *base);
        assert_eq!(group_record(id, GroupRecord::Position)[13..], *b"\x03");
        assert_eq!(
            group_chunk(id, 0x0304),
            *[&base[..], b"\x06\0\0\x03\x04"].concat()
        );
        assert_eq!(group_of(&group_chunk(id, 1)), Some(id));
        assert_eq!((group_of(&base[..12]), group_of(&APPLIED)), (None, None));
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
        assert_eq!(GROUPS, *b"\0\0\0\0\x03");
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
            let prefix = collection(DatabaseId::from(database), slot, &name, 0);
            let whole = key(&a);
            prop_assert_eq!(whole.strip_prefix(prefix.as_slice()), Some(id.as_str().as_bytes()));
        }
    }
}
