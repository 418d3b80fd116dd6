//! Reading in each layout: points and ordered scans, newest or as of a timestamp.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pliantdb_core::Order;
use pliantdb_storage::store::{Cursor, KeyRange, OrderedStore, RocksStore, Snapshot, StoreError};

use crate::layouts::{History, Layout, revision, split_change};

/// Reads a document as it is now: the length of its record.
pub fn get(store: &RocksStore, layout: Layout, id: &[u8]) -> Result<Option<usize>, StoreError> {
    store.get(&layout.document_key(id), <[u8]>::len)
}

/// Reads a document as it was at `at`.
pub fn get_at(store: &RocksStore, layout: Layout, id: &[u8], at: u64) -> Result<Option<usize>, StoreError> {
    let newest = store.get(&layout.document_key(id), |record| {
        (revision(record), record.len())
    })?;
    match (newest, layout.history) {
        (Some((revision, length)), _) if revision <= at => Ok(Some(length)),
        (Some((newest, _)), history) if history.is_chained() => follow(store, layout, id, newest, at),
        _ => {
            let end = layout.history_key(id, u64::MAX);
            let start = layout.history_key(id, at + 1);
            let snapshot = store.snapshot();
            let images = snapshot.scan(
                KeyRange {
                    start,
                    end: Some(end),
                },
                Order::Ascending,
            )?;
            Ok(images
                .entry()
                .and_then(|(_, image)| (revision(image) <= at).then_some(image.len())))
        }
    }
}

/// From one before-image to the one before it: its revision is the timestamp of the write that left the next.
fn follow(
    store: &RocksStore,
    layout: Layout,
    id: &[u8],
    newest: u64,
    at: u64,
) -> Result<Option<usize>, StoreError> {
    let mut timestamp = newest;
    loop {
        let found = match layout.history {
            History::ByTime => store.get(&layout.history_key_by_time(id, timestamp), |image| {
                Some((revision(image), image.len()))
            }),
            _ => store.get(&layout.change_key(id, timestamp), |entry| {
                let (_, image) = split_change(entry);
                (!image.is_empty()).then(|| (revision(image), image.len()))
            }),
        };
        match found?.flatten() {
            None => return Ok(None),
            Some((revision, length)) if revision <= at => return Ok(Some(length)),
            Some((revision, _)) => timestamp = revision,
        }
    }
}

/// What a scan read.
#[derive(Debug, Default, Clone, Copy)]
pub struct Scanned {
    pub rows: usize,
    pub bytes: usize,
    /// Positions of cursors that were looked at.
    pub steps: usize,
}

/// Reads up to `limit` documents from `start` on, in the order of ids, over all slots; as of `at` if given.
pub fn scan(
    store: &RocksStore,
    layout: Layout,
    start: &[u8],
    limit: usize,
    at: Option<u64>,
) -> Result<Scanned, StoreError> {
    let snapshot = store.snapshot();
    let open = |mut base: Vec<u8>| {
        let mut range = KeyRange::prefixed(&base);
        let length = base.len();
        base.extend_from_slice(start);
        range.start = base;
        Ok::<_, StoreError>((snapshot.scan(range, Order::Ascending)?, length))
    };
    let mut scanned = Scanned::default();
    let mut slots = Vec::new();
    let mut fronts = BinaryHeap::new();
    for slot in layout.places() {
        let (documents, base) = open(layout.documents(slot))?;
        let images = match (layout.history, at) {
            (History::OwnSpace, Some(_)) => Some(open(layout.histories(slot))?.0),
            _ => None,
        };
        let mut merged = SlotScan {
            store,
            layout,
            at,
            base,
            documents,
            images,
        };
        if let Some((id, length)) = merged.next(&mut scanned.steps)? {
            fronts.push(Reverse((id, length, slots.len())));
        }
        slots.push(merged);
    }
    while scanned.rows < limit
        && let Some(Reverse((_, length, slot))) = fronts.pop()
    {
        scanned.rows += 1;
        scanned.bytes += length;
        if let Some((id, length)) = slots[slot].next(&mut scanned.steps)? {
            fronts.push(Reverse((id, length, slot)));
        }
    }
    Ok(scanned)
}

/// The documents of one slot in order.
struct SlotScan<'a, C> {
    store: &'a RocksStore,
    layout: Layout,
    at: Option<u64>,
    /// How many bytes of a key lie before the id.
    base: usize,
    documents: C,
    images: Option<C>,
}

impl<C: Cursor> SlotScan<'_, C> {
    /// The id of the next document that is visible, and the length of its record.
    fn next(&mut self, steps: &mut usize) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
        match self.at {
            None => self.next_now(steps),
            Some(at) if self.images.is_some() => self.next_of_two(at, steps),
            Some(at) => self.next_of_one(at, steps),
        }
    }

    fn next_now(&mut self, steps: &mut usize) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
        while let Some((key, record)) = self.documents.entry() {
            *steps += 1;
            let (id, is_image) = split_image(&key[self.base..]);
            let found = (!is_image).then(|| (id.to_vec(), record.len()));
            self.documents.advance()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// As of `at`, with before-images behind their documents, or found by following revisions.
    fn next_of_one(&mut self, at: u64, steps: &mut usize) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
        while let Some((key, record)) = self.documents.entry() {
            *steps += 1;
            let id = split_image(&key[self.base..]).0.to_vec();
            let newest = revision(record);
            let mut visible = (newest <= at).then_some(record.len());
            let mut passed = visible.is_some();
            self.documents.advance()?;
            if !passed && self.layout.history.is_chained() {
                visible = follow(self.store, self.layout, &id, newest, at)?;
            }
            while let Some((key, image)) = self.documents.entry() {
                let (other, is_image) = split_image(&key[self.base..]);
                if !is_image || other != id {
                    break;
                }
                *steps += 1;
                if !passed && replaced_at(key) > at {
                    passed = true;
                    visible = (revision(image) <= at).then_some(image.len());
                }
                self.documents.advance()?;
            }
            if let Some(length) = visible {
                return Ok(Some((id, length)));
            }
        }
        Ok(None)
    }

    /// As of `at`, from documents and before-images side by side: a document that was deleted since has images only.
    fn next_of_two(&mut self, at: u64, steps: &mut usize) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
        let Some(images) = &mut self.images else {
            return Ok(None);
        };
        loop {
            let document = self
                .documents
                .entry()
                .map(|(key, record)| (&key[self.base..], record));
            let image = images.entry().map(|(key, _)| split_image(&key[self.base..]).0);
            let Some(id) = document.map(|(id, _)| id).into_iter().chain(image).min() else {
                return Ok(None);
            };
            let id = id.to_vec();
            let (mut visible, mut passed) = (None, false);
            if let Some((_, record)) = document.filter(|(other, _)| *other == id) {
                *steps += 1;
                passed = revision(record) <= at;
                visible = passed.then_some(record.len());
                self.documents.advance()?;
            }
            while let Some((key, image)) = images.entry() {
                if split_image(&key[self.base..]).0 != id {
                    break;
                }
                *steps += 1;
                if !passed && replaced_at(key) > at {
                    passed = true;
                    visible = (revision(image) <= at).then_some(image.len());
                }
                images.advance()?;
            }
            if let Some(length) = visible {
                return Ok(Some((id, length)));
            }
        }
    }
}

/// The id in the end of a key, and whether it is of a before-image.
fn split_image(rest: &[u8]) -> (&[u8], bool) {
    match rest.iter().position(|byte| *byte == 0) {
        Some(end) => (&rest[..end], true),
        None => (rest, false),
    }
}

fn replaced_at(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
