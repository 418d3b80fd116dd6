//! How the groups stand, for readers who do not ask the node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use pliantdb_cluster::node::Standing;
use pliantdb_core::GroupId;

/// How each group stood when the node looked at it last.
#[derive(Default)]
pub(crate) struct Standings {
    published: RwLock<HashMap<GroupId, Published>>,
    /// Whether any was read by since the node asked for that.
    are_read: AtomicBool,
}

struct Published {
    standing: Standing,
    /// Whether somebody read by it since the node asked for that.
    is_read: AtomicBool,
}

impl Standings {
    pub(crate) fn publish(&self, standings: Vec<(GroupId, Option<Standing>)>) {
        if standings.is_empty() {
            return;
        }
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        for (group, standing) in standings {
            match (standing, published.get_mut(&group)) {
                (Some(standing), Some(published)) => published.standing = standing,
                (Some(standing), None) => {
                    let is_read = AtomicBool::new(false);
                    published.insert(group, Published { standing, is_read });
                }
                (None, _) => {
                    published.remove(&group);
                }
            }
        }
    }

    pub(crate) fn of(&self, group: GroupId) -> Option<Standing> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published.get(&group).map(|published| published.standing)
    }

    /// What is found in how a group stands, which is noted as read when there is something: the node is not asked, and would
    /// not know that it is needed.
    pub(crate) fn read<T>(&self, group: GroupId, find: impl FnOnce(Standing) -> Option<T>) -> Option<T> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        let published = published.get(&group)?;
        let found = find(published.standing)?;
        // Written to once in a tick: readers on other threads go on sharing what they read.
        if !published.is_read.load(Ordering::Relaxed) {
            published.is_read.store(true, Ordering::Relaxed);
            self.are_read.store(true, Ordering::Release);
        }
        Some(found)
    }

    /// The groups that were read since this was called last.
    pub(crate) fn take_read(&self) -> Vec<GroupId> {
        if !self.are_read.load(Ordering::Relaxed) || !self.are_read.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        let read = published
            .iter()
            .filter(|(_, published)| published.is_read.swap(false, Ordering::Relaxed));
        read.map(|(group, _)| *group).collect()
    }

    /// Nothing is to be gone by any more.
    pub(crate) fn withdraw(&self) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        published.clear();
    }
}
