//! Reading documents: by id, and in order over all slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pliantdb_core::{CollectionName, Document, DocumentId};

use crate::catalog::DatabaseEntry;
use crate::error::StorageError;
use crate::keys;
use crate::records::{self, corrupt};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot};

/// Which documents of a collection to list, in the order of their ids' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Only ids that begin with this.
    pub prefix: String,
    /// Only ids after this one, which need not exist: the `next` of the page before.
    pub after: Option<DocumentId>,
    /// At most so many documents.
    pub limit: usize,
    /// Stop after the document with which the bodies and ids reach so many bytes.
    pub max_bytes: usize,
}

impl Default for Listing {
    /// The first 100 documents, or 4 MiB.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            limit: 100,
            max_bytes: 4 << 20,
        }
    }
}

/// A page of a listing, from one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The documents, by id.
    pub documents: Vec<Document>,
    /// The last id on the page when there are more: the `after` of the next page.
    pub next: Option<DocumentId>,
}

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

/// How many bytes the body of a document has, without reading it into memory twice.
pub(crate) fn body_size(
    store: &impl OrderedStore,
    database: DatabaseEntry,
    collection: &CollectionName,
    id: &DocumentId,
) -> Result<Option<usize>, StorageError> {
    let key = keys::document(database, collection, id);
    let size = |value: &[u8]| records::split_document(value).map(|(_, body)| body.len());
    Ok(store.get(&key, size)?.transpose()?)
}

/// Reads one page.
///
/// Each slot is ordered, so the next document is always at the front of one of the slots: a k-way merge
/// with a heap of the fronts.
pub(crate) fn list(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    collection: &CollectionName,
    listing: &Listing,
) -> Result<Page, StorageError> {
    let mut cursors = Vec::with_capacity(usize::from(database.slots.get()));
    let mut fronts = BinaryHeap::new();
    for slot in database.slots.slots() {
        let base = keys::collection(database.id, slot, collection);
        let cursor = snapshot.scan(range(&base, listing))?;
        if let Some((key, _)) = cursor.entry() {
            fronts.push(Reverse((key[base.len()..].to_vec(), cursors.len())));
            cursors.push((base.len(), cursor));
        }
    }
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(Reverse((id, source))) = fronts.pop() {
        let enough = page.documents.len() >= listing.limit || bytes >= listing.max_bytes;
        if let Some(last) = page.documents.last().filter(|_| enough) {
            page.next = Some(last.id.clone());
            break;
        }
        let (base, cursor) = &mut cursors[source];
        if let Some((_, value)) = cursor.entry() {
            let (revision, body) = records::decode_document(value)?;
            let id = String::from_utf8(id).map_err(|error| corrupt("document", error))?;
            let id = DocumentId::try_from(id).map_err(|error| corrupt("document", error))?;
            bytes += id.as_str().len() + body.as_str().len();
            page.documents.push(Document { id, revision, body });
        }
        cursor.advance()?;
        if let Some((key, _)) = cursor.entry() {
            fronts.push(Reverse((key[*base..].to_vec(), source)));
        }
    }
    Ok(page)
}

/// The part of a listing that lies in the slot and collection whose keys begin with `base`.
fn range(base: &[u8], listing: &Listing) -> KeyRange {
    let mut range = KeyRange::prefixed(&[base, listing.prefix.as_bytes()].concat());
    if let Some(after) = &listing.after {
        // The first key that can follow: the same with a zero byte added.
        let start = [base, after.as_str().as_bytes(), &[0]].concat();
        range.start = range.start.max(start);
    }
    range
}
