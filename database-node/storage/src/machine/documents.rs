//! Transactions of documents.

use pliantdb_core::{
    ChangeKind, ChangeOutcome, DocumentAction, DocumentChange, DocumentId, Precondition, Rejection, Revision,
    Timestamp, ViewPolicy,
};

use super::{Applying, views};
use crate::catalog::{DatabaseState, ViewState};
use crate::error::StorageError;
use crate::store::OrderedStore;
use crate::{keys, records};

impl<S: OrderedStore> Applying<'_, S> {
    pub(super) fn transact(
        &mut self,
        database: &DatabaseState,
        changes: &[DocumentChange],
        time: Timestamp,
    ) -> Result<Vec<ChangeOutcome>, StorageError> {
        let change = |(number, change)| self.change(database, change, time, number);
        (0..).zip(changes).map(change).collect()
    }

    fn change(
        &mut self,
        database: &DatabaseState,
        change: &DocumentChange,
        time: Timestamp,
        number: u32,
    ) -> Result<ChangeOutcome, StorageError> {
        let DocumentChange {
            collection,
            id,
            precondition,
            action,
        } = change;
        let entry = database.entry;
        let key = keys::document(entry, collection, id);
        let extent = self.scope.extent(entry);
        extent.check(&key)?;
        let read = |value: &[u8]| records::split_document(value).map(|(revision, _)| revision);
        let current = match action {
            DocumentAction::Create { .. } => None,
            _ => self.pending.get(&key, read)?,
        };
        check(id, *precondition, current)?;
        let kind = match (action, current) {
            (DocumentAction::Check, _) => return Ok(ChangeOutcome::Checked),
            (DocumentAction::Delete, None) => {
                let (collection, id) = (collection.clone(), id.clone());
                return Err(Rejection::UnknownDocument { collection, id }.into());
            }
            (DocumentAction::Delete, Some(_)) => ChangeKind::Deleted,
            (DocumentAction::Put { .. } | DocumentAction::Create { .. }, None) => ChangeKind::Inserted,
            (DocumentAction::Put { .. } | DocumentAction::Create { .. }, Some(_)) => ChangeKind::Updated,
        };
        for view in database.makeup.eager_views(collection) {
            let entries = match action {
                DocumentAction::Put { emitted, .. } | DocumentAction::Create { emitted, .. } => {
                    match emitted.iter().find(|emitted| emitted.view == view.id) {
                        Some(emitted) => emitted.entries.as_slice(),
                        None => {
                            let (collection, view) = (collection.clone(), view.definition.name.clone());
                            return Err(Rejection::SchemaMoved { collection, view }.into());
                        }
                    }
                }
                _ => &[],
            };
            // Whatever it claims may belong to a document that has not been looked at yet.
            if view.definition.policy == ViewPolicy::Unique
                && view.state == ViewState::Building
                && !entries.is_empty()
            {
                let (collection, view) = (collection.clone(), view.definition.name.clone());
                return Err(Rejection::ViewBuilding { collection, view }.into());
            }
            views::replace(
                &mut self.pending,
                extent,
                view,
                id,
                current.is_some(),
                entries,
                Some(time),
            )?;
        }
        let slot = keys::slot_of(entry, id);
        self.pending
            .put_unread_with(keys::change(entry.id, slot, time, number), |to| {
                records::encode_change(kind, collection, id, to);
            });
        let revision = Revision::at(time);
        Ok(match action {
            DocumentAction::Put { body, .. } | DocumentAction::Create { body, .. } => {
                self.pending
                    .put_with(key, |to| records::encode_document(revision, body, to));
                ChangeOutcome::Written {
                    id: id.clone(),
                    revision,
                    created: current.is_none(),
                }
            }
            _ => {
                self.pending.delete(key);
                ChangeOutcome::Deleted
            }
        })
    }
}

fn check(id: &DocumentId, wanted: Precondition, current: Option<Revision>) -> Result<(), Rejection> {
    let holds = match wanted {
        Precondition::None => true,
        Precondition::Absent => current.is_none(),
        Precondition::Exists => current.is_some(),
        Precondition::Revision(revision) => current == Some(revision),
    };
    if holds {
        Ok(())
    } else {
        Err(Rejection::PreconditionFailed {
            id: id.clone(),
            wanted,
            current,
        })
    }
}
