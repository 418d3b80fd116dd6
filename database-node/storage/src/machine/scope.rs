//! What the commands of a log may change.

use pliantdb_core::{GroupId, Timestamp};

use crate::catalog::DatabaseEntry;
use crate::extent::Extent;
use crate::keys::{self, GroupRecord};

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

    /// Whether it is the log of a shard.
    pub(crate) fn is_shard(self) -> bool {
        matches!(self, Self::Shard { .. })
    }

    /// With which time to mark the entries of views that partials do not count yet; `None` where there are no
    /// partials: nothing queries the views of a shard yet, so nothing would ever remove the marks.
    pub(crate) fn marks(self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Storage => Some(time),
            Self::Shard { .. } => None,
        }
    }
}
