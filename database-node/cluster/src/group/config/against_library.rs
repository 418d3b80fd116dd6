//! Changes of members are for the library what they say.

use proptest::prelude::*;
use raft::RawNode;
use raft::storage::MemStorage;

use super::*;
use crate::ids::NodeId;

fn replica(node: u32) -> ReplicaId {
    ReplicaId::new(NodeId::new(node), 1)
}

fn set(nodes: &[u32]) -> BTreeSet<ReplicaId> {
    nodes.iter().map(|node| replica(*node)).collect()
}

/// A change of any members, as a supervisor that knows old ones might want it.
fn change() -> impl Strategy<Value = MembershipChange> {
    let voters = proptest::sample::subsequence((1..=6).collect::<Vec<u32>>(), 0..=5);
    prop_oneof![
        2 => (1_u32..=6).prop_map(|node| MembershipChange::AddLearner(replica(node))),
        1 => (1_u32..=6).prop_map(|node| MembershipChange::Remove(replica(node))),
        2 => voters.prop_map(|voters| MembershipChange::Enter { voters: set(&voters) }),
        2 => Just(MembershipChange::Leave),
    ]
}

/// What a change says that it does.
fn expected(change: &MembershipChange, members: &Members) -> Members {
    let mut members = members.clone();
    match change {
        MembershipChange::AddLearner(replica) => {
            members.learners.insert(*replica);
        }
        MembershipChange::Remove(replica) => {
            members.learners.remove(replica);
        }
        MembershipChange::Enter { voters } => {
            members.outgoing = std::mem::replace(&mut members.voters, voters.clone());
            members.learners.retain(|replica| !voters.contains(replica));
            members.learners_next = members.outgoing.difference(voters).copied().collect();
        }
        MembershipChange::Leave => {
            members.outgoing.clear();
            members.learners.append(&mut members.learners_next);
        }
    }
    members
}

proptest! {
    #[test]
    fn the_library_does_what_a_change_says(changes in proptest::collection::vec(change(), 1..40)) {
        let mut members = Members::new(set(&[1]), set(&[2]));
        let storage = MemStorage::new_with_conf_state(members.to_raft());
        let settings = raft::Config {
            id: replica(1).to_raft(),
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut node = RawNode::new(&settings, storage, &logger).unwrap();
        for change in changes {
            let Some(raft_change) = change.to_raft(&members) else {
                continue;
            };
            let state = node.apply_conf_change(&raft_change).unwrap();
            let wanted = expected(&change, &members);
            members = Members::of(&state);
            prop_assert_eq!(&members, &wanted, "{:?}", change);
            // A replica that is opened on these members has the same.
            prop_assert_eq!(&Members::of(&members.to_raft()), &members);
            let known = node.raft.prs().iter().map(|(id, _)| ReplicaId::from_raft(*id));
            prop_assert_eq!(known.collect::<BTreeSet<_>>(), members.all().collect::<BTreeSet<_>>());
        }
    }
}
