//! Answering from views.

use std::collections::BTreeSet;

use pliantdb_core::{
    Change, ChangeAction, DatabaseName, Document, DocumentId, Error, Freshness, Group, KeySelection, Order,
    Precondition, Query, Rejection, Request, Response, RowCursor, Rows, Slot, ViewPolicy,
};

use super::entries::Entries;
use super::partials::{InSlot, MarkedFrom, Reducing};
use super::{Place, Readable, id_of, stored};
use crate::engine::Engine;
use crate::keys;
use crate::machine::Scope;
use crate::records::{self, corrupt};
use crate::store::{KeyRange, OrderedStore, Snapshot, StoreError};

/// An answer takes no more rows when it has so many bytes.
pub(super) const ROWS_BYTES: usize = 4 << 20;
/// What has more bytes, or asks for more keys, is not answered at once where nothing may wait.
const FEW_BYTES: usize = 32 << 10;
/// Each key is looked for by itself.
const FEW_KEYS: usize = 16;
/// So many documents are deleted in one transaction.
const DELETES: usize = 500;
/// A group of more entries is reduced by its partials.
const LARGE_GROUP: usize = 128;

/// Entries from the first, inclusive, to the second, exclusive.
type EntryRange = (Vec<u8>, Option<Vec<u8>>);

impl<S: OrderedStore> Engine<S> {
    /// Reads entries of a view.
    pub(crate) fn query(
        &self,
        name: &DatabaseName,
        query: &Query,
        with_documents: bool,
    ) -> Result<Rows, Error> {
        loop {
            let view = self.readable(name, query)?;
            let snapshot = self.store.snapshot();
            // A new version that took over meanwhile has removed it, or the replica went.
            if stored(is_there(self.scope, &snapshot, &view))? {
                return rows(&snapshot, &view, query, with_documents, ROWS_BYTES);
            }
            self.check_open()?;
        }
    }

    /// [`Engine::query`] without documents, if that needs no disk and takes only a moment; `None` when it would have to
    /// wait. Whatever fails here is tried again by who may wait.
    pub(crate) fn query_cached(&self, name: &DatabaseName, query: &Query) -> Option<Rows> {
        let view = self.readable_now(name, query)?;
        let is_short = match &query.keys {
            KeySelection::These(keys) => keys.len() <= FEW_KEYS,
            KeySelection::All | KeySelection::Range(..) => true,
        };
        if !is_short {
            return None;
        }
        let snapshot = self.store.snapshot_cached();
        if !is_there(self.scope, &snapshot, &view).ok()? {
            return None;
        }
        let rows = rows(&snapshot, &view, query, false, FEW_BYTES).ok()?;
        // Not a page, but what there was time for.
        let is_cut = rows.next.is_some() && query.limit.is_none_or(|limit| rows.len() < limit);
        (!is_cut && self.check_open().is_ok()).then_some(rows)
    }

    /// Reduces entries of a view to one value.
    pub(crate) fn reduce(&self, name: &DatabaseName, query: &Query) -> Result<Group, Error> {
        let (view, marked_from, snapshot) = self.reducible(name, query)?;
        reduce_at(&snapshot, &view, &marked_from, query)
    }

    /// Reduces the entries of each key.
    pub(crate) fn reduce_grouped(&self, name: &DatabaseName, query: &Query) -> Result<Vec<Group>, Error> {
        let (view, marked_from, snapshot) = self.reducible(name, query)?;
        reduce_grouped_at(&snapshot, &view, &marked_from, query)
    }

    /// Deletes the documents behind entries of a view; those that are changed meanwhile stay.
    pub(crate) fn delete_matching(&self, name: &DatabaseName, mut query: Query) -> Result<u64, Error> {
        let mut deleted = 0;
        // What does not match any more must stay.
        query.freshness = Freshness::Current;
        let limit = query.limit;
        let (mut seen, mut rows_read) = (BTreeSet::new(), 0);
        loop {
            query.limit = Some(limit.map_or(DELETES, |limit| DELETES.min(limit - rows_read)));
            let rows = match rows_read {
                // Nothing was deleted yet, so whoever asks can ask again.
                0 => self.rows_to_delete(name, &query)?,
                _ => self.when_built(name, || self.rows_to_delete(name, &query))?,
            };
            rows_read += rows.len();
            let documents: Vec<Document> = rows
                .documents
                .into_iter()
                .filter(|document| seen.insert(document.id.clone()))
                .collect();
            deleted += self.delete_unchanged(name, &query, &documents)?;
            query.after = rows.next;
            if query.after.is_none() || limit.is_some_and(|limit| rows_read >= limit) {
                return Ok(deleted);
            }
        }
    }

    fn rows_to_delete(&self, name: &DatabaseName, query: &Query) -> Result<Rows, Error> {
        let (query, with_documents) = (query.clone(), true);
        match self.answer(
            name,
            &Request::Query {
                query,
                with_documents,
            },
        )? {
            Response::Rows(rows) => Ok(rows),
            _ => Err(Error::unexpected_answer()),
        }
    }

    /// Deletes documents as they were read: together, or each for itself if one of them was changed.
    fn delete_unchanged(
        &self,
        name: &DatabaseName,
        query: &Query,
        documents: &[Document],
    ) -> Result<u64, Error> {
        let delete = |documents: &[Document]| {
            let changes = documents.iter().map(|document| Change {
                collection: query.collection.clone(),
                action: ChangeAction::Delete {
                    id: document.id.clone(),
                    precondition: Precondition::Revision(document.revision),
                },
            });
            match self.execute(name, Request::Transact(changes.collect()), None) {
                Ok(Response::Transacted(outcomes)) => Ok(outcomes.len() as u64),
                Err(Error::Rejected(
                    Rejection::PreconditionFailed { .. } | Rejection::UnknownDocument { .. },
                )) => Ok(0),
                Ok(_) => Err(Error::unexpected_answer()),
                Err(error) => Err(error),
            }
        };
        match delete(documents)? {
            0 if documents.len() > 1 => documents.chunks(1).map(delete).sum(),
            deleted => Ok(deleted),
        }
    }

    /// A view whose values can be reduced, where its marks of stale entries begin, and a snapshot that has it.
    fn reducible(
        &self,
        name: &DatabaseName,
        query: &Query,
    ) -> Result<(Readable, MarkedFrom, S::Snapshot<'_>), Error> {
        loop {
            let view = self.readable(name, query)?;
            check_reducible(&view, query)?;
            if view.id == view.record.id {
                let runtime = self.views.get(view.database.id, view.id);
                let refreshed = self.refresh_partials(&view, &runtime);
                self.unless_replaced(name, &view, refreshed)?;
            }
            let marked_from = self.marked_from(&view);
            let snapshot = self.store.snapshot();
            if stored(is_there(self.scope, &snapshot, &view))? {
                return Ok((view, marked_from, snapshot));
            }
            self.check_open()?;
        }
    }
}

/// Reduces entries of a view to one value. `marked_from` is older than the snapshot.
pub(super) fn reduce_at(
    snapshot: &impl Snapshot,
    view: &Readable,
    marked_from: &MarkedFrom,
    query: &Query,
) -> Result<Group, Error> {
    let mut values = Vec::new();
    let place = stored(place(snapshot, view, query))?;
    let slots = stored(open_slots(snapshot, view, place, marked_from))?;
    for (start, end) in ranges(query) {
        for slot in &slots {
            stored(slot.values(&start, end.as_deref(), &mut values))?;
        }
    }
    Ok(Group {
        key: Vec::new(),
        value: Reducing::of(view)?.reduce(values)?,
    })
}

/// Reduces the entries of each key. `marked_from` is older than the snapshot.
pub(super) fn reduce_grouped_at(
    snapshot: &impl Snapshot,
    view: &Readable,
    marked_from: &MarkedFrom,
    query: &Query,
) -> Result<Vec<Group>, Error> {
    let schema = Reducing::of(view)?;
    let place = stored(place(snapshot, view, query))?;
    let slots = stored(open_slots(snapshot, view, place, marked_from))?;
    let mut groups = Vec::new();
    for (start, end) in ranges(query) {
        let mut position = Some(start);
        while let Some(start) = position.take() {
            let mut entries = stored(Entries::scan(
                snapshot,
                view,
                place.slots(),
                &start,
                end.as_deref(),
                Order::Ascending,
            ))?;
            let mut group: Option<(Vec<u8>, Vec<Vec<u8>>)> = None;
            while let Some((entry, value)) = stored(entries.entry())? {
                let key = stored(key_of(entry))?;
                match &mut group {
                    Some((of, values)) if of == key => values.push(value.to_vec()),
                    other => {
                        if let Some((key, values)) = other.replace((key.to_vec(), vec![value.to_vec()])) {
                            groups.push(Group {
                                key,
                                value: schema.reduce(values)?,
                            });
                        }
                    }
                }
                if let Some((key, values)) = &mut group
                    && values.len() == LARGE_GROUP
                {
                    // The rest of it is behind us at once.
                    values.clear();
                    let behind = KeyRange::prefixed(key).end;
                    let until = behind.as_deref().map_or(end.as_deref(), |behind| {
                        Some(end.as_deref().map_or(behind, |end| end.min(behind)))
                    });
                    let from = start.as_slice().max(key.as_slice());
                    for slot in &slots {
                        stored(slot.values(from, until, values))?;
                    }
                    position = behind.filter(|behind| end.as_ref().is_none_or(|end| behind < end));
                    break;
                }
                stored(entries.advance())?;
            }
            if let Some((key, values)) = group {
                groups.push(Group {
                    key,
                    value: schema.reduce(values)?,
                });
            }
        }
    }
    if query.order == Order::Descending {
        groups.reverse();
    }
    Ok(groups)
}

/// Whether a query of a view can be reduced.
pub(super) fn check_reducible(view: &Readable, query: &Query) -> Result<(), Error> {
    if query.limit.is_some() || query.after.is_some() {
        return Err(Error::invalid(
            "a reduce takes all entries of its keys: leave out the limit and the place",
        ));
    }
    match view.record.definition.reduces {
        true => Ok(()),
        false => Err(view.failed("it has no reduce")),
    }
}

/// What each slot has of a view. `marked_from` is older than the snapshot.
fn open_slots<'s, S: Snapshot>(
    snapshot: &'s S,
    view: &Readable,
    place: Place,
    marked_from: &MarkedFrom,
) -> Result<Vec<InSlot<'s, S>>, StoreError> {
    place
        .slots()
        .map(|slot| InSlot::open(snapshot, view, slot, marked_from.get(&slot).copied()))
        .collect()
}

/// Where the entries are that a query reads.
fn place(snapshot: &impl Snapshot, view: &Readable, query: &Query) -> Result<Place, StoreError> {
    match query.freshness {
        Freshness::Stale => view.place_in(snapshot),
        // It was just brought up to date, in the store or over the snapshot.
        _ => Ok(view.place()),
    }
}

/// Reads entries of a view, about as many as `most_bytes` have.
pub(super) fn rows(
    snapshot: &impl Snapshot,
    view: &Readable,
    query: &Query,
    with_documents: bool,
    most_bytes: usize,
) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    if query.limit == Some(0) {
        return Ok(rows);
    }
    let place = stored(place(snapshot, view, query))?;
    let mut bytes = 0;
    let mut last = Vec::new();
    let mut ranges = ranges(query);
    if query.order == Order::Descending {
        ranges.reverse();
    }
    for (mut start, mut end) in ranges {
        match (&query.after, query.order) {
            (Some(RowCursor(after)), Order::Ascending) => {
                start = start.max([after.as_slice(), &[0]].concat());
            }
            (Some(RowCursor(after)), Order::Descending) => {
                end = Some(end.map_or(after.clone(), |end| end.min(after.clone())));
            }
            (None, _) => {}
        }
        let slot = match &query.keys {
            KeySelection::These(_) if view.record.definition.policy == ViewPolicy::Unique => {
                stored(slot_of_owner(snapshot, view, &start))?
            }
            _ => None,
        };
        let scan = |slots: &mut dyn Iterator<Item = Slot>| {
            Entries::scan(snapshot, view, slots, &start, end.as_deref(), query.order)
        };
        let mut entries = stored(match slot {
            Some(slot) => scan(&mut slot.into_iter()),
            None => scan(&mut place.slots()),
        })?;
        while let Some((entry, value)) = stored(entries.entry())? {
            if bytes >= most_bytes || query.limit.is_some_and(|limit| rows.len() >= limit) {
                rows.next = Some(RowCursor(last));
                return Ok(rows);
            }
            let (key, id) =
                stored(keys::split_entry(entry).ok_or_else(|| corrupt("entry", "it is cut short")))?;
            let document = match with_documents {
                true => match stored(id_of(id).and_then(|id| document(snapshot, view, &id)))? {
                    // A lazy view was read before the documents, so one of them may have changed since.
                    Some(document) if emits(view, &document, key)? => Some(document),
                    _ => None,
                },
                false => None,
            };
            // It is gone, or no longer emits this, since the view was last brought up to date.
            if document.is_some() || !with_documents {
                let size = document
                    .as_ref()
                    .map_or(0, |document| document.body.as_str().len());
                bytes += entry.len() + value.len() + size;
                entry.clone_into(&mut last);
                rows.push(key, id, value);
                rows.documents.extend(document);
            }
            stored(entries.advance())?;
        }
    }
    Ok(rows)
}

/// Whether the version of a view that is to be read is one that the snapshot has.
fn is_there(scope: Scope, snapshot: &impl Snapshot, view: &Readable) -> Result<bool, StoreError> {
    let views = scope.makeup_at(snapshot, view.database)?.views;
    Ok(views
        .iter()
        .any(|record| record.id == view.id || record.previous == Some(view.id)))
}

/// Whether a document, as it is now, has a key in a view. Of a version before the current one only the stored entries are
/// known, for the program no longer has its map.
fn emits(view: &Readable, document: &Document, key: &[u8]) -> Result<bool, Error> {
    let is_kept_up = view.record.definition.policy != ViewPolicy::Lazy;
    if is_kept_up || view.id != view.record.id {
        return Ok(true);
    }
    Ok(view.entries_of(document)?.iter().any(|entry| entry.key == key))
}

/// Where the entry of a key of a unique view lies, if there is one; `None` when that is not known.
fn slot_of_owner(
    snapshot: &impl Snapshot,
    view: &Readable,
    key: &[u8],
) -> Result<Option<Option<Slot>>, StoreError> {
    if view.id != view.record.id || pliantdb_core::key::encoded_length(key) != Some(key.len()) {
        return Ok(None);
    }
    let key = keys::owner(view.database, view.id, key);
    let owner = snapshot.get(&key, records::decode_owner)?.transpose()?;
    Ok(Some(owner.map(|id| keys::slot_of(view.database, &id))))
}

fn document(
    snapshot: &impl Snapshot,
    view: &Readable,
    id: &DocumentId,
) -> Result<Option<Document>, StoreError> {
    let key = keys::document(view.database, &view.record.definition.collection, id);
    let found = snapshot.get(&key, records::decode_document)?.transpose()?;
    Ok(found.map(|(revision, body)| Document {
        id: id.clone(),
        revision,
        body,
    }))
}

fn key_of(entry: &[u8]) -> Result<&[u8], StoreError> {
    keys::split_entry(entry)
        .map(|(key, _)| key)
        .ok_or_else(|| corrupt("entry", "it is cut short"))
}

/// The entries that a query asks for, in ascending order.
fn ranges(query: &Query) -> Vec<EntryRange> {
    match &query.keys {
        KeySelection::All => vec![(Vec::new(), None)],
        KeySelection::Range(start, end) => vec![(start.clone(), end.clone())],
        KeySelection::These(keys) => {
            let keys: BTreeSet<&Vec<u8>> = keys.iter().collect();
            keys.into_iter()
                .map(|key| (key.clone(), KeyRange::prefixed(key).end))
                .collect()
        }
    }
}
