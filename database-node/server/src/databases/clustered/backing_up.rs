//! Backups of a cluster, by a node that has a replica of every database: they are those of a storage, as of a node alone.

use std::sync::Arc;

use pliantdb_cluster::META;
use pliantdb_core::protocol::BackupSummary;
use pliantdb_core::{Error, GroupId};
use pliantdb_storage::backup::{self, BackupError};
use pliantdb_storage::node::Inventory;
use tokio::task::spawn_blocking;

use super::attempts::{Attempt, Patience};
use super::{Catalog, Clustered};
use crate::backup_place;

impl Clustered {
    /// Backs everything up that anybody was told of before this was called: all databases as of one moment of this node, and
    /// the accounts.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node has not all databases, or nobody leads one; [`Error::Storage`].
    pub(crate) async fn back_up(self: &Arc<Self>, to: String) -> Result<BackupSummary, Error> {
        self.wait_until_confirmed(META).await?;
        let catalog = self.catalog()?;
        self.refuse_partial_backup(&catalog)?;
        for (group, _) in catalog.databases.values() {
            self.wait_until_confirmed(*group).await?;
        }
        let source = self.member().copy_source().ok_or(Error::Closed)?;
        let inventory = inventory(&catalog)?;
        let backing_up = move || {
            let place = backup_place::open(&to)?;
            backup::backup_node(&source, &inventory, &place)
        };
        let report = spawn_blocking(backing_up).await.map_err(|_| Error::Closed)?;
        let report = report.map_err(|error| match error {
            BackupError::NotHere { .. } => Error::Unavailable(error.to_string()),
            error => Error::Storage(error.to_string()),
        })?;
        Ok(backup_place::summary(&report))
    }

    /// Waits until what is here of a group has all that anybody was told of before.
    async fn wait_until_confirmed(self: &Arc<Self>, group: GroupId) -> Result<(), Error> {
        let group = self.groups.get(group);
        let mut patience = Patience::new();
        while let Err(not_done) = self.confirm(&group).await {
            patience.wait(not_done, Attempt::Harmless).await?;
        }
        Ok(())
    }

    /// Refuses when this node is not to have all databases, and names those that are.
    fn refuse_partial_backup(&self, catalog: &Catalog) -> Result<(), Error> {
        let groups = || {
            let groups = catalog.databases.values();
            groups.filter_map(|(group, _)| catalog.meta.group(*group))
        };
        let has_all = |node| groups().all(|record| record.replicas.contains_key(&node));
        if has_all(self.node) {
            return Ok(());
        }
        let nodes = catalog.meta.nodes().iter();
        let able = nodes.filter(|(node, _)| has_all(**node));
        let able: Vec<_> = able.map(|(_, record)| record.name.as_str()).collect();
        Err(Error::Unavailable(match able.as_slice() {
            [] => "no node has a replica of every database, which a backup needs: raise the replication factor to the \
                   number of nodes, or export the databases"
                .to_owned(),
            able => format!(
                "this node has not a replica of every database, which a backup needs: have one make it that has: {}",
                able.join(", ")
            ),
        }))
    }
}

fn inventory(catalog: &Catalog) -> Result<Inventory, Error> {
    let databases = catalog.databases.iter().map(|(name, (group, _))| {
        let shard = catalog
            .meta
            .group(*group)
            .and_then(|record| record.shard.as_ref());
        let shard = shard.ok_or_else(|| Error::UnknownDatabase(name.clone()))?;
        Ok((*group, name.clone(), shard.entry))
    });
    Ok(Inventory {
        databases: databases.collect::<Result<_, Error>>()?,
        last_database: u32::try_from(catalog.meta.last_group()).unwrap_or(u32::MAX),
        accounts: catalog.meta.accounts().clone(),
    })
}
