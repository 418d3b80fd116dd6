//! How the groups stand, for readers who do not ask the node.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use pliantdb_cluster::node::Standing;
use pliantdb_core::GroupId;

/// How each group stood when the node looked at it last.
#[derive(Default)]
pub(crate) struct Standings(RwLock<HashMap<GroupId, Standing>>);

impl Standings {
    pub(crate) fn publish(&self, standings: Vec<(GroupId, Option<Standing>)>) {
        if standings.is_empty() {
            return;
        }
        let mut published = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (group, standing) in standings {
            match standing {
                Some(standing) => published.insert(group, standing),
                None => published.remove(&group),
            };
        }
    }

    pub(crate) fn of(&self, group: GroupId) -> Option<Standing> {
        let published = self.0.read().unwrap_or_else(PoisonError::into_inner);
        published.get(&group).copied()
    }

    /// Nothing is to be gone by any more.
    pub(crate) fn withdraw(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
