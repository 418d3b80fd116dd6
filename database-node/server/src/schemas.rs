//! The schemas that the server has the code of.

use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{Error, InvalidSchema, Rejection, Schema, SchemaName, Schematic};
use pliantdb_storage::{Database, Operation, Storage};

/// A schema with the code of its views.
struct Known {
    offer: SchemaOffer,
    /// Gives a database the schema.
    define: fn(&Database) -> Result<(), Error>,
    /// Lets a database be used with the schema once it has it.
    learn: fn(&Database) -> Result<bool, Error>,
}

/// The schemas that the server has the code of: several of one name are its versions.
#[derive(Default)]
pub(crate) struct Schemas(Vec<Known>);

impl Schemas {
    /// Adds a schema.
    ///
    /// # Errors
    /// [`InvalidSchema`] when it contradicts itself.
    pub(crate) fn add<S: Schema>(&mut self) -> Result<(), InvalidSchema> {
        if let Some(offer) = SchemaOffer::of(&Schematic::of::<S>()?) {
            self.0.push(Known {
                offer,
                define: Database::define_schema::<S>,
                learn: Database::learn_schema::<S>,
            });
        }
        Ok(())
    }

    /// The schema of that name, of the version that was added last.
    pub(crate) fn of_name(&self, name: &SchemaName) -> Option<SchemaOffer> {
        let known = self.0.iter().rfind(|known| known.offer.name == *name);
        known.map(|known| known.offer.clone())
    }

    /// Gives the databases that have one of these schemas the code of it: of the version that they have, else of the one
    /// that was added last.
    ///
    /// # Errors
    /// Any [`Error`] of the storage.
    pub(crate) fn define_all(&self, storage: &Storage) -> Result<(), Error> {
        for name in storage.names() {
            let Some(has) = storage.schema(&name)? else {
                continue;
            };
            let of_name = || self.0.iter().filter(|known| known.offer.name == has.name);
            let Some(known) = of_name()
                .find(|known| are_the_same(&known.offer, &has))
                .or(of_name().next_back())
            else {
                tracing::warn!(database = %name, schema = %has.name, "this server does not have the code of the schema");
                continue;
            };
            (known.define)(&storage.get(&name)?)?;
        }
        Ok(())
    }

    /// Lets a database be used with all of these schemas as soon as another node gives it one.
    ///
    /// # Errors
    /// As [`Database::learn_schema`].
    pub(crate) fn teach(&self, database: &Database) -> Result<(), Error> {
        self.0
            .iter()
            .try_for_each(|known| (known.learn)(database).map(drop))
    }

    /// Whether this server has what a schema needs.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the schema has views whose code this server does not have.
    pub(crate) fn check(&self, schema: Option<&SchemaOffer>) -> Result<(), Error> {
        schema.map_or(Ok(()), |schema| self.code(schema).map(drop))
    }

    /// Gives a database a schema; it may block.
    ///
    /// # Errors
    /// As [`Schemas::check`]; [`Rejection::OtherSchema`] when it has a schema of another name; and whatever a write comes to.
    pub(crate) fn give(&self, database: &Database, schema: SchemaOffer) -> Result<(), Error> {
        match self.code(&schema)? {
            Some(known) => (known.define)(database),
            None => define_without_views(database, schema.name),
        }
    }

    /// The code of a schema; `None` when it needs none.
    fn code(&self, schema: &SchemaOffer) -> Result<Option<&Known>, Error> {
        let known = self.0.iter().find(|known| are_the_same(&known.offer, schema));
        match known {
            Some(known) => Ok(Some(known)),
            None if schema.views.is_empty() => Ok(None),
            None => {
                let views: Vec<_> = schema.views.iter().map(|view| view.name.as_str()).collect();
                Err(Error::Invalid(format!(
                    "this server does not have the code of the schema {} with the views {}: views are run by the server, so \
                     start one that has them (Server::builder(…).schema::<S>()), of the version that you use",
                    schema.name,
                    views.join(", ")
                )))
            }
        }
    }
}

/// Whether two are the same, in whatever order the views are told.
pub(crate) fn are_the_same(one: &SchemaOffer, other: &SchemaOffer) -> bool {
    one.name == other.name
        && one.views.len() == other.views.len()
        && one.views.iter().all(|view| other.views.contains(view))
}

/// Gives a database the name of a schema without views, of which the server needs no code.
fn define_without_views(database: &Database, schema: SchemaName) -> Result<(), Error> {
    match database.schema()? {
        Some(has) if has.name != schema => Err(Rejection::OtherSchema {
            database: database.name().clone(),
            current: has.name,
            wanted: schema,
        }
        .into()),
        Some(has) if !has.views.is_empty() => Err(Error::Invalid(format!(
            "the schema {schema} of the database {:?} has {} views, and yours has none: use the schema that it has",
            database.name(),
            has.views.len()
        ))),
        Some(_) => Ok(()),
        None => {
            database.propose(Operation::DefineSchema {
                database: database.name().clone(),
                schema,
                views: Vec::new(),
            })?;
            Ok(())
        }
    }
}
