//! Who is to hold each group, derived from the nodes, the mode and the change under way.

use std::collections::{BTreeMap, BTreeSet};

use pliantdb_core::GroupId;

use super::{Forced, GroupRecord, META, Meta, Mode};
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};

impl Meta {
    /// Brings the records of all groups to what is wanted now. The epoch counts on when any of them changes.
    pub(super) fn retarget(&mut self) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        self.retarget_these(&groups);
    }

    /// The same, when only these can be affected.
    pub(super) fn retarget_these(&mut self, groups: &[GroupId]) {
        let next = self.epoch.next();
        let mut load = self.load();
        let mut is_changed = false;
        for group in groups {
            let Some(record) = self.groups.get(group) else {
                continue;
            };
            let wanted = self.wanted(*group, record, &mut load);
            if let Some(record) = self.groups.get_mut(group) {
                is_changed |= record.aim(wanted, next);
            }
        }
        if is_changed {
            self.epoch = next;
        }
    }

    /// How many groups each node votes in, the meta group aside.
    fn load(&self) -> BTreeMap<NodeId, usize> {
        let mut load: BTreeMap<NodeId, usize> = self.active().map(|node| (node, 0)).collect();
        let records = self.groups.iter().filter(|(group, _)| **group != META);
        for node in records.flat_map(|(_, record)| &record.voters) {
            if let Some(count) = load.get_mut(node) {
                *count += 1;
            }
        }
        load
    }

    fn wanted(&self, group: GroupId, record: &GroupRecord, load: &mut BTreeMap<NodeId, usize>) -> Wanted {
        let goal = self.goal();
        let everywhere = || self.nodes.keys().copied().collect::<BTreeSet<_>>();
        let voters = match goal {
            Mode::OneLeader { leader } if group != META => BTreeSet::from([leader]),
            Mode::OneLeader { leader } => {
                self.choose(record, meta_voters(self.active().count()), Some(leader), load)
            }
            Mode::Quorum if group == META => {
                self.choose(record, meta_voters(self.active().count()).max(3), None, load)
            }
            Mode::Quorum => self.choose(record, usize::from(self.replication_factor), None, load),
        };
        // While a change to quorum is not complete everybody goes on following, so that giving up leaves no trace.
        let keeps_all = group == META || self.mode != Mode::Quorum || goal != Mode::Quorum;
        let mut replicas = match keeps_all {
            true => everywhere(),
            false => voters.clone(),
        };
        // Those that drain hold nothing, unless they are still needed. Of the meta group they keep a copy until they are
        // removed: without it they would not hear where to bring what they still lead.
        let is_active = |node: &NodeId| self.active().any(|active| active == *node);
        replicas.retain(|node| group == META || voters.contains(node) || is_active(node));
        // The only one that has what the group went on with, until others have it too.
        let holds = |node: NodeId| self.nodes.contains_key(&node);
        if let Some(forced) = record.forced.filter(|forced| record.settled < forced.epoch)
            && holds(forced.replica.node())
        {
            replicas.insert(forced.replica.node());
        }
        let leader = match goal {
            Mode::OneLeader { leader } if voters.contains(&leader) => leader,
            _ => spread(group, &voters).unwrap_or(record.leader),
        };
        Wanted {
            voters,
            replicas,
            leader,
        }
    }

    /// `count` voters: as many of those that are as can stay, then the ones that vote in the fewest groups. `must` is
    /// among them.
    fn choose(
        &self,
        record: &GroupRecord,
        count: usize,
        must: Option<NodeId>,
        load: &mut BTreeMap<NodeId, usize>,
    ) -> BTreeSet<NodeId> {
        let active: BTreeSet<NodeId> = self.active().collect();
        let mut chosen: BTreeSet<NodeId> = must.into_iter().collect();
        // Those that vote now move nothing; those that have a replica are nearly there.
        let mut candidates: Vec<NodeId> = active
            .iter()
            .copied()
            .filter(|node| !chosen.contains(node))
            .collect();
        let is_voter = |node: &NodeId| record.voters.contains(node);
        let is_there = |node: &NodeId| record.replicas.contains_key(node);
        candidates.sort_by_key(|node| {
            let votes_in = load.get(node).copied().unwrap_or_default();
            (!is_voter(node), !is_there(node), votes_in, *node)
        });
        chosen.extend(candidates.into_iter().take(count.saturating_sub(chosen.len())));
        if chosen.len() < count {
            // Too few are active: whoever votes and drains stays until another can take over.
            let staying = record.voters.iter().filter(|node| self.nodes.contains_key(node));
            let staying: Vec<NodeId> = staying.copied().filter(|node| !chosen.contains(node)).collect();
            chosen.extend(staying.into_iter().take(count - chosen.len()));
        }
        for node in chosen.iter().filter(|node| !record.voters.contains(node)) {
            *load.entry(*node).or_default() += 1;
        }
        chosen
    }
}

/// How many nodes vote in the meta group.
fn meta_voters(active: usize) -> usize {
    match active {
        0..3 => 1,
        3..5 => 3,
        _ => 5,
    }
}

/// The voter that leads: another for each group.
fn spread(group: GroupId, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    let count = u64::try_from(voters.len()).ok().filter(|count| *count > 0)?;
    let place = usize::try_from(group.get() % count).ok()?;
    voters.iter().nth(place).copied()
}

struct Wanted {
    voters: BTreeSet<NodeId>,
    replicas: BTreeSet<NodeId>,
    leader: NodeId,
}

impl GroupRecord {
    /// Takes over what is wanted; whether that changes anything.
    fn aim(&mut self, wanted: Wanted, epoch: Epoch) -> bool {
        let is_same = self.voters == wanted.voters
            && self.leader == wanted.leader
            && self.replicas.keys().eq(wanted.replicas.iter());
        if is_same {
            return false;
        }
        let unwanted = self
            .replicas
            .iter()
            .filter(|(node, _)| !wanted.replicas.contains(node));
        let unwanted: Vec<(NodeId, ReplicaId)> = unwanted.map(|(node, replica)| (*node, *replica)).collect();
        for (node, replica) in unwanted {
            self.replicas.remove(&node);
            self.retiring.insert(node, replica);
        }
        for node in &wanted.replicas {
            if let Some(replica) = self.retiring.remove(node) {
                self.replicas.insert(*node, replica);
            } else if !self.replicas.contains_key(node) {
                self.renew(*node);
            }
        }
        (self.voters, self.leader, self.epoch) = (wanted.voters, wanted.leader, epoch);
        true
    }

    /// Goes on with one replica in the next life, which is of that life of the meta group; `None` for the meta group
    /// itself, which confirms by what it decides that it goes on. Nobody else comes back as who it was.
    pub(super) fn go_on_with(
        &mut self,
        replica: ReplicaId,
        fork: LogPoint,
        epoch: Epoch,
        meta: Option<Incarnation>,
    ) {
        let node = replica.node();
        let from = match self.unconfirmed() {
            Some(before) => {
                // It may come back, and have more than the others.
                self.former.insert(before.replica.node(), before.replica);
                self.tried.insert(self.incarnation);
                before.from
            }
            None => {
                self.former.clone_from(&self.replicas);
                self.former.append(&mut self.retiring);
                self.tried.clear();
                self.incarnation
            }
        };
        self.former.remove(&node);
        self.retiring.clear();
        self.incarnation = self.incarnation.next(node);
        if let Some(meta) = meta {
            self.incarnation = self.incarnation.within(meta);
        } else {
            self.former.clear();
        }
        self.forced = Some(Forced {
            replica,
            epoch,
            fork,
            from,
            is_confirmed: meta.is_none(),
        });
        self.replicas.insert(node, replica);
        let others: Vec<NodeId> = self.replicas.keys().copied().collect();
        for other in others.into_iter().filter(|other| *other != node) {
            self.renew(other);
        }
    }

    /// Gives a node a replica that it never had.
    pub(super) fn renew(&mut self, node: NodeId) -> ReplicaId {
        let generation = self.generations.entry(node).or_default();
        *generation = generation.saturating_add(1);
        let replica = ReplicaId::new(node, *generation);
        self.replicas.insert(node, replica);
        replica
    }
}
