//! Everything here that reads stored bytes or texts from outside, on what nobody has written: docs/testing.md.

use pliantdb_core::key::encoded_length;
use pliantdb_core::{Body, ChangeKind, DocumentId, Key, Revision, SlotCount, Timestamp};
use pliantdb_fuzzing::{Input, RUNS, bytes};

use crate::catalog::{DatabaseEntry, DatabaseId};
use crate::store::StoreError;
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
