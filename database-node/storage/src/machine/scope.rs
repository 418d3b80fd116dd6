//! What the commands of a log may change.

use pliantdb_core::{DatabaseName, GroupId, Timestamp};

use crate::catalog::{DatabaseEntry, Makeup};
use crate::extent::Extent;
use crate::keys::{self, GroupRecord};
use crate::store::{Snapshot, StoreError};
use crate::{group, records};

/// Which log commands are of: what they may change, and where its records lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    /// The log of a storage, which has all databases and the accounts.
    Storage,
    /// The log of a consensus group, which has slots of one database.
    Shard { group: GroupId, extent: Extent },
}

impl Scope {
    /// The slots of a database that belong to it.
    pub(crate) fn extent(self, database: DatabaseEntry) -> Extent {
        match self {
            Self::Storage => database.into(),
            Self::Shard { extent, .. } => extent,
        }
    }

    /// Where it says what a database is made of.
    pub(crate) fn makeup(self, database: DatabaseEntry) -> Vec<u8> {
        match self {
            Self::Storage => keys::makeup(database.id),
            Self::Shard { group, .. } => keys::group_record(group, GroupRecord::Makeup).to_vec(),
        }
    }

    /// What a database is made of, as of a snapshot.
    pub(crate) fn makeup_at(
        self,
        snapshot: &impl Snapshot,
        database: DatabaseEntry,
    ) -> Result<Makeup, StoreError> {
        let makeup = snapshot.get(&self.makeup(database), records::decode_makeup)?;
        Ok(makeup.transpose()?.unwrap_or_default())
    }

    /// The time of the last command that a snapshot has.
    pub(crate) fn applied_at(self, snapshot: &impl Snapshot) -> Result<Timestamp, StoreError> {
        match self {
            Self::Storage => {
                let applied = snapshot.get(&keys::APPLIED, records::decode_applied)?;
                Ok(applied.transpose()?.unwrap_or_default().timestamp)
            }
            Self::Shard { group, .. } => group::applied_at(snapshot, group),
        }
    }

    /// The database of a name, as of a snapshot.
    pub(crate) fn database_at(
        self,
        snapshot: &impl Snapshot,
        name: &DatabaseName,
    ) -> Result<Option<DatabaseEntry>, StoreError> {
        match self {
            Self::Storage => snapshot
                .get(&keys::database(name), records::decode_database)?
                .transpose(),
            Self::Shard { group, .. } => group::database_at(snapshot, group, name),
        }
    }

    /// Whether it is the log of a shard.
    pub(crate) fn is_shard(self) -> bool {
        matches!(self, Self::Shard { .. })
    }
}
