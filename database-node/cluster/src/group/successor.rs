//! To whom a leader hands over whose node is about to stop.
//!
//! Source: D. Ongaro, "Consensus: bridging theory and practice" (2014), section 3.10. The library does its part: from then on
//! nothing is proposed, the other is brought to the end of the log, and then asked to stand for election at once; when that
//! has not come about within an election timeout, it is given up.

use std::collections::BTreeMap;

use pliantdb_storage::store::OrderedStore;
use raft::{ProgressState, StateRole};

use super::Group;
use crate::ids::{NodeId, ReplicaId};
use crate::timing::Instant;

/// Who is about to stop, as far as is known here: whoever is leads nothing any more if others can.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Going<'a> {
    /// Whether this node is.
    pub(crate) here: bool,
    /// The others that are, and when they last said so.
    pub(crate) others: &'a BTreeMap<NodeId, Instant>,
}

impl Going<'_> {
    /// Nobody.
    #[cfg(test)]
    pub(crate) fn nobody() -> Going<'static> {
        static OTHERS: BTreeMap<NodeId, Instant> = BTreeMap::new();
        Going {
            here: false,
            others: &OTHERS,
        }
    }

    pub(super) fn has(&self, replica: ReplicaId) -> bool {
        self.others.contains_key(&replica.node())
    }
}

impl<L: OrderedStore> Group<L> {
    /// The voter that takes over when this leader goes: one that is there, was not asked in vain before, and has the most of
    /// the log. Of several alike the one that is to lead anyway, else another for each group.
    pub(crate) fn successor(&self, going: Going<'_>) -> Option<ReplicaId> {
        let leadership = self.leadership.as_ref()?;
        let progress = self.raft.raft.prs();
        let candidates = self.config.members.voters.iter().copied();
        let candidates = candidates.filter(|replica| *replica != self.replica() && !going.has(*replica));
        let rated = candidates.filter_map(|replica| {
            let progress = progress.get(replica.to_raft())?;
            let is_live = progress.recent_active && progress.state != ProgressState::Snapshot;
            is_live.then_some((!leadership.has_asked(replica), progress.matched, replica))
        });
        let rated: Vec<_> = rated.collect();
        let best = rated
            .iter()
            .map(|(is_new, matched, _)| (*is_new, *matched))
            .max()?;
        let best = rated
            .iter()
            .filter(|(is_new, matched, _)| (*is_new, *matched) == best);
        let best: Vec<ReplicaId> = best.map(|(_, _, replica)| *replica).collect();
        let ordered = self.order.as_ref().map(|order| order.leader);
        let ordered = ordered.filter(|leader| best.contains(leader));
        let place = usize::try_from(self.id.get()).unwrap_or_default() % best.len();
        ordered.or_else(|| best.get(place).copied())
    }

    /// Whether this leader has asked another to take over, and waits for that.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.raft.raft.state == StateRole::Leader && self.raft.raft.lead_transferee.is_some()
    }

    /// Whether this replica counts in majorities.
    pub(crate) fn votes(&self) -> bool {
        let (members, replica) = (&self.config.members, self.replica());
        members.voters.contains(&replica) || members.outgoing.contains(&replica)
    }
}
