//! Which databases exist, and what they are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use pliantdb_core::{
    CollectionName, DatabaseName, SchemaName, SlotCount, Timestamp, ViewDefinition, ViewId, ViewName,
    ViewPolicy,
};
use serde::{Deserialize, Serialize};

/// The number that stands for a database in keys, from 1; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatabaseId(u32);

impl DatabaseId {
    /// The first database's; 0 is the meta range.
    pub const FIRST: Self = Self(1);

    /// The database of this number; `None` of 0, which is the meta range.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            0 => None,
            number => Some(Self(number)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<u32> for DatabaseId {
    fn from(id: u32) -> Self {
        Self(id)
    }
}

/// What keys need to know of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// Its number.
    pub id: DatabaseId,
    /// Its slots.
    pub slots: SlotCount,
}

/// What a database is made of besides its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Makeup {
    /// The name of its schema, once it has one.
    pub schema: Option<SchemaName>,
    /// Its views.
    pub views: Vec<ViewRecord>,
    /// The highest id that a view of it ever had.
    pub last_view: Option<ViewId>,
    /// Changes committed before this are no longer kept.
    pub changes_from: Timestamp,
}

impl Makeup {
    /// The view of that name.
    #[must_use]
    pub fn view(&self, collection: &CollectionName, name: &ViewName) -> Option<&ViewRecord> {
        self.views
            .iter()
            .find(|view| view.definition.collection == *collection && view.definition.name == *name)
    }

    /// The views of a collection that change with its documents.
    pub fn eager_views(&self, collection: &CollectionName) -> impl Iterator<Item = &ViewRecord> {
        self.views.iter().filter(move |view| {
            view.definition.policy != ViewPolicy::Lazy
                && view.definition.collection == *collection
                && !matches!(view.state, ViewState::Failed(_))
        })
    }
}

/// One version of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Its number.
    pub id: ViewId,
    /// What it is.
    pub definition: ViewDefinition,
    /// How far it is.
    pub state: ViewState,
    /// The version before, which answers until this one is built.
    pub previous: Option<ViewId>,
}

/// How far a view is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ViewState {
    /// It is being built.
    Building,
    /// It has every document (a lazy one: as of when it was last queried).
    Ready,
    /// It cannot be built, and why.
    Failed(String),
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseState {
    /// Its number and slots.
    pub entry: DatabaseEntry,
    /// Its schema and views.
    pub makeup: Arc<Makeup>,
}

/// All databases by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    databases: BTreeMap<DatabaseName, DatabaseState>,
    /// The highest id that a database ever had.
    last_id: Option<DatabaseId>,
}

impl Catalog {
    /// The database of that name.
    #[must_use]
    pub fn get(&self, name: &DatabaseName) -> Option<&DatabaseState> {
        self.databases.get(name)
    }

    /// The databases with their names, in order.
    pub fn databases(&self) -> impl Iterator<Item = (&DatabaseName, &DatabaseState)> {
        self.databases.iter()
    }

    /// Whether a version of a view is in use, or was and answers until the next one is built.
    pub(crate) fn has_view(&self, database: DatabaseId, view: ViewId) -> bool {
        let of_database = self.databases.values().filter(|state| state.entry.id == database);
        let mut views = of_database.flat_map(|state| &state.makeup.views);
        views.any(|record| record.id == view || record.previous == Some(view))
    }

    pub(crate) fn insert(&mut self, name: DatabaseName, state: DatabaseState) {
        self.last_id = self.last_id.max(Some(state.entry.id));
        self.databases.insert(name, state);
    }

    pub(crate) fn remove(&mut self, name: &DatabaseName) {
        self.databases.remove(name);
    }

    pub(crate) fn was_given(&mut self, id: DatabaseId) {
        self.last_id = self.last_id.max(Some(id));
    }

    /// The number for the next database.
    pub(crate) fn next_id(&self) -> DatabaseId {
        self.last_id.map_or(DatabaseId::FIRST, DatabaseId::next)
    }
}
