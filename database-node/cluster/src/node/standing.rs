//! What others may go by without asking the node.
//!
//! Whoever drives a node publishes, after each [`Node::give`] and before it does what that gave, how the groups stand. A
//! reader who finds a leader's lease there that is not over knows that nobody else led at the moment at which it looked: the
//! lease is given up in the very step that asks another to take over, so before that is asked. And every replica that has
//! applied an entry was told that it is committed by the leader, which had published that before: a reader who finds all that
//! is committed applied reads everything that anybody was told of, here, without asking anybody.

use std::mem;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::{Mark, Node};
use crate::group::Group;
use crate::ids::Incarnation;
use crate::meta::{Failover, META};
use crate::timing::{Instant, Now};

/// How a replica stood when it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub(super) incarnation: Incarnation,
    pub(super) term: u64,
    /// Up to where it is known here that the log is committed.
    pub(super) committed: u64,
    /// Up to where it is applied, at least.
    pub(super) applied: u64,
    /// Until when nobody else leads; not at all when that is not certain.
    pub(super) leads_until: Option<Instant>,
}

impl Standing {
    /// The mark of everything that anybody was told of by now: whoever has applied it reads as if there were one copy. `None`
    /// when this replica does not lead beyond doubt.
    #[must_use]
    pub fn told(&self, now: Instant) -> Option<Mark> {
        self.leads_until.filter(|until| now < *until).map(|_| Mark {
            incarnation: self.incarnation,
            term: self.term,
            index: self.committed,
        })
    }

    /// The same, if it is applied here: the state of this replica may be read now.
    #[must_use]
    pub fn readable(&self, now: Instant) -> Option<Mark> {
        self.told(now).filter(|mark| self.has(*mark))
    }

    /// Whether the state of this replica has a mark.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.incarnation == mark.incarnation && self.applied >= mark.index
    }
}

/// What decides how all groups stand, besides what happens to each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    /// Up to where the meta group's log is applied, and of which life of it.
    meta: (u64, Option<Incarnation>),
    knows_all: bool,
    /// As of when a majority vouched for this node.
    vouched: Option<Instant>,
}

impl<L: OrderedStore> Node<L> {
    /// How the groups stand to which something happened since this was called last: `None` for one that answers nobody. To be
    /// called after [`Node::give`], with the same time.
    pub fn take_standings(&mut self, now: Now) -> Vec<(GroupId, Option<Standing>)> {
        let mut looked_at = mem::take(&mut self.looked_at);
        let basis = Basis {
            meta: (self.meta_applied(), self.incarnation(META)),
            knows_all: self.knows_all(),
            vouched: self.reporting.vouched(),
        };
        if self.stood_on.replace(basis) != Some(basis) {
            looked_at.extend(self.groups.keys().copied());
        }
        looked_at.remove(&META);
        let standing = |id| (id, self.standing(now, id));
        looked_at.into_iter().map(standing).collect()
    }

    fn standing(&self, now: Now, id: GroupId) -> Option<Standing> {
        let group = self.groups.get(&id)?;
        let is_out = group.halt().is_some()
            || group.is_installing()
            || self.applying.is_forcing(id)
            || self.is_unconfirmed(id)
            || !self.knows_all();
        (!is_out).then(|| Standing {
            incarnation: group.incarnation(),
            term: group.term(),
            committed: group.committed(),
            applied: group.applied(),
            leads_until: self.leads_until(now, id, group),
        })
    }

    fn leads_until(&self, now: Now, id: GroupId, group: &Group<L>) -> Option<Instant> {
        let until = group
            .lease_until(now.steady)
            .filter(|_| group.has_begun() && self.is_vouched_for(now, id))?;
        match self.meta()?.failover() {
            Failover::Automatic { delay } if group.is_alone() => {
                let lease = self.settings.timing.granted_lease(delay);
                let vouched = self.reporting.vouched()?.after(lease);
                Some(until.min(vouched))
            }
            _ => Some(until),
        }
    }
}
