//! The code of schemas that a program has for the databases that it uses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use pliantdb_core::{Schematic, ViewSchema};

use crate::catalog::{DatabaseId, Makeup};

/// Of each database the schemas that it was opened with.
#[derive(Default)]
pub(crate) struct Schemas {
    known: RwLock<HashMap<DatabaseId, Arc<Known>>>,
    /// Held by who gives a database another schema, so that there is one at a time.
    defining: Mutex<()>,
}

/// The versions of a database's schema that are known.
///
/// While a schema is defined, here or on another node, both the old one and the new one are known: whoever makes the
/// entries of a document, or reads a view, goes by the one that the views are of.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// The one that it was last opened with.
    opened: Option<Arc<Schematic>>,
    /// Others that it had, or may be given.
    others: Vec<Arc<Schematic>>,
}

impl Known {
    /// The version that a database has; else the one that it was opened with; that of `()` when there is none.
    pub(crate) fn of(&self, makeup: &Makeup) -> Arc<Schematic> {
        let found = match self.others.is_empty() {
            true => None,
            false => self.exactly(makeup),
        };
        found.or(self.opened.as_ref()).cloned().unwrap_or_default()
    }

    /// Whether the version that a database has is one of them.
    pub(crate) fn has(&self, makeup: &Makeup) -> bool {
        self.exactly(makeup).is_some()
    }

    /// Whether the database was opened with a schema in this process.
    pub(crate) fn was_opened(&self) -> bool {
        self.opened.is_some()
    }

    fn exactly(&self, makeup: &Makeup) -> Option<&Arc<Schematic>> {
        let mut versions = self.opened.iter().chain(&self.others);
        versions.find(|version| is_of(version, makeup))
    }

    fn learn(&mut self, version: &Arc<Schematic>) {
        self.others.retain(|other| !is_same(other, version));
        self.others.push(Arc::clone(version));
    }
}

impl Schemas {
    /// What is known of a database.
    pub(crate) fn of(&self, database: DatabaseId) -> Arc<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&database).cloned().unwrap_or_default()
    }

    /// The version that a database has, as [`Known::of`].
    pub(crate) fn current(&self, database: DatabaseId, makeup: &Makeup) -> Arc<Schematic> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&database)
            .map(|known| known.of(makeup))
            .unwrap_or_default()
    }

    /// Lets nobody else define a schema.
    pub(crate) fn defining(&self) -> MutexGuard<'_, ()> {
        self.defining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a version known, in the place of one of the same name and views, for when the database has it.
    pub(crate) fn learn(&self, database: DatabaseId, version: &Arc<Schematic>) {
        self.change(database, |known| known.learn(version));
    }

    /// Notes that a database has a version, and was opened with it.
    pub(crate) fn open(&self, database: DatabaseId, version: &Arc<Schematic>) {
        self.change(database, |known| {
            if let Some(before) = known.opened.replace(Arc::clone(version)) {
                known.learn(&before);
            }
            known.others.retain(|other| !is_same(other, version));
        });
    }

    /// Goes back to what was known before a version was learnt that the database was not given.
    pub(crate) fn go_back(&self, database: DatabaseId, before: Arc<Known>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(database, before);
    }

    /// Forgets a database.
    pub(crate) fn forget(&self, database: DatabaseId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&database);
    }

    fn change(&self, database: DatabaseId, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(known.entry(database).or_default()));
    }
}

/// Whether a database has this version, in whatever order the views are.
fn is_of(version: &Schematic, makeup: &Makeup) -> bool {
    let mut count = 0;
    let has = |view: &ViewSchema| {
        count += 1;
        let definition = view.definition();
        let record = makeup.view(&definition.collection, &definition.name);
        record.is_some_and(|record| record.definition == *definition)
    };
    version.name() == makeup.schema.as_ref() && version.views().all(has) && count == makeup.views.len()
}

/// Whether two have the same name and views, in whatever order.
fn is_same(one: &Schematic, other: &Schematic) -> bool {
    let has = |view: &ViewSchema| other.views().any(|known| known.definition() == view.definition());
    one.name() == other.name() && one.views().count() == other.views().count() && one.views().all(has)
}
