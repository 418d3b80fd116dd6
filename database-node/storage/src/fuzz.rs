//! Everything here that reads stored bytes or texts from outside, on what nobody has written: docs/testing.md.

use std::sync::Arc;

use pliantdb_core::key::encoded_length;
use pliantdb_core::{Body, ChangeKind, DocumentId, GroupId, Key, Revision, SlotCount, Timestamp};
use pliantdb_fuzzing::{Input, RUNS, bytes};

use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::error::StorageError;
use crate::group::{self, Chunk, GroupState, Position, Shard};
use crate::store::{Batch, Durability, MemoryStore, OrderedStore, StoreError};
use crate::{inspect, keys, records};

/// Stored bytes that cannot be read are corrupt, or from a later version, and nothing else.
fn decodes<T>(decoded: Result<T, StoreError>) -> Option<T> {
    match decoded {
        Ok(value) => Some(value),
        Err(StoreError::Corrupt(_) | StoreError::NewerRecord { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

#[test]
fn stored_records() {
    let time = Timestamp::from_bits(1 << 60);
    let body = Body::parse(b"{\"a\":1}".to_vec()).unwrap();
    let (collection, id) = ("orders".parse().unwrap(), "1".parse::<DocumentId>().unwrap());
    let entry = DatabaseEntry {
        id: DatabaseId::FIRST,
        slots: SlotCount::default(),
    };
    let applied = records::Applied {
        index: 300,
        timestamp: time,
    };
    let seeds = [
        encoded(|to| records::encode_document(Revision::at(time), &body, to)),
        encoded(|to| records::encode_change(ChangeKind::Updated, &collection, &id, to)),
        records::encode_applied(&applied).unwrap(),
        records::encode_database(&entry).unwrap(),
    ];
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            if let Some((revision, body)) = decodes(records::decode_document(&bytes)) {
                assert_eq!(encoded(|to| records::encode_document(revision, &body, to)), bytes);
            }
            decodes(records::split_document(&bytes));
            decodes(records::decode_change(&bytes));
            decodes(records::decode_value(&bytes));
            decodes(records::decode_owner(&bytes));
            decodes(records::decode_emitted(&bytes));
            decodes(records::decode_outcome(&bytes));
            decodes(records::decode_partial(&bytes));
            decodes(records::decode_makeup(&bytes));
            decodes(records::decode_last_database(&bytes));
            decodes(records::decode_lazy_view(&bytes));
            if let Some(applied) = decodes(records::decode_applied(&bytes)) {
                let again = records::encode_applied(&applied).unwrap();
                assert_eq!(records::decode_applied(&again), Ok(applied));
            }
            if let Some(entry) = decodes(records::decode_database(&bytes)) {
                let again = records::encode_database(&entry).unwrap();
                assert_eq!(records::decode_database(&again), Ok(entry));
            }
            decodes(inspect::database(&bytes, &bytes));
            for decoded in group::decode_records(&bytes) {
                decodes(decoded);
            }
        });
}

#[test]
fn stored_keys() {
    let entry = DatabaseEntry {
        id: DatabaseId::FIRST,
        slots: SlotCount::default(),
    };
    let id: DocumentId = "1".parse().unwrap();
    let (collection, name) = ("orders".parse().unwrap(), "default".parse().unwrap());
    let seeds = [
        keys::document(entry, &collection, &id),
        keys::entry(&("a\0".to_owned(), 7_i64).encoded(), &id, 3),
        keys::database(&name),
    ];
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            let _ = inspect::Place::of(&bytes);
            if let Some((key, id)) = keys::split_entry(&bytes) {
                assert_eq!(encoded_length(key), Some(key.len()));
                assert!(bytes.starts_with(key) && bytes[key.len()..].starts_with(id));
            }
        });
}

/// Bytes with the checksum that they would have: without, hardly any would be looked at.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(4));
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn chunks_of_snapshots() {
    let (group, store) = (GroupId::new(7), Arc::new(MemoryStore::default()));
    let shard = Shard {
        database: "shop".parse().unwrap(),
        entry: DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        },
        first_slot: 0,
        end_slot: 16,
    };
    let mut batch = Batch::default();
    for id in ["1", "2", "3"] {
        let key = keys::document(shard.entry, &"orders".parse().unwrap(), &id.parse().unwrap());
        batch.put(key, b"\x01aaaaaaaa{}");
    }
    store.write(&batch, Durability::Buffered).unwrap();
    let state = GroupState::create(&store, group, shard, Position::default()).unwrap();
    let snapshot = state.snapshot();
    let first = snapshot.chunk(&[], 1).unwrap();
    let second = snapshot.chunk(first.next.as_deref().unwrap(), 100).unwrap();
    let seeds = [first.bytes.clone(), second.bytes];
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<(bool, Input)>()
        .for_each(|(is_checked, input)| {
            let mut bytes = bytes(input, &seeds);
            if *is_checked {
                bytes = with_checksum(bytes);
            }
            let Ok((header, entries)) = group::decode_chunk(&bytes) else {
                return;
            };
            let next = header.next.clone();
            assert!(
                entries
                    .iter()
                    .all(|(key, value)| key.len() + value.len() < bytes.len())
            );
            // Whatever it says, it is written where it belongs, or not at all.
            let receiver = Arc::new(MemoryStore::default());
            group::stage(receiver.as_ref(), group, 1, 0, &first).unwrap();
            for number in [1, 0] {
                let chunk = Chunk {
                    bytes: bytes.clone(),
                    next: next.clone(),
                };
                match group::stage(receiver.as_ref(), group, u128::from(number), number, &chunk) {
                    Ok(()) => {
                        if group::staged(receiver.as_ref(), group)
                            .unwrap()
                            .unwrap()
                            .is_complete
                        {
                            group::install(&receiver, group).unwrap();
                            assert!(GroupState::open(&receiver, group).unwrap().is_some());
                        }
                    }
                    Err(StorageError::InvalidChunk { .. } | StorageError::InvalidShard(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
}
