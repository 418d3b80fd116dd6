//! What a key of the store stands for, for those who read all of them.

use pliantdb_core::{DatabaseName, Order};

use crate::catalog::DatabaseEntry;
use crate::error::StorageError;
use crate::keys::{self, Space};
use crate::records;
use crate::store::{Cursor, KeyRange, Snapshot, StoreError};

/// What a key stands for. The parts are as they are stored, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A record of the meta range, of that kind.
    Meta { kind: u8, rest: &'a [u8] },
    /// A document.
    Document {
        slot: u16,
        collection: &'a [u8],
        id: &'a [u8],
    },
    /// A value of the key-value store.
    Value {
        slot: u16,
        namespace: &'a [u8],
        key: &'a [u8],
    },
    /// Something else of a database.
    Other { space: u8 },
}

impl<'a> Place<'a> {
    /// The database of a key, 0 for the meta range, and what it stands for; `None` when it is no key of ours.
    pub(crate) fn of(key: &'a [u8]) -> Option<(u32, Self)> {
        let (database, rest) = key.split_first_chunk::<4>()?;
        let database = u32::from_be_bytes(*database);
        if database == 0 {
            let (kind, rest) = rest.split_first()?;
            return Some((database, Self::Meta { kind: *kind, rest }));
        }
        let (slot, rest) = rest.split_first_chunk::<2>()?;
        let slot = u16::from_be_bytes(*slot);
        let (space, rest) = rest.split_first()?;
        let named = || {
            let end = rest.iter().position(|byte| *byte == 0)?;
            Some((rest.get(..end)?, rest.get(end + 1..)?))
        };
        let place = match *space {
            space if space == Space::Documents as u8 => {
                let (collection, id) = named()?;
                Self::Document { slot, collection, id }
            }
            space if space == Space::Values as u8 => {
                let (namespace, key) = named()?;
                Self::Value { slot, namespace, key }
            }
            space => Self::Other { space },
        };
        Some((database, place))
    }
}

/// The databases in a snapshot, by name.
pub(crate) fn databases(
    snapshot: &impl Snapshot,
) -> Result<Vec<(DatabaseName, DatabaseEntry)>, StorageError> {
    let mut found = Vec::new();
    let mut cursor = snapshot.scan(KeyRange::prefixed(&keys::DATABASES), Order::Ascending)?;
    while let Some((key, value)) = cursor.entry() {
        found.push(database(
            key.get(keys::DATABASES.len()..).unwrap_or_default(),
            value,
        )?);
        cursor.advance()?;
    }
    Ok(found)
}

/// A database, from its record and the name in its key.
pub(crate) fn database(name: &[u8], record: &[u8]) -> Result<(DatabaseName, DatabaseEntry), StoreError> {
    let name = str::from_utf8(name).map_err(|error| records::corrupt("database", error))?;
    let name = name
        .parse()
        .map_err(|error| records::corrupt("database", error))?;
    Ok((name, records::decode_database(record)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Place;

    proptest! {
        #[test]
        fn any_key_can_be_looked_at(key in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(9), any::<u8>()], 0..12)) {
            let _ = Place::of(&key);
        }
    }
}
