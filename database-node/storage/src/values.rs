//! Reading the key-value store.

use pliantdb_core::{Body, KeyListing, KeyName, KeyPage, NamespaceName, Order};

use crate::catalog::DatabaseEntry;
use crate::extent::Extent;
use crate::keys::{self, Space};
use crate::merge::Merged;
use crate::records::{self, corrupt};
use crate::store::{KeyRange, OrderedStore, Reads, Snapshot, StoreError};

/// The value of a key at a time in milliseconds since the Unix epoch.
pub(crate) fn get(
    store: &impl Reads,
    database: DatabaseEntry,
    namespace: &NamespaceName,
    key: &KeyName,
    millis: u64,
) -> Result<Option<Body>, StoreError> {
    let value = store
        .read(&keys::value(database, namespace, key), records::decode_value)?
        .transpose()?;
    Ok(value
        .filter(|value| !value.has_expired(millis))
        .map(|value| value.body))
}

/// [`get`] if that needs no disk; `None` when it would have to wait for one.
pub(crate) fn get_cached(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    namespace: &NamespaceName,
    key: &KeyName,
    millis: u64,
) -> Result<Option<Option<Body>>, StoreError> {
    let key = keys::value(database, namespace, key);
    let Some(value) = store.get_cached(&key, records::decode_value)? else {
        return Ok(None);
    };
    let value = value.transpose()?;
    Ok(Some(
        value
            .filter(|value| !value.has_expired(millis))
            .map(|value| value.body),
    ))
}

/// Reads one page of keys with their values, as of a time in milliseconds since the Unix epoch.
pub(crate) fn list(
    snapshot: &impl Snapshot,
    slots: impl Into<Extent>,
    namespace: &NamespaceName,
    listing: &KeyListing,
    millis: u64,
) -> Result<KeyPage, StoreError> {
    let in_namespace = keys::name_in(namespace, "");
    let extent = slots.into();
    let bases = extent.slots().map(|slot| {
        let mut base = keys::space(extent.database.id, slot, Space::Values, in_namespace.len());
        base.extend_from_slice(&in_namespace);
        base
    });
    let after = listing.after.as_ref().map(KeyName::as_str);
    let of = |base: &[u8]| KeyRange::listed(base, &listing.prefix, after, listing.order);
    let mut merged = Merged::scan(snapshot, bases, of, listing.order)?;
    let mut page = KeyPage::default();
    if listing.limit == 0 {
        return Ok(page);
    }
    let mut bytes = 0;
    while let Some((key, value)) = merged.entry()? {
        let value = records::decode_value(value)?;
        if !value.has_expired(millis) {
            let last = page.keys.last().map(|(last, _)| last);
            let size = key.len() + value.body.as_str().len();
            let is_full = page.keys.len() >= listing.limit || size > listing.max_bytes.saturating_sub(bytes);
            if last.is_some() && is_full {
                page.next = last.cloned();
                break;
            }
            let key = str::from_utf8(key).map_err(|error| corrupt("value", error))?;
            let key = key.parse().map_err(|error| corrupt("value", error))?;
            bytes += size;
            page.keys.push((key, value.body));
        }
        merged.advance()?;
    }
    Ok(page)
}

/// Keys that have expired at a time in milliseconds since the Unix epoch; at most `limit` of each slot.
pub(crate) fn expired(
    snapshot: &impl Snapshot,
    slots: impl Into<Extent>,
    millis: u64,
    limit: usize,
) -> Result<Vec<(NamespaceName, KeyName)>, StoreError> {
    use crate::store::Cursor;
    let (extent, mut found) = (slots.into(), Vec::new());
    for slot in extent.slots() {
        let base = keys::space(extent.database.id, slot, Space::Expiries, 0);
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
