//! The schemas that the server has the code of.

use pliantdb_core::protocol::{DatabaseHandle, SchemaOffer};
use pliantdb_core::{
    DatabaseName, Error, InvalidSchema, Rejection, Schema, SchemaName, Schematic, StorageConnection,
};
use pliantdb_storage::{AsyncStorage, Database, Operation, SlotCount, Storage};

/// Gives a database a schema.
type Define = fn(&Storage, &DatabaseName) -> Result<Database, Error>;

/// A schema with the code of its views.
struct Known {
    offer: SchemaOffer,
    define: Define,
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
            let define = |storage: &Storage, name: &DatabaseName| storage.database::<S>(name.as_str());
            self.0.push(Known { offer, define });
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
                .find(|known| fits(known, &has))
                .or(of_name().next_back())
            else {
                tracing::warn!(database = %name, schema = %has.name, "this server does not have the code of the schema");
                continue;
            };
            (known.define)(storage, &name)?;
        }
        Ok(())
    }

    /// Creates a database.
    ///
    /// # Errors
    /// As [`Schemas::open`], and [`Rejection::DatabaseExists`].
    pub(crate) async fn create(
        &self,
        storage: &AsyncStorage,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
    ) -> Result<DatabaseHandle, Error> {
        // First, so that nothing is created that cannot be opened.
        let define = schema
            .as_ref()
            .map(|schema| self.code(schema))
            .transpose()?
            .flatten();
        let created = name.clone();
        storage
            .run(move |storage| {
                storage
                    .create(&created, SlotCount::default())
                    .map(drop)
                    .map_err(Error::from)
            })
            .await?;
        self.define(storage, name, schema, define).await
    }

    /// Opens a database, which is given the schema.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`]; [`Rejection::OtherSchema`] when it has a schema of another name; [`Error::Invalid`] when
    /// the schema has views whose code this server does not have.
    pub(crate) async fn open(
        &self,
        storage: &AsyncStorage,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
    ) -> Result<DatabaseHandle, Error> {
        let define = schema
            .as_ref()
            .map(|schema| self.code(schema))
            .transpose()?
            .flatten();
        self.define(storage, name, schema, define).await
    }

    async fn define(
        &self,
        storage: &AsyncStorage,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
        define: Option<Define>,
    ) -> Result<DatabaseHandle, Error> {
        storage
            .run(move |storage| {
                let database = match (schema, define) {
                    (None, _) => storage.get(&name)?,
                    (Some(_), Some(define)) => define(storage, &name)?,
                    (Some(schema), None) => define_without_views(storage, &name, schema.name)?,
                };
                Ok(DatabaseHandle {
                    number: Some(database.number()),
                    name,
                })
            })
            .await
    }

    /// The code of a schema; `None` when it needs none.
    fn code(&self, schema: &SchemaOffer) -> Result<Option<Define>, Error> {
        let known = self.0.iter().find(|known| fits(known, schema));
        match known {
            Some(known) => Ok(Some(known.define)),
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
fn fits(known: &Known, schema: &SchemaOffer) -> bool {
    known.offer.name == schema.name
        && known.offer.views.len() == schema.views.len()
        && known.offer.views.iter().all(|view| schema.views.contains(view))
}

/// Gives a database the name of a schema without views, of which the server needs no code.
fn define_without_views(
    storage: &Storage,
    name: &DatabaseName,
    schema: SchemaName,
) -> Result<Database, Error> {
    let database = storage.get(name)?;
    match storage.schema(name)? {
        Some(has) if has.name != schema => Err(Rejection::OtherSchema {
            database: name.clone(),
            current: has.name,
            wanted: schema,
        }
        .into()),
        Some(has) if !has.views.is_empty() => Err(Error::Invalid(format!(
            "the schema {schema} of the database {name:?} has {} views, and yours has none: use the schema that it has",
            has.views.len()
        ))),
        Some(_) => Ok(database),
        None => {
            storage.execute(Operation::DefineSchema {
                database: name.clone(),
                schema,
                views: Vec::new(),
            })?;
            Ok(database)
        }
    }
}
