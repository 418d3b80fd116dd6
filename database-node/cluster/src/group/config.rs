//! Who is in a group: its members, as its own log says.

use std::collections::BTreeSet;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Incarnation, ReplicaId};

/// The members of a group at a point of its log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Members {
    /// Those whose majority decides.
    pub voters: BTreeSet<ReplicaId>,
    /// Those that follow and do not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// While the voters change: the ones before, whose majority is needed too. Else empty.
    pub outgoing: BTreeSet<ReplicaId>,
    /// Of those, the ones that will be learners.
    pub learners_next: BTreeSet<ReplicaId>,
}

fn ids(replicas: &BTreeSet<ReplicaId>) -> Vec<u64> {
    replicas.iter().map(|replica| replica.to_raft()).collect()
}

fn replicas(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().map(|id| ReplicaId::from_raft(*id)).collect()
}

impl Members {
    /// A group with these voters and learners.
    #[must_use]
    pub fn new(voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId>) -> Self {
        Self {
            voters,
            learners,
            ..Self::default()
        }
    }

    pub(crate) fn of(state: &ConfState) -> Self {
        Self {
            voters: replicas(state.get_voters()),
            learners: replicas(state.get_learners()),
            outgoing: replicas(state.get_voters_outgoing()),
            learners_next: replicas(state.get_learners_next()),
        }
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            voters_outgoing: ids(&self.outgoing),
            learners_next: ids(&self.learners_next),
            ..ConfState::default()
        }
    }

    /// Whether the voters are changing.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Every member.
    pub fn all(&self) -> impl Iterator<Item = ReplicaId> {
        let all = self.voters.iter().chain(&self.learners).chain(&self.outgoing);
        all.copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether a replica is a member.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.learners.contains(&replica) || self.outgoing.contains(&replica)
    }

    /// Whether `has` holds for a majority of the voters, and of those before while they change.
    pub fn has_quorum(&self, has: impl Fn(ReplicaId) -> bool) -> bool {
        let is_majority = |set: &BTreeSet<ReplicaId>| {
            set.is_empty() || set.iter().filter(|replica| has(**replica)).count() > set.len() / 2
        };
        !self.voters.is_empty() && is_majority(&self.voters) && is_majority(&self.outgoing)
    }

    /// The greatest value that a majority of the voters, and of those before, has or exceeds.
    pub fn quorum_value<T: Ord + Copy>(&self, value: impl Fn(ReplicaId) -> T) -> Option<T> {
        let agreed = |set: &BTreeSet<ReplicaId>| {
            let mut values: Vec<T> = set.iter().map(|replica| value(*replica)).collect();
            values.sort_unstable();
            // Of 3 the second, of 4 the second: so many are at or above it that they are a majority.
            values.get(values.len().checked_sub(1)? / 2).copied()
        };
        let incoming = agreed(&self.voters)?;
        Some(agreed(&self.outgoing).map_or(incoming, |outgoing| outgoing.min(incoming)))
    }
}

/// What a group carries along with its data: its members and by whose order they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The life of the group.
    pub incarnation: Incarnation,
    /// The members.
    pub members: Members,
    /// The latest epoch whose orders the group has heard; those of earlier ones are void.
    pub epoch: Epoch,
    /// Where in the log the members were changed last.
    pub changed_at: u64,
}

/// A step of a group from members to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipChange {
    /// Adds learners and removes whoever does not vote: one replica at a time, as a simple change has to be.
    AddLearner(ReplicaId),
    /// Removes a learner.
    Remove(ReplicaId),
    /// Begins to change the voters: from now on a majority of both is needed. Whoever voted and will not stays as a
    /// learner.
    Enter {
        /// The new voters, which are members already.
        voters: BTreeSet<ReplicaId>,
    },
    /// Ends the change of voters.
    Leave,
}

impl MembershipChange {
    /// As the library applies it to `members`; `None` when it does not fit them and so changes nothing.
    pub(crate) fn to_raft(&self, members: &Members) -> Option<ConfChangeV2> {
        let single = |kind, replica: &ReplicaId| {
            let mut single = ConfChangeSingle {
                node_id: replica.to_raft(),
                ..ConfChangeSingle::default()
            };
            single.set_change_type(kind);
            single
        };
        let mut change = ConfChangeV2::default();
        let mut set = |changes: Vec<ConfChangeSingle>| change.set_changes(changes.into());
        match self {
            Self::Leave => {
                return members.is_joint().then_some(change);
            }
            _ if members.is_joint() => return None,
            Self::AddLearner(replica) => {
                if members.contains(*replica) {
                    return None;
                }
                set(vec![single(ConfChangeType::AddLearnerNode, replica)]);
            }
            Self::Remove(replica) => {
                if !members.learners.contains(replica) {
                    return None;
                }
                set(vec![single(ConfChangeType::RemoveNode, replica)]);
            }
            Self::Enter { voters } => {
                let are_members = voters.iter().all(|voter| members.contains(*voter));
                if voters.is_empty() || !are_members || *voters == members.voters {
                    return None;
                }
                let added = voters.difference(&members.voters);
                let removed = members.voters.difference(voters);
                let added = added.map(|replica| single(ConfChangeType::AddNode, replica));
                let removed = removed.map(|replica| single(ConfChangeType::AddLearnerNode, replica));
                set(added.chain(removed).collect());
                change.set_transition(ConfChangeTransition::Explicit);
            }
        }
        Some(change)
    }
}

#[cfg(test)]
mod against_library;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    fn replica(node: u32) -> ReplicaId {
        ReplicaId::new(NodeId::new(node), 1)
    }

    fn set(nodes: &[u32]) -> BTreeSet<ReplicaId> {
        nodes.iter().map(|node| replica(*node)).collect()
    }

    #[test]
    fn a_quorum_is_one_of_both_while_the_voters_change() {
        let joint = Members {
            voters: set(&[1, 2, 3]),
            outgoing: set(&[1]),
            ..Members::default()
        };
        let has = |nodes: &'static [u32]| move |replica: ReplicaId| nodes.contains(&replica.node().get());
        assert!(joint.has_quorum(has(&[1, 2])));
        assert!(!joint.has_quorum(has(&[2, 3])), "the outgoing voter is missing");
        assert!(!joint.has_quorum(has(&[1])));
        assert!(!Members::default().has_quorum(|_| true));
    }

    #[test]
    fn the_value_of_a_quorum_is_what_a_majority_has() {
        let value = |replica: ReplicaId| replica.node().get() * 10;
        assert_eq!(
            Members::new(set(&[1, 2, 3]), set(&[9])).quorum_value(value),
            Some(20)
        );
        assert_eq!(
            Members::new(set(&[1, 2, 3, 4]), set(&[])).quorum_value(value),
            Some(20)
        );
        assert_eq!(Members::new(set(&[5]), set(&[])).quorum_value(value), Some(50));
        let joint = Members {
            voters: set(&[3, 4, 5]),
            outgoing: set(&[1]),
            ..Members::default()
        };
        assert_eq!(joint.quorum_value(value), Some(10));
        assert_eq!(Members::default().quorum_value(value), None);
    }

    #[test]
    fn changes_that_do_not_fit_change_nothing() {
        let members = Members::new(set(&[1]), set(&[2, 3]));
        let fits = |change: MembershipChange| change.to_raft(&members).is_some();
        assert!(!fits(MembershipChange::Leave));
        assert!(!fits(MembershipChange::AddLearner(replica(2))));
        assert!(fits(MembershipChange::AddLearner(replica(4))));
        assert!(!fits(MembershipChange::Remove(replica(1))), "it votes");
        assert!(fits(MembershipChange::Remove(replica(3))));
        let enter = |nodes| MembershipChange::Enter { voters: set(nodes) };
        assert!(
            !fits(enter(&[1])) && !fits(enter(&[])) && !fits(enter(&[1, 4])),
            "not a change, or not members"
        );
        assert!(fits(enter(&[1, 2, 3])) && fits(enter(&[2])));
    }
}
