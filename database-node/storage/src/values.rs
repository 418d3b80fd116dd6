//! Reading the key-value store.

use pliantdb_core::{Body, KeyName, NamespaceName, Order};

use crate::catalog::DatabaseEntry;
use crate::keys::{self, Space};
use crate::merge::Merged;
use crate::records::{self, corrupt};
use crate::store::{KeyRange, OrderedStore, Snapshot, StoreError};

/// The value of a key at a time in milliseconds since the Unix epoch.
pub(crate) fn get(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    namespace: &NamespaceName,
    key: &KeyName,
    millis: u64,
) -> Result<Option<Body>, StoreError> {
    let value = store
        .get(&keys::value(database, namespace, key), records::decode_value)?
        .transpose()?;
    Ok(value
        .filter(|value| !value.has_expired(millis))
        .map(|value| value.body))
}

/// Keys that begin with `prefix`, in order, after `after`, with their values.
pub(crate) fn list(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    namespace: &NamespaceName,
    prefix: &str,
    after: Option<&KeyName>,
    limit: usize,
    millis: u64,
) -> Result<Vec<(KeyName, Body)>, StoreError> {
    let in_namespace = keys::name_in(namespace, "");
    let bases = database.slots.slots().map(|slot| {
        let mut base = keys::space(database.id, slot, Space::Values, in_namespace.len());
        base.extend_from_slice(&in_namespace);
        base
    });
    let of = |base: &[u8]| {
        let mut range = KeyRange::prefixed(&[base, prefix.as_bytes()].concat());
        if let Some(after) = after {
            range.start = range.start.max([base, after.as_str().as_bytes(), &[0]].concat());
        }
        range
    };
    let mut merged = Merged::scan(snapshot, bases, of, Order::Ascending)?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some((key, value)) = merged.entry()?
    {
        let value = records::decode_value(value)?;
        if !value.has_expired(millis) {
            let key = str::from_utf8(key).map_err(|error| corrupt("value", error))?;
            found.push((key.parse().map_err(|error| corrupt("value", error))?, value.body));
        }
        merged.advance()?;
    }
    Ok(found)
}

/// Keys that have expired at a time in milliseconds since the Unix epoch; at most `limit` of each slot.
pub(crate) fn expired(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    millis: u64,
    limit: usize,
) -> Result<Vec<(NamespaceName, KeyName)>, StoreError> {
    use crate::store::Cursor;
    let mut found = Vec::new();
    for slot in database.slots.slots() {
        let base = keys::space(database.id, slot, Space::Expiries, 0);
        let end = [base.as_slice(), &millis.saturating_add(1).to_be_bytes()].concat();
        let mut cursor = snapshot.scan(
            KeyRange {
                start: base.clone(),
                end: Some(end),
            },
            Order::Ascending,
        )?;
        for _ in 0..limit {
            let Some((key, _)) = cursor.entry() else { break };
            let name = key.get(base.len() + 8..).unwrap_or_default();
            let name = str::from_utf8(name).map_err(|error| corrupt("expiry", error))?;
            let (namespace, key) = name
                .split_once('\0')
                .ok_or_else(|| corrupt("expiry", "it has no namespace"))?;
            let namespace = namespace.parse().map_err(|error| corrupt("expiry", error))?;
            found.push((namespace, key.parse().map_err(|error| corrupt("expiry", error))?));
            cursor.advance()?;
        }
    }
    Ok(found)
}
