//! Any commands in any order.

use proptest::prelude::*;

use super::*;

/// What may be asked for, of a cluster that is not known beforehand: numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Wish {
    Join,
    Database,
    Drain(u8, bool),
    Remove(u8, bool),
    Switch(Option<u8>),
    Abort,
    Settle(u8),
    SettleAll,
    Failover(bool),
    Factor(u8),
    Replace(u8, u8),
    Force(Option<u8>, Vec<(u8, u8)>),
    ForceAnother(u8, u8, bool),
    ConfirmForce(u8),
    Arm,
    Delete(u8),
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => Just(Wish::Join),
        2 => Just(Wish::Database),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(node, is_draining)| Wish::Drain(node, is_draining)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(node, is_lost)| Wish::Remove(node, is_lost)),
        3 => any::<Option<u8>>().prop_map(Wish::Switch),
        1 => Just(Wish::Abort),
        4 => any::<u8>().prop_map(Wish::Settle),
        3 => Just(Wish::SettleAll),
        1 => any::<bool>().prop_map(Wish::Failover),
        1 => (2_u8..8).prop_map(Wish::Factor),
        1 => any::<(u8, u8)>().prop_map(|(group, node)| Wish::Replace(group, node)),
        1 => (any::<Option<u8>>(), proptest::collection::vec(any::<(u8, u8)>(), 0..3))
            .prop_map(|(leader, holders)| Wish::Force(leader, holders)),
        1 => any::<(u8, u8, bool)>().prop_map(|(group, replica, leads)| Wish::ForceAnother(group, replica, leads)),
        1 => any::<u8>().prop_map(Wish::ConfirmForce),
        1 => Just(Wish::Arm),
        1 => any::<u8>().prop_map(Wish::Delete),
    ]
}

fn pick<T: Copy>(from: impl Iterator<Item = T>, number: u8) -> Option<T> {
    let from: Vec<T> = from.collect();
    from.get(usize::from(number).checked_rem(from.len())?).copied()
}

impl Wish {
    fn command(&self, meta: &Meta) -> Option<MetaCommand> {
        let a_node = |number| pick(meta.nodes().keys().copied(), number);
        let a_group = |number| pick(meta.groups().keys().copied(), number);
        let a_replica = |group, number| pick(meta.group(group)?.replicas.values().copied(), number);
        Some(match self {
            Self::Join if meta.nodes().len() < 7 => join(meta.last_node + 1),
            Self::Database if meta.groups().len() < 5 => database(&format!("d{}", meta.last_group)),
            Self::Drain(node, is_draining) => drain(a_node(*node)?.get(), *is_draining),
            Self::Remove(node, is_lost) => remove(a_node(*node)?.get(), *is_lost),
            Self::Switch(leader) => MetaCommand::Switch {
                to: match leader {
                    Some(leader) => Mode::OneLeader {
                        leader: a_node(*leader)?,
                    },
                    None => Mode::Quorum,
                },
            },
            Self::Abort => MetaCommand::AbortSwitch {
                switch: meta.switch()?.id,
            },
            Self::Settle(group) => {
                let group = a_group(*group)?;
                let epoch = meta.group(group)?.epoch;
                MetaCommand::Settled { group, epoch }
            }
            Self::Failover(true) => MetaCommand::SetFailover(automatic()),
            Self::Failover(false) => MetaCommand::SetFailover(Failover::Manual),
            Self::Factor(factor) => MetaCommand::SetReplicationFactor(*factor),
            Self::Replace(group, replica) => {
                let group = a_group(*group)?;
                let replica = a_replica(group, *replica)?;
                MetaCommand::ReplaceReplica { group, replica }
            }
            Self::Force(leader, holders) => {
                let holders = holders.iter().filter_map(|(group, replica)| {
                    let group = a_group(*group)?;
                    Some((
                        group,
                        (a_replica(group, *replica)?, LogPoint { index: 5, term: 1 }),
                    ))
                });
                MetaCommand::Force(Force {
                    heard: Epoch::default(),
                    as_of: meta.epoch(),
                    leader: match leader {
                        Some(leader) => Some(a_node(*leader)?),
                        None => None,
                    },
                    holders: holders.collect(),
                    consent: Consent::AcceptSplitBrain,
                })
            }
            Self::ForceAnother(group, replica, leads) => {
                let group = a_group(*group)?;
                let record = meta.group(group)?;
                let replica = pick(record.former.values().copied(), *replica)?;
                MetaCommand::ForceAnother {
                    group,
                    epoch: record.unconfirmed()?.epoch,
                    replica,
                    fork: LogPoint { index: 4, term: 1 },
                    gone: match meta.mode() {
                        Mode::OneLeader { leader } => leads.then_some(leader),
                        Mode::Quorum => None,
                    },
                }
            }
            Self::ConfirmForce(group) => {
                let group = a_group(*group)?;
                let epoch = meta.group(group)?.unconfirmed()?.epoch;
                MetaCommand::ConfirmForce { group, epoch }
            }
            Self::Arm => MetaCommand::ArmFailover {
                as_of: meta.unarmed_since()?,
            },
            Self::Delete(group) => {
                let group = a_group(*group)?;
                let name = meta.group(group)?.shard.as_ref()?.database.clone();
                MetaCommand::DeleteDatabase { name }
            }
            Self::Join | Self::Database | Self::SettleAll => return None,
        })
    }
}

/// All ids that were ever given to replicas of a group.
type Given = BTreeMap<(GroupId, NodeId), BTreeSet<u32>>;

fn look(before: &Meta, meta: &Meta, given: &mut Given) {
    assert!(meta.epoch() >= before.epoch());
    for (id, record) in meta.groups() {
        assert!(
            record.epoch <= meta.epoch() && record.settled <= record.epoch,
            "{id} {record:?}"
        );
        assert!(!record.voters.is_empty(), "{id} {record:?}");
        for voter in &record.voters {
            assert!(
                record.replicas.contains_key(voter),
                "a voter is a replica: {id} {record:?}"
            );
            assert!(
                meta.nodes().contains_key(voter),
                "a voter is here: {id} {record:?}"
            );
        }
        assert!(
            record.voters.contains(&record.leader),
            "who leads votes: {id} {record:?}"
        );
        assert!(record.voting().is_disjoint(&record.learning()));
        let was = before.group(*id);
        if let Some(was) = was {
            assert!(record.epoch >= was.epoch && record.settled >= was.settled, "{id}");
            assert!(record.incarnation >= was.incarnation, "{id}");
            let is_same =
                (&record.voters, &record.replicas, record.leader) == (&was.voters, &was.replicas, was.leader);
            assert!(
                is_same || record.epoch > was.epoch,
                "a change without an epoch: {id}"
            );
        }
        for (node, replica) in &record.replicas {
            assert_eq!(replica.node(), *node);
            let had = was.is_some_and(|was| was.can_go_on_with(*replica));
            let generations = given.entry((*id, *node)).or_default();
            if !had {
                assert!(
                    generations.insert(replica.generation()),
                    "{replica} of {id} was another's"
                );
            }
        }
    }
    match meta.guarantee() {
        Guarantee::Majority => assert!(
            meta.mode() == Mode::Quorum
                && meta.switch().is_none()
                && meta.groups().values().all(|record| record.voters.len() >= 3)
        ),
        Guarantee::Leader => assert!(
            meta.mode() != Mode::Quorum
                || meta.switch().is_some()
                // A node was lost, and not every group has grown again.
                || meta.is_short
                || meta
                    .groups()
                    .values()
                    .any(|record| record.forced.is_some() && !record.is_settled())
        ),
    }
    let is_stronger = before.guarantee() == Guarantee::Leader && meta.guarantee() == Guarantee::Majority;
    if let Some(switch) = before.switch().filter(|_| is_stronger) {
        let is_visited = |record: &GroupRecord| record.settled > switch.id || !switch.is_aborting;
        assert!(
            meta.groups()
                .values()
                .all(|record| record.settled >= switch.id && is_visited(record)),
            "{meta:?}"
        );
    }
    assert!(meta.apply_version() >= before.apply_version());
}

/// Whoever is affected by a command was looked at: to look at all groups changes nothing.
fn assert_aimed(meta: &Meta) {
    let mut again = meta.clone();
    again.retarget();
    assert_eq!(&again, meta);
}

fn run(wishes: &[Wish]) {
    let mut cluster = Cluster::found();
    let mut given = Given::new();
    look(&cluster.meta.clone(), &cluster.meta, &mut given);
    let mut restored = cluster.meta.clone();
    for wish in wishes {
        let before = cluster.clone();
        if let Some(command) = wish.command(&cluster.meta) {
            let outcome = cluster.try_apply(&command);
            // Who reads its copy back from a disk comes to the same.
            let bytes = postcard::to_stdvec(&restored).unwrap();
            restored = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(restored.apply(&command, cluster.index), outcome);
            assert_eq!(&restored, &cluster.meta);
            assert_aimed(&cluster.meta);
            look(&before.meta, &cluster.meta, &mut given);
        } else if matches!(wish, Wish::SettleAll) {
            cluster.settle();
            restored = cluster.meta.clone();
            assert_aimed(&restored);
            look(&before.meta, &cluster.meta, &mut given);
            assert!(cluster.meta.switch().is_none(), "what is under way ends");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_for_the_records_make_sense(wishes in proptest::collection::vec(wish(), 1..60)) {
        run(&wishes);
    }
}

#[test]
fn nodes_are_lost_amid_a_switch() {
    use Wish::{Join, Remove, Settle, Switch};
    let lost = |node| Remove(node, true);
    run(&[Join, Join, Switch(None), lost(1), Settle(0), lost(0), lost(0)]);
}
