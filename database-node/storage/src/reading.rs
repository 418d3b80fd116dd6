//! Reading documents: by id, and in order over all slots.

use pliantdb_core::{CollectionName, Document, DocumentId, Listing, Page};

use crate::catalog::DatabaseEntry;
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys;
use crate::merge::Merged;
use crate::records::{self, corrupt};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot, StoreError};

/// Reads one document.
pub(crate) fn get(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
) -> Result<Option<Document>, StorageError> {
    let key = keys::document(database, collection, id);
    let found = store.get(&key, records::decode_document)?.transpose()?;
    Ok(found.map(|(revision, body)| Document {
        id: id.clone(),
        revision,
        body,
    }))
}

/// Reads one document as of a snapshot.
pub(crate) fn get_at(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
) -> Result<Option<Document>, StoreError> {
    let key = keys::document(database, collection, id);
    let found = snapshot.get(&key, records::decode_document)?.transpose()?;
    Ok(found.map(|(revision, body)| Document {
        id: id.clone(),
        revision,
        body,
    }))
}

/// Reads documents as of a snapshot: those that exist, in the order of the ids. `None` when their bodies have more than
/// `most` bytes together; no more than that, and one of them, is held meanwhile.
pub(crate) fn get_all_at(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    collection: &CollectionName,
    ids: &[DocumentId],
    most: usize,
) -> Result<Option<Vec<Document>>, StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    for id in ids {
        let Some(document) = get_at(snapshot, database, collection, id)? else {
            continue;
        };
        bytes = bytes.saturating_add(document.body.as_str().len());
        if bytes > most {
            return Ok(None);
        }
        found.push(document);
    }
    Ok(Some(found))
}

/// [`get`], if that needs no disk; `None` when it would have to wait for one.
pub(crate) fn get_cached(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
) -> Result<Option<Option<Document>>, StorageError> {
    let key = keys::document(database, collection, id);
    let Some(found) = store.get_cached(&key, records::decode_document)? else {
        return Ok(None);
    };
    let found = found.transpose()?;
    Ok(Some(found.map(|(revision, body)| Document {
        id: id.clone(),
        revision,
        body,
    })))
}

/// What reading a document of limited size finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No document.
    Nothing,
    /// The document.
    Document(Document),
    /// A document whose body is larger: its size in bytes.
    Larger(usize),
}

/// Reads a document if its body has at most `most` bytes.
pub(crate) fn get_within(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
    most: usize,
) -> Result<Found, StorageError> {
    let key = keys::document(database, collection, id);
    let found = store.get(&key, |value| decode_within(value, id, most))?;
    Ok(found.transpose()?.unwrap_or(Found::Nothing))
}

/// [`get_within`], if that needs no disk; `None` when it would have to wait for one.
pub(crate) fn get_within_cached(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
    most: usize,
) -> Result<Option<Found>, StorageError> {
    let key = keys::document(database, collection, id);
    let Some(found) = store.get_cached(&key, |value| decode_within(value, id, most))? else {
        return Ok(None);
    };
    Ok(Some(found.transpose()?.unwrap_or(Found::Nothing)))
}

fn decode_within(value: &[u8], id: &DocumentId, most: usize) -> Result<Found, StoreError> {
    let (_, body) = records::split_document(value)?;
    if body.len() > most {
        return Ok(Found::Larger(body.len()));
    }
    let (revision, body) = records::decode_document(value)?;
    let id = id.clone();
    Ok(Found::Document(Document { id, revision, body }))
}

/// Reads one page.
pub(crate) fn list(
    snapshot: &impl Snapshot,
    slots: impl Into<Extent>,
    collection: &CollectionName,
    listing: &Listing,
) -> Result<Page, StorageError> {
    let extent = slots.into();
    let base = |slot| keys::collection(extent.database.id, slot, collection, 0);
    let bases = extent.slots().map(base);
    let mut merged = Merged::scan(snapshot, bases, |base| range(base, listing), listing.order)?;
    let mut page = Page::default();
    if listing.limit == 0 {
        return Ok(page);
    }
    let mut bytes = 0;
    while let Some((id, value)) = merged.entry()? {
        let last = page.documents.last().map(|last: &Document| &last.id);
        let size = id.len() + records::split_document(value)?.1.len();
        let is_full = page.documents.len() >= listing.limit || size > listing.max_bytes.saturating_sub(bytes);
        if last.is_some() && is_full {
            page.next = last.cloned();
            break;
        }
        if last.is_none() && size > listing.max_first {
            page.too_large = Some(size);
            break;
        }
        let (revision, body) = records::decode_document(value)?;
        let id = String::from_utf8(id.to_vec()).map_err(|error| corrupt("document", error))?;
        let id = DocumentId::try_from(id).map_err(|error| corrupt("document", error))?;
        bytes += size;
        page.documents.push(Document { id, revision, body });
        merged.advance()?;
    }
    Ok(page)
}

/// Counts the documents of a listing, however many and large they are.
pub(crate) fn count(
    snapshot: &impl Snapshot,
    slots: impl Into<Extent>,
    collection: &CollectionName,
    listing: &Listing,
) -> Result<u64, StoreError> {
    let (extent, mut count) = (slots.into(), 0);
    for slot in extent.slots() {
        let base = keys::collection(extent.database.id, slot, collection, 0);
        let mut cursor = snapshot.scan(range(&base, listing), listing.order)?;
        while cursor.entry().is_some() {
            count += 1;
            cursor.advance()?;
        }
    }
    Ok(count)
}

/// The part of a listing that lies in the slot and collection whose keys begin with `base`.
fn range(base: &[u8], listing: &Listing) -> KeyRange {
    let after = listing.after.as_ref().map(DocumentId::as_str);
    KeyRange::listed(base, &listing.prefix, after, listing.order)
}
