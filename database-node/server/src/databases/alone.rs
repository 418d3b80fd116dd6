//! The databases of a node that is alone: those of the storage in its directory.

use std::sync::Arc;

use pliantdb_core::access::AccountsChange;
use pliantdb_core::protocol::{BackupSummary, DatabaseHandle, SchemaOffer};
use pliantdb_core::{DatabaseName, Error, SlotCount, StorageConnection};
use pliantdb_storage::backup::{self, BackupError};
use pliantdb_storage::{AsyncDatabase, AsyncStorage, Operation, Storage};

use crate::backup_place;
use crate::executor::Executor;
use crate::schemas::Schemas;

/// The databases of a storage.
pub(crate) struct Alone {
    storage: AsyncStorage,
    pub(super) schemas: Arc<Schemas>,
    pub(super) executor: Arc<Executor>,
}

impl Alone {
    pub(crate) fn new(storage: Storage, schemas: Arc<Schemas>, executor: Arc<Executor>) -> Self {
        Self {
            storage: AsyncStorage::from(storage),
            schemas,
            executor,
        }
    }

    pub(crate) fn storage(&self) -> &Storage {
        self.storage.blocking()
    }

    pub(super) async fn names(&self) -> Result<Vec<DatabaseName>, Error> {
        self.storage.databases().await
    }

    /// The database that is meant: [`Error::UnknownDatabase`] also when the one of that name is another one.
    pub(super) fn find(&self, handle: &DatabaseHandle) -> Result<AsyncDatabase, Error> {
        let database = self.storage.get(&handle.name)?;
        match handle.number {
            Some(number) if number != database.number() => Err(Error::UnknownDatabase(handle.name.clone())),
            _ => Ok(database),
        }
    }

    pub(super) async fn create(&self, name: &DatabaseName) -> Result<(), Error> {
        let name = name.clone();
        let create = move |storage: &Storage| Ok(storage.create(&name, SlotCount::default()).map(drop)?);
        self.storage.run(create).await
    }

    pub(super) async fn open(
        &self,
        name: DatabaseName,
        schema: Option<SchemaOffer>,
    ) -> Result<DatabaseHandle, Error> {
        let database = self.storage.get(&name)?;
        let number = Some(database.number());
        if let Some(schema) = schema {
            let schemas = Arc::clone(&self.schemas);
            database
                .run(move |database| schemas.give(database, schema))
                .await?;
        }
        Ok(DatabaseHandle { name, number })
    }

    pub(super) async fn delete(&self, name: DatabaseName) -> Result<(), Error> {
        self.storage.delete_database(name.as_str()).await
    }

    pub(super) fn schema(&self, name: &DatabaseName) -> Result<Option<SchemaOffer>, Error> {
        Ok(self.storage().schema(name)?)
    }

    pub(super) async fn change_accounts(&self, change: AccountsChange) -> Result<(), Error> {
        let operation = Operation::ChangeAccounts(change);
        let change = move |storage: &Storage| Ok(storage.execute(operation).map(drop)?);
        self.storage.run(change).await
    }

    pub(super) async fn back_up(&self, to: String) -> Result<BackupSummary, Error> {
        let back_up = move |storage: &Storage| {
            let failed = |error: BackupError| Error::Storage(error.to_string());
            let place = backup_place::open(&to).map_err(failed)?;
            let report = backup::backup(storage, &place).map_err(failed)?;
            Ok(backup_place::summary(&report))
        };
        self.storage.run(back_up).await
    }
}
