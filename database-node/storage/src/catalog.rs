//! Which databases exist.

use std::collections::BTreeMap;

use pliantdb_core::{DatabaseName, SlotCount};
use serde::{Deserialize, Serialize};

/// The number that stands for a database in keys, from 1; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DatabaseId(u32);

impl DatabaseId {
    /// The first database's; 0 is the meta range.
    pub const FIRST: Self = Self(1);

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

#[cfg(test)]
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

/// All databases by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    databases: BTreeMap<DatabaseName, DatabaseEntry>,
}

impl Catalog {
    /// The database of that name.
    #[must_use]
    pub fn get(&self, name: &DatabaseName) -> Option<DatabaseEntry> {
        self.databases.get(name).copied()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &DatabaseName> {
        self.databases.keys()
    }

    pub(crate) fn insert(&mut self, name: DatabaseName, entry: DatabaseEntry) {
        self.databases.insert(name, entry);
    }

    /// The number for the next database. (Databases are never removed yet; when they are, the highest
    /// number given must be kept.)
    pub(crate) fn next_id(&self) -> DatabaseId {
        self.databases
            .values()
            .map(|entry| entry.id.next())
            .max()
            .unwrap_or(DatabaseId::FIRST)
    }
}
