//! Whether views agree with themselves and with their documents.

use pliantdb_core::{DatabaseName, DocumentId, Order, Slot, ViewPolicy};

use super::{CheckReport, Fault};
use crate::catalog::{DatabaseEntry, ViewRecord, ViewState};
use crate::error::StorageError;
use crate::inspect;
use crate::keys::{self, Space};
use crate::machine::views::numbered;
use crate::records::{self, LazyView, corrupt};
use crate::store::{Cursor, KeyRange, Snapshot, StoreError};

/// Checks the views of all databases. Not the versions before, which nobody keeps up to date.
pub(super) fn check(snapshot: &impl Snapshot, report: &mut CheckReport) -> Result<(), StorageError> {
    for (name, entry) in inspect::databases(snapshot)? {
        let makeup = snapshot
            .get(&keys::makeup(entry.id), records::decode_makeup)?
            .transpose()?;
        for record in &makeup.unwrap_or_default().views {
            if matches!(record.state, ViewState::Failed(_)) {
                continue;
            }
            let lazy = snapshot
                .get(&keys::lazy_view(entry.id, record.id), records::decode_lazy_view)?
                .transpose()?;
            let is_local =
                record.definition.policy == ViewPolicy::Lazy && !matches!(lazy, Some(LazyView::InSlots));
            let mut checking = Checking {
                snapshot,
                report,
                name: &name,
                database: entry,
                record,
                is_local,
            };
            for slot in entry.slots.slots().chain([Slot::LOCAL]) {
                checking.emitted(slot)?;
                checking.entries(slot)?;
                checking.owners(slot)?;
            }
        }
    }
    Ok(())
}

struct Checking<'a, S> {
    snapshot: &'a S,
    report: &'a mut CheckReport,
    name: &'a DatabaseName,
    database: DatabaseEntry,
    record: &'a ViewRecord,
    /// Whether its entries lie in the local slot, and not in those of their documents.
    is_local: bool,
}

impl<S: Snapshot> Checking<'_, S> {
    /// What documents have emitted is there.
    fn emitted(&mut self, slot: Slot) -> Result<(), StoreError> {
        let policy = self.record.definition.policy;
        self.each(slot, Space::Emitted, |checking, id, value| {
            let id = document_id(id)?;
            let keys = records::decode_emitted(value)?;
            let document = keys::document(checking.database, &checking.record.definition.collection, &id);
            // A lazy view does not know yet of what was deleted.
            if policy != ViewPolicy::Lazy && checking.snapshot.get(&document, |_| ())?.is_none() {
                checking.fault(format!(
                    "it has entries of the document {id:?}, which does not exist"
                ));
            }
            for entry in numbered(keys.iter().map(Vec::as_slice), &id) {
                let key = [checking.base(slot, Space::Entries).as_slice(), &entry].concat();
                if checking.snapshot.get(&key, |_| ())?.is_none() {
                    checking.fault(format!("it lacks an entry of the document {id:?}"));
                }
            }
            for key in keys.iter().filter(|_| policy == ViewPolicy::Unique) {
                let owner = keys::owner(checking.database, checking.record.id, key);
                let owner = checking
                    .snapshot
                    .get(&owner, records::decode_owner)?
                    .transpose()?;
                if owner.as_ref() != Some(&id) {
                    checking.fault(format!("a key of the document {id:?} is not noted as its own"));
                }
            }
            Ok(())
        })
    }

    /// What is there was emitted.
    fn entries(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.each(slot, Space::Entries, |checking, entry, _| {
            let (key, id) = keys::split_entry(entry).ok_or_else(|| corrupt("entry", "it is cut short"))?;
            checking.is_emitted(&document_id(id)?, key, "an entry")
        })
    }

    /// Who has a key of a unique view has emitted it.
    fn owners(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.each(slot, Space::Owners, |checking, key, value| {
            checking.is_emitted(
                &records::decode_owner(value)?,
                key,
                "a note of the owner of a key",
            )
        })
    }

    fn is_emitted(&mut self, id: &DocumentId, key: &[u8], what: &str) -> Result<(), StoreError> {
        let slot = match self.is_local {
            true => Slot::LOCAL,
            false => keys::slot_of(self.database, id),
        };
        let place = [self.base(slot, Space::Emitted).as_slice(), id.as_str().as_bytes()].concat();
        let emitted = self.snapshot.get(&place, records::decode_emitted)?.transpose()?;
        if !emitted.unwrap_or_default().iter().any(|emitted| emitted == key) {
            self.fault(format!("it has {what} that the document {id:?} has not emitted"));
        }
        Ok(())
    }

    /// Reads everything of the view in a space of a slot.
    fn each(
        &mut self,
        slot: Slot,
        space: Space,
        mut check: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let base = self.base(slot, space);
        let snapshot = self.snapshot;
        let mut cursor = snapshot.scan(KeyRange::prefixed(&base), Order::Ascending)?;
        while let Some((key, value)) = cursor.entry() {
            check(self, key.get(base.len()..).unwrap_or_default(), value)?;
            cursor.advance()?;
        }
        Ok(())
    }

    fn base(&self, slot: Slot, space: Space) -> Vec<u8> {
        keys::view(self.database.id, slot, space, self.record.id, 0)
    }

    fn fault(&mut self, reason: String) {
        self.report.add(Fault::View {
            database: self.name.as_str().to_owned(),
            collection: self.record.definition.collection.as_str().to_owned(),
            view: self.record.definition.name.as_str().to_owned(),
            reason,
        });
    }
}

fn document_id(id: &[u8]) -> Result<DocumentId, StoreError> {
    let id = str::from_utf8(id).map_err(|error| corrupt("entry", error))?;
    id.parse().map_err(|error| corrupt("entry", error))
}
