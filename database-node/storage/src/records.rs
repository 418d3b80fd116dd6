//! How values are laid out: a version byte, then what that version says.

use pliantdb_core::{Body, Revision, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalog::DatabaseEntry;
use crate::store::StoreError;

/// The version that this build writes, of every kind of record.
const VERSION: u8 = 1;
/// A version byte and a revision.
const DOCUMENT_HEADER: usize = 9;

/// How far the state machine has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// How many commands it has applied.
    pub index: u64,
    /// The timestamp of the last.
    pub timestamp: Timestamp,
}

/// A document value: version, revision (u64, big-endian), body.
pub(crate) fn encode_document(revision: Revision, body: &Body) -> Vec<u8> {
    let body = body.as_str().as_bytes();
    let mut value = Vec::with_capacity(DOCUMENT_HEADER + body.len());
    value.push(VERSION);
    value.extend_from_slice(&revision.timestamp().bits().to_be_bytes());
    value.extend_from_slice(body);
    value
}

/// The revision in a document value, and the bytes of its body.
pub(crate) fn split_document(value: &[u8]) -> Result<(Revision, &[u8]), StoreError> {
    let (version, rest) = value
        .split_first()
        .ok_or_else(|| corrupt("document", "it is empty"))?;
    check_version("document", *version)?;
    let (revision, body) = rest
        .split_first_chunk()
        .ok_or_else(|| corrupt("document", "it is cut short"))?;
    Ok((
        Revision::at(Timestamp::from_bits(u64::from_be_bytes(*revision))),
        body,
    ))
}

/// The revision and body in a document value.
pub(crate) fn decode_document(value: &[u8]) -> Result<(Revision, Body), StoreError> {
    let (revision, body) = split_document(value)?;
    let text = String::from_utf8(body.to_vec()).map_err(|error| corrupt("document", error))?;
    Ok((revision, Body::from_checked(text)))
}

pub(crate) fn encode_applied(applied: &Applied) -> Result<Vec<u8>, StoreError> {
    encode("applied", applied)
}

pub(crate) fn decode_applied(value: &[u8]) -> Result<Applied, StoreError> {
    decode("applied", value)
}

pub(crate) fn encode_database(entry: &DatabaseEntry) -> Result<Vec<u8>, StoreError> {
    encode("database", entry)
}

pub(crate) fn decode_database(value: &[u8]) -> Result<DatabaseEntry, StoreError> {
    decode("database", value)
}

fn encode(kind: &str, record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(record, vec![VERSION])
        .map_err(|error| StoreError::Engine(format!("cannot encode a record of kind {kind}: {error}")))
}

fn decode<'de, T: Deserialize<'de>>(kind: &'static str, value: &'de [u8]) -> Result<T, StoreError> {
    let (version, rest) = value.split_first().ok_or_else(|| corrupt(kind, "it is empty"))?;
    check_version(kind, *version)?;
    postcard::from_bytes(rest).map_err(|error| corrupt(kind, error))
}

fn check_version(kind: &'static str, found: u8) -> Result<(), StoreError> {
    match found {
        VERSION => Ok(()),
        0 => Err(corrupt(kind, "its version is 0")),
        _ => Err(StoreError::NewerRecord {
            kind,
            found,
            supported: VERSION,
        }),
    }
}

/// The error of a record that nobody can have written.
pub(crate) fn corrupt(kind: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("a record of kind {kind} cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use pliantdb_core::SlotCount;

    use super::*;
    use crate::catalog::DatabaseId;

    #[test]
    fn documents_are_what_they_always_were() {
        let revision = Revision::at(Timestamp::from_bits(0x0102_0304_0506_0708));
        let body = Body::parse(b"[1]".to_vec()).unwrap();
        let value = encode_document(revision, &body);
        assert_eq!(value, b"\x01\x01\x02\x03\x04\x05\x06\x07\x08[1]");
        assert_eq!(decode_document(&value), Ok((revision, body)));
    }

    #[test]
    fn meta_records_are_what_they_always_were() {
        let applied = Applied {
            index: 300,
            timestamp: Timestamp::from_bits(5),
        };
        assert_eq!(encode_applied(&applied).unwrap(), b"\x01\xac\x02\x05");
        assert_eq!(decode_applied(b"\x01\xac\x02\x05"), Ok(applied));
        let entry = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        };
        assert_eq!(encode_database(&entry).unwrap(), b"\x01\x01\x10");
        assert_eq!(decode_database(b"\x01\x01\x10"), Ok(entry));
    }

    #[test]
    fn a_later_version_is_not_corruption() {
        let newer = |kind| StoreError::NewerRecord {
            kind,
            found: 2,
            supported: 1,
        };
        assert_eq!(decode_document(b"\x02"), Err(newer("document")));
        assert_eq!(decode_document(b"\x02aaaaaaaa{}"), Err(newer("document")));
        assert_eq!(decode_applied(b"\x02\xac\x02\x05"), Err(newer("applied")));
        assert_eq!(decode_database(b"\x02"), Err(newer("database")));
    }

    #[test]
    fn nonsense_is_corruption() {
        for value in [&b""[..], b"\0", b"\x01abc", b"\0aaaaaaaa{}", b"\x01aaaaaaaa\xff"] {
            assert!(
                matches!(decode_document(value), Err(StoreError::Corrupt(_))),
                "{value:?}"
            );
        }
        assert!(
            matches!(decode_database(b"\x01\x01\x00"), Err(StoreError::Corrupt(_))),
            "no slots"
        );
    }
}
