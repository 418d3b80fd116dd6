//! Another leader by plan, before the one that leads everything stops: where it would be replaced by itself when it is gone,
//! and might lose something then, it is replaced before, and nothing is lost.

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::{Proposal, Supervisor};
use crate::group::Group;
use crate::ids::NodeId;
use crate::meta::{GroupRecord, META, Meta, MetaCommand, Mode, NodeState};
use crate::node::Node;
use crate::timing::{Instant, Now};

/// So many entries a replica may be behind the leader that takes its place, by what both have reported: that is up to a
/// second old.
const PROMOTION_LAG: u64 = 4_096;

impl Supervisor {
    /// How many entries a node's replicas lack together of what the leader has; `None` when one of them lacks too many, or
    /// is not well.
    fn lag(&self, meta: &Meta, node: NodeId) -> Option<u64> {
        let shards = meta.groups().iter().filter(|(id, _)| **id != META);
        let lags = shards.map(|(id, record)| self.lag_of(*id, record, node));
        lags.sum()
    }

    fn lag_of(&self, group: GroupId, record: &GroupRecord, node: NodeId) -> Option<u64> {
        let leader = self.leader(group, record)?;
        let replica = self.replica(group, *record.replicas.get(&node)?, record.incarnation)?;
        let is_well = replica.halted.is_none() && !replica.is_installing && !replica.is_superseded;
        let lag = leader.last.index.saturating_sub(replica.last.index);
        (is_well && lag <= PROMOTION_LAG).then_some(lag)
    }

    /// The node that can take the place of the leader without loss and soon, of those that may.
    fn next_leader(&self, meta: &Meta, now: Instant, may_lead: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let (leader, _) = meta.leased()?;
        let active = meta
            .nodes()
            .iter()
            .filter(|(_, record)| record.state == NodeState::Active);
        let others = active.map(|(node, _)| *node).filter(|node| *node != leader);
        let others = others.filter(|node| may_lead(*node) && self.is_there(*node, now));
        let votes_in_meta = |node: &NodeId| {
            let record = meta.group(META);
            record.is_some_and(|record| record.voters.contains(node))
        };
        let able = others.filter_map(|node| Some((!votes_in_meta(&node), self.lag(meta, node)?, node)));
        able.min().map(|(.., node)| node)
    }
}

impl<L: OrderedStore> Node<L> {
    /// Promotes another when the leader of one-leader mode is about to stop and may be replaced by itself, and waits for it.
    /// With failover by hand it stays the leader: it goes on when it is there again. One that was left amid its promotion
    /// would be missed for as long as it is gone, for nobody is replaced by itself while a switch is open.
    pub(in crate::node) fn promote_before_stop(&mut self, now: Now) {
        // Only what the whole cluster knows by now is acted on.
        if !self.groups.get(&META).is_some_and(Group::has_begun) {
            return;
        }
        let own = self.id();
        // Nobody vouches for one whose clock is not trusted, and all databases would stop.
        let may_lead = |node: NodeId| {
            let is_trusted = own == Some(node) || self.clocks.trusts(node, now.steady);
            is_trusted && !self.stepping_aside.has(node, own)
        };
        let (Some(checkpoint), Some(supervisor)) = (&self.meta, &mut self.supervisor) else {
            return;
        };
        let meta = &checkpoint.meta;
        let has_time = |leader: NodeId| self.stepping_aside.has_time(leader, own, now.steady);
        let Some((leader, _)) = meta.leased().filter(|(leader, _)| has_time(*leader)) else {
            return;
        };
        let is_at_rest = meta.switch().is_none() && meta.groups().values().all(GroupRecord::is_settled);
        let Some(next) = supervisor
            .next_leader(meta, now.steady, may_lead)
            .filter(|_| is_at_rest && supervisor.is_there(leader, now.steady))
        else {
            return;
        };
        if !supervisor.may_propose(Proposal::Promote, now.steady) {
            return;
        }
        let to = Mode::OneLeader { leader: next };
        if let Some(at) = self.propose_change(MetaCommand::Switch { to })
            && own == Some(leader)
        {
            self.stepping_aside.note_promotion(at);
        }
    }
}
