//! Backups of a cluster, by a node that has a replica of every database: they are those of a storage, as of a node alone.

use std::sync::Arc;

use pliantdb_cluster::node::Freshness;
use pliantdb_cluster::{META, NodeId};
use pliantdb_core::Error;
use pliantdb_core::protocol::BackupSummary;
use pliantdb_storage::backup::{self, BackupError};
use pliantdb_storage::node::Inventory;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::attempts::{Attempt, PATIENCE, Patience};
use super::between::{Question, Told};
use super::{Catalog, Clustered, NotDone};
use crate::backup_place;

impl Clustered {
    /// Backs everything up that anybody was told of before this was called: all databases as of one moment of this node, and
    /// the accounts.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node has not all databases, or nobody leads one; [`Error::Storage`].
    pub(crate) async fn back_up(self: &Arc<Self>, to: String) -> Result<BackupSummary, Error> {
        self.know_all_of_meta().await?;
        let catalog = self.catalog()?;
        self.refuse_partial_backup(&catalog)?;
        for (group, _) in catalog.databases.values() {
            let group = self.groups.get(*group);
            let mut patience = Patience::new();
            while let Err(not_done) = self.confirm(&group).await {
                patience.wait(not_done, Attempt::Harmless).await?;
            }
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

    /// Waits until this node knows of every database and account that anybody was told of before, by the word of whoever
    /// leads the meta group.
    async fn know_all_of_meta(&self) -> Result<(), Error> {
        let group = self.groups.get(META);
        let mut patience = Patience::new();
        loop {
            let leader = self.meta_leader().await;
            let told = match leader {
                Some(leader) if leader == self.node => self.meta_mark().await,
                Some(leader) => {
                    let question = Question::Mark { group: META };
                    match self.ask(leader, &question, Some(&group)).await {
                        Ok(Told::Mark(mark)) => Ok(mark.index),
                        Ok(_) => Err(format!("node {leader} does not lead the meta group")),
                        Err(error) => Err(error.to_string()),
                    }
                }
                None => Err("no node leads the meta group".to_owned()),
            };
            let not_done = match told {
                Ok(index) => match timeout(PATIENCE, self.wait_until_applied(index)).await {
                    Ok(()) if self.applied() >= index => return Ok(()),
                    _ => "this node is behind with the meta group".to_owned(),
                },
                Err(reason) => reason,
            };
            patience.wait(NotDone::Later(not_done), Attempt::Harmless).await?;
        }
    }

    async fn meta_leader(&self) -> Option<NodeId> {
        let handle = self.handle.clone();
        let looked = spawn_blocking(move || handle.look(|node| node.leader(META))).await;
        looked.ok().and_then(Result::ok).flatten()
    }

    async fn meta_mark(&self) -> Result<u64, String> {
        let group = self.groups.get(META);
        match self.wait_for(&group, Freshness::Linearizable).await {
            Ok(Ok(mark)) => Ok(mark.index),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(_) => Err("this node stops".to_owned()),
        }
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
