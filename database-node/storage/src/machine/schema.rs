//! Databases, their schemas, and how long their changes are kept.

use std::sync::Arc;

use pliantdb_core::{DatabaseName, Rejection, SchemaName, SlotCount, Timestamp, ViewDefinition, ViewId};

use super::Applying;
use crate::catalog::{DatabaseEntry, DatabaseState, Makeup, ViewRecord, ViewState};
use crate::error::StorageError;
use crate::keys::{self, Space};
use crate::records;
use crate::store::{KeyRange, OrderedStore};

impl<S: OrderedStore> Applying<'_, S> {
    pub(super) fn create_database(
        &mut self,
        name: &DatabaseName,
        slots: SlotCount,
    ) -> Result<(), StorageError> {
        if self.database(name).is_ok() {
            let database = name.clone();
            return Err(Rejection::DatabaseExists { database }.into());
        }
        let entry = DatabaseEntry {
            id: self.catalog().next_id(),
            slots,
        };
        let makeup = Arc::new(Makeup::default());
        self.catalog()
            .insert(name.clone(), DatabaseState { entry, makeup });
        self.pending
            .put_unread(keys::database(name), records::encode_database(&entry)?);
        self.pending
            .put_unread(keys::LAST_DATABASE, records::encode_last_database(entry.id)?);
        Ok(())
    }

    pub(super) fn delete_database(&mut self, name: &DatabaseName) -> Result<(), StorageError> {
        let entry = self.database(name)?.entry;
        self.catalog().remove(name);
        self.pending.delete_unread(keys::database(name));
        self.pending.delete_unread(keys::makeup(entry.id));
        self.pending.delete_range(keys::lazy_views(entry.id));
        self.pending.delete_range(keys::everything(entry.id));
        Ok(())
    }

    pub(super) fn define_schema(
        &mut self,
        database: &DatabaseName,
        schema: &SchemaName,
        views: &[ViewDefinition],
    ) -> Result<(), StorageError> {
        let state = self.database(database)?;
        let mut makeup = (*state.makeup).clone();
        if let Some(current) = makeup.schema.replace(schema.clone())
            && current != *schema
        {
            return Err(Rejection::OtherSchema {
                database: database.clone(),
                current,
                wanted: schema.clone(),
            }
            .into());
        }
        let mut before = std::mem::take(&mut makeup.views);
        for definition in views {
            let same = |view: &ViewRecord| {
                view.definition.collection == definition.collection && view.definition.name == definition.name
            };
            let known = before.iter().position(same).map(|at| before.swap_remove(at));
            let view = match known {
                // One that failed is tried again.
                Some(view)
                    if view.definition == *definition && !matches!(view.state, ViewState::Failed(_)) =>
                {
                    view
                }
                known => {
                    let id = makeup.last_view.map_or(ViewId::FIRST, ViewId::next);
                    makeup.last_view = Some(id);
                    ViewRecord {
                        id,
                        definition: definition.clone(),
                        state: ViewState::Building,
                        previous: known.and_then(|known| self.superseded(state.entry, &known)),
                    }
                }
            };
            makeup.views.push(view);
        }
        for view in before {
            if let Some(previous) = self.superseded(state.entry, &view) {
                self.delete_view(state.entry, previous);
            }
        }
        self.set_makeup(database, state.entry, makeup)
    }

    /// The version of a view that can answer when this one is no longer kept up to date: itself, or the one before if
    /// it was never built. What can never answer again is deleted.
    fn superseded(&mut self, database: DatabaseEntry, view: &ViewRecord) -> Option<ViewId> {
        match view.state {
            ViewState::Ready => Some(view.id),
            ViewState::Building | ViewState::Failed(_) => {
                self.delete_view(database, view.id);
                view.previous
            }
        }
    }

    pub(super) fn trim_changes(
        &mut self,
        database: &DatabaseName,
        before: Timestamp,
    ) -> Result<(), StorageError> {
        let state = self.database(database)?;
        if before <= state.makeup.changes_from {
            return Ok(());
        }
        let mut makeup = (*state.makeup).clone();
        makeup.changes_from = before;
        for slot in self.scope.extent(state.entry).slots() {
            self.pending.delete_range(KeyRange {
                start: keys::space(state.entry.id, slot, Space::Changes, 0),
                end: Some(keys::change(state.entry.id, slot, before, 0).to_vec()),
            });
        }
        self.set_makeup(database, state.entry, makeup)
    }

    pub(super) fn set_makeup(
        &mut self,
        name: &DatabaseName,
        entry: DatabaseEntry,
        makeup: Makeup,
    ) -> Result<(), StorageError> {
        self.pending
            .put_unread(self.scope.makeup(entry), records::encode_makeup(&makeup)?);
        let makeup = Arc::new(makeup);
        self.catalog()
            .insert(name.clone(), DatabaseState { entry, makeup });
        Ok(())
    }
}
