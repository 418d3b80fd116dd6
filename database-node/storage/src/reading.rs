//! Reading documents: by id, and in order over all slots.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use pliantdb_core::{CollectionName, Document, DocumentId};

use crate::catalog::DatabaseEntry;
use crate::error::StorageError;
use crate::keys;
use crate::records::{self, corrupt};
use crate::store::{Cursor, KeyRange, OrderedStore, Snapshot, StoreError};

/// Which documents of a collection to list, in the order of their ids' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Only ids that begin with this.
    pub prefix: String,
    /// Only ids after this one, which need not exist: the `next` of the page before.
    pub after: Option<DocumentId>,
    /// At most so many documents.
    pub limit: usize,
    /// At most so many bytes of bodies and ids, unless the first document alone has more.
    pub max_bytes: usize,
    /// A first document with a larger body is not read: the page is empty then, and [`Page::too_large`] says its size.
    /// For who must have room before reading.
    pub max_first: usize,
}

impl Default for Listing {
    /// The first 100 documents, or 4 MiB.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            limit: 100,
            max_bytes: 4 << 20,
            max_first: usize::MAX,
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
    /// The bytes of the first document's id and body, when that is why the page is empty ([`Listing::max_first`]).
    pub too_large: Option<usize>,
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
    let read = |value: &[u8]| {
        let (_, body) = records::split_document(value)?;
        if body.len() > most {
            return Ok(Found::Larger(body.len()));
        }
        let (revision, body) = records::decode_document(value)?;
        let id = id.clone();
        Ok::<_, StoreError>(Found::Document(Document { id, revision, body }))
    };
    Ok(store.get(&key, read)?.transpose()?.unwrap_or(Found::Nothing))
}

/// A cursor that waits at a larger value than this is closed and opened again, for it holds the value in memory.
const HELD_VALUE: usize = 64 * 1024;
/// So many cursors wait open at most; each holds a block.
const HELD_CURSORS: usize = 64;

/// Reads one page.
///
/// Each slot is ordered, so the next document is always at the front of one of the slots: a k-way merge
/// with a heap of the fronts. The heap has ids only, and one large value at a time is in memory beside the page.
pub(crate) fn list(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    collection: &CollectionName,
    listing: &Listing,
) -> Result<Page, StorageError> {
    let mut bases = Vec::with_capacity(usize::from(database.slots.get()));
    let mut waiting = HashMap::new();
    let mut fronts = BinaryHeap::new();
    for slot in database.slots.slots() {
        let base = keys::collection(database.id, slot, collection);
        let cursor = snapshot.scan(range(&base, listing))?;
        if let Some((key, value)) = cursor.entry() {
            fronts.push(Reverse((key[base.len()..].to_vec(), bases.len())));
            if value.len() <= HELD_VALUE && waiting.len() < HELD_CURSORS {
                waiting.insert(bases.len(), cursor);
            }
            bases.push(base);
        }
    }
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(Reverse((id, source))) = fronts.pop() {
        let last = page.documents.last().map(|last: &Document| last.id.clone());
        if page.documents.len() >= listing.limit && last.is_some() {
            page.next = last;
            break;
        }
        let base = &bases[source];
        let mut cursor = match waiting.remove(&source) {
            Some(cursor) => cursor,
            None => {
                let mut rest = range(base, listing);
                rest.start = [base.as_slice(), &id].concat();
                snapshot.scan(rest)?
            }
        };
        if let Some((_, value)) = cursor.entry() {
            let size = id.len() + records::split_document(value)?.1.len();
            if last.is_some() && size > listing.max_bytes.saturating_sub(bytes) {
                page.next = last;
                break;
            }
            if last.is_none() && size > listing.max_first {
                page.too_large = Some(size);
                break;
            }
            let (revision, body) = records::decode_document(value)?;
            let id = String::from_utf8(id).map_err(|error| corrupt("document", error))?;
            let id = DocumentId::try_from(id).map_err(|error| corrupt("document", error))?;
            bytes += size;
            page.documents.push(Document { id, revision, body });
        }
        cursor.advance()?;
        if let Some((key, value)) = cursor.entry() {
            fronts.push(Reverse((key[base.len()..].to_vec(), source)));
            if value.len() <= HELD_VALUE && waiting.len() < HELD_CURSORS {
                waiting.insert(source, cursor);
            }
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
