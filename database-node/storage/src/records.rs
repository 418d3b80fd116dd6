//! How values are laid out: a version byte, then what that version says.

use pliantdb_core::access::{ApiKey, Permission, User};
use pliantdb_core::{
    Body, ChangeKind, ChangedDocument, CollectionName, DocumentId, Outcome, Revision, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::catalog::{DatabaseEntry, DatabaseId, Makeup};
use crate::store::StoreError;

/// The version that this build writes, of every kind of record but one.
const VERSION: u8 = 1;
/// The version that this build writes of how far a lazy view is.
const LAZY_VIEW_VERSION: u8 = 2;

/// How far the state machine has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// How many commands it has applied.
    pub index: u64,
    /// The timestamp of the last.
    pub timestamp: Timestamp,
}

/// Appends a document value: version, revision (u64, big-endian), body.
pub(crate) fn encode_document(revision: Revision, body: &Body, to: &mut Vec<u8>) {
    to.push(VERSION);
    to.extend_from_slice(&revision.timestamp().bits().to_be_bytes());
    to.extend_from_slice(body.as_str().as_bytes());
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

/// Appends a change: version, kind (0 inserted, 1 updated, 2 deleted), collection, 00, id.
pub(crate) fn encode_change(
    kind: ChangeKind,
    collection: &CollectionName,
    id: &DocumentId,
    to: &mut Vec<u8>,
) {
    to.push(VERSION);
    to.push(match kind {
        ChangeKind::Inserted => 0,
        ChangeKind::Updated => 1,
        ChangeKind::Deleted => 2,
    });
    to.extend_from_slice(collection.as_str().as_bytes());
    to.push(0);
    to.extend_from_slice(id.as_str().as_bytes());
}

pub(crate) fn decode_change(value: &[u8]) -> Result<ChangedDocument, StoreError> {
    const KIND: &str = "change";
    let (version, rest) = value.split_first().ok_or_else(|| corrupt(KIND, "it is empty"))?;
    check_version(KIND, *version)?;
    let (kind, rest) = rest
        .split_first()
        .ok_or_else(|| corrupt(KIND, "it is cut short"))?;
    let kind = match kind {
        0 => ChangeKind::Inserted,
        1 => ChangeKind::Updated,
        2 => ChangeKind::Deleted,
        _ => return Err(corrupt(KIND, format_args!("there is no kind {kind}"))),
    };
    let text = str::from_utf8(rest).map_err(|error| corrupt(KIND, error))?;
    let (collection, id) = text
        .split_once('\0')
        .ok_or_else(|| corrupt(KIND, "it has no id"))?;
    Ok(ChangedDocument {
        collection: collection.parse().map_err(|error| corrupt(KIND, error))?,
        id: id.parse().map_err(|error| corrupt(KIND, error))?,
        kind,
    })
}

/// A value of the key-value store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredValue {
    /// The milliseconds since the Unix epoch at which it is gone; `None` for never.
    pub(crate) expires: Option<u64>,
    pub(crate) body: Body,
}

impl StoredValue {
    /// Whether it is gone at a time in milliseconds since the Unix epoch.
    pub(crate) fn has_expired(&self, millis: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= millis)
    }
}

/// A value of the key-value store: version, milliseconds when it expires (u64, big-endian; all ones for never), body.
pub(crate) fn encode_value(value: &StoredValue) -> Vec<u8> {
    let body = value.body.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(9 + body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&value.expires.unwrap_or(u64::MAX).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn decode_value(value: &[u8]) -> Result<StoredValue, StoreError> {
    const KIND: &str = "value";
    let (version, rest) = value.split_first().ok_or_else(|| corrupt(KIND, "it is empty"))?;
    check_version(KIND, *version)?;
    let (expires, body) = rest
        .split_first_chunk()
        .ok_or_else(|| corrupt(KIND, "it is cut short"))?;
    let text = String::from_utf8(body.to_vec()).map_err(|error| corrupt(KIND, error))?;
    Ok(StoredValue {
        expires: Some(u64::from_be_bytes(*expires)).filter(|expires| *expires != u64::MAX),
        body: Body::from_checked(text),
    })
}

/// Which document has a key of a unique view: version, id.
pub(crate) fn encode_owner(id: &DocumentId) -> Vec<u8> {
    [&[VERSION], id.as_str().as_bytes()].concat()
}

pub(crate) fn decode_owner(value: &[u8]) -> Result<DocumentId, StoreError> {
    const KIND: &str = "owner";
    let (version, id) = value.split_first().ok_or_else(|| corrupt(KIND, "it is empty"))?;
    check_version(KIND, *version)?;
    let id = str::from_utf8(id).map_err(|error| corrupt(KIND, error))?;
    id.parse().map_err(|error| corrupt(KIND, error))
}

/// What came of a write.
pub(crate) fn encode_outcome(outcome: &Outcome) -> Result<Vec<u8>, StoreError> {
    encode("outcome", outcome)
}

pub(crate) fn decode_outcome(value: &[u8]) -> Result<Outcome, StoreError> {
    decode("outcome", value)
}

/// The keys that a document has in a view, in the order in which it emitted them.
pub(crate) fn encode_emitted(keys: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
    encode("emitted", &keys)
}

pub(crate) fn decode_emitted(value: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    decode("emitted", value)
}

/// The reduced value of a run of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partial {
    /// The first entry behind the run; `None` when it goes to the end of the slot.
    pub(crate) end: Option<Vec<u8>>,
    /// The value, as JSON.
    pub(crate) value: Vec<u8>,
}

pub(crate) fn encode_partial(partial: &Partial) -> Result<Vec<u8>, StoreError> {
    encode("partial", partial)
}

pub(crate) fn decode_partial(value: &[u8]) -> Result<Partial, StoreError> {
    decode("partial", value)
}

pub(crate) fn encode_makeup(makeup: &Makeup) -> Result<Vec<u8>, StoreError> {
    encode("makeup", makeup)
}

pub(crate) fn decode_makeup(value: &[u8]) -> Result<Makeup, StoreError> {
    decode("makeup", value)
}

pub(crate) fn encode_last_database(id: DatabaseId) -> Result<Vec<u8>, StoreError> {
    encode("last database", &id)
}

pub(crate) fn decode_last_database(value: &[u8]) -> Result<DatabaseId, StoreError> {
    decode("last database", value)
}

/// How far a lazy view has read the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LazyView {
    /// Up to here. Its entries lie in the local slot.
    Local(Timestamp),
    /// Of version 1 of this record, whose entries lie in the slots of their documents. They are no longer kept up to
    /// date.
    InSlots,
}

/// How far a lazy view has read the changes: version (2), timestamp.
pub(crate) fn encode_lazy_view(up_to: Timestamp) -> Result<Vec<u8>, StoreError> {
    encode_version(LAZY_VIEW_VERSION, "lazy view", &up_to)
}

pub(crate) fn decode_lazy_view(value: &[u8]) -> Result<LazyView, StoreError> {
    const KIND: &str = "lazy view";
    match value.split_first() {
        Some((&LAZY_VIEW_VERSION, up_to)) => postcard::from_bytes(up_to)
            .map(LazyView::Local)
            .map_err(|error| corrupt(KIND, error)),
        Some((found, _)) if *found > LAZY_VIEW_VERSION => Err(StoreError::NewerRecord {
            kind: KIND,
            found: *found,
            supported: LAZY_VIEW_VERSION,
        }),
        _ => decode::<Timestamp>(KIND, value).map(|_| LazyView::InSlots),
    }
}

pub(crate) fn encode_user(user: &User) -> Result<Vec<u8>, StoreError> {
    encode("user", user)
}

pub(crate) fn decode_user(value: &[u8]) -> Result<User, StoreError> {
    decode("user", value)
}

/// The permissions of a role, as the texts that they are written as.
pub(crate) fn encode_role(permissions: &[Permission]) -> Result<Vec<u8>, StoreError> {
    encode("role", &permissions)
}

pub(crate) fn decode_role(value: &[u8]) -> Result<Vec<Permission>, StoreError> {
    decode("role", value)
}

pub(crate) fn encode_api_key(key: &ApiKey) -> Result<Vec<u8>, StoreError> {
    encode("API key", key)
}

pub(crate) fn decode_api_key(value: &[u8]) -> Result<ApiKey, StoreError> {
    decode("API key", value)
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

pub(crate) fn encode(kind: &str, record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    encode_version(VERSION, kind, record)
}

fn encode_version(version: u8, kind: &str, record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(record, vec![version])
        .map_err(|error| StoreError::Engine(format!("cannot encode a record of kind {kind}: {error}")))
}

pub(crate) fn decode<'de, T: Deserialize<'de>>(
    kind: &'static str,
    value: &'de [u8],
) -> Result<T, StoreError> {
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
    use pliantdb_core::{ChangeOutcome, KeyOutcome, KeyStatus, SlotCount};

    use super::*;
    use crate::catalog::DatabaseId;

    #[test]
    fn documents_are_what_they_always_were() {
        let revision = Revision::at(Timestamp::from_bits(0x0102_0304_0506_0708));
        let body = Body::parse(b"[1]".to_vec()).unwrap();
        let mut value = Vec::new();
        encode_document(revision, &body, &mut value);
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
    fn outcomes_are_what_they_always_were() {
        let written = ChangeOutcome::Written {
            id: "a".parse().unwrap(),
            revision: Revision::at(Timestamp::from_bits(300)),
            created: true,
        };
        let changes = vec![written, ChangeOutcome::Deleted, ChangeOutcome::Checked];
        let key = KeyOutcome {
            status: KeyStatus::Updated,
            previous: None,
            current: Some(Body::parse(b"7".to_vec()).unwrap()),
        };
        for (outcome, bytes) in [
            (
                Outcome::Transacted(changes),
                &b"\x01\x01\x03\x00\x01a\xac\x02\x01\x01\x02"[..],
            ),
            (Outcome::Key(key), b"\x01\x02\x01\x00\x01\x017"),
        ] {
            assert_eq!(encode_outcome(&outcome).unwrap(), bytes);
            assert_eq!(decode_outcome(bytes), Ok(outcome));
        }
    }

    #[test]
    fn how_far_a_lazy_view_is_says_where_its_entries_lie() {
        let up_to = Timestamp::from_bits(300);
        assert_eq!(encode_lazy_view(up_to).unwrap(), b"\x02\xac\x02");
        assert_eq!(decode_lazy_view(b"\x02\xac\x02"), Ok(LazyView::Local(up_to)));
        assert_eq!(decode_lazy_view(b"\x01\xac\x02"), Ok(LazyView::InSlots));
        for nonsense in [&b""[..], b"\0", b"\x01", b"\x02\xff"] {
            let decoded = decode_lazy_view(nonsense);
            assert!(matches!(decoded, Err(StoreError::Corrupt(_))), "{nonsense:?}");
        }
        let newer = StoreError::NewerRecord {
            kind: "lazy view",
            found: 3,
            supported: 2,
        };
        assert_eq!(decode_lazy_view(b"\x03"), Err(newer));
    }

    #[test]
    fn accounts_are_what_they_always_were() {
        use pliantdb_core::access::{KeyHash, KeyOwner, reader};
        use pliantdb_core::protocol::Secret;

        let user = User {
            password: Some(Secret::new("p")),
            roles: [reader()].into(),
            is_disabled: false,
        };
        assert_eq!(encode_user(&user).unwrap(), b"\x01\x01\x01p\x01\x06reader\0");
        assert_eq!(decode_user(b"\x01\x01\x01p\x01\x06reader\0"), Ok(user));
        let role: Vec<Permission> = vec!["call on api a/b".parse().unwrap()];
        assert_eq!(encode_role(&role).unwrap(), b"\x01\x01\x0fcall on api a/b");
        assert_eq!(decode_role(b"\x01\x01\x0fcall on api a/b"), Ok(role));
        let key = ApiKey {
            hash: KeyHash([7; 32]),
            owner: KeyOwner::User("ada".parse().unwrap()),
            expires_ms: Some(5),
        };
        let bytes = [&b"\x01"[..], &[7; 32], b"\0\x03ada\x01\x05"].concat();
        assert_eq!(encode_api_key(&key).unwrap(), bytes);
        assert_eq!(decode_api_key(&bytes), Ok(key));
        assert!(decode_role(b"\x01\x01\x01x").is_err(), "no permission");
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
