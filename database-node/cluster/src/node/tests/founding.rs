//! A cluster that begins with what a storage had.

use pliantdb_core::{Clock, Command, Timestamp};
use pliantdb_storage::group::{GroupState, LogEntry, Position};
use pliantdb_storage::node::Heritage;
use pliantdb_storage::{DatabaseEntry, DatabaseId};

use super::*;

/// In the future, as a storage may have it whose wall clock was once ahead.
const LAST_MS: u64 = 1_900_000_000_000;

const NAME: &str = "inherited";

fn heritage() -> Heritage {
    let entry = DatabaseEntry {
        id: DatabaseId::FIRST,
        slots: SlotCount::try_from(4).unwrap(),
    };
    Heritage {
        databases: vec![(NAME.parse().unwrap(), entry)],
        last_database: 3,
        accounts: Default::default(),
        timestamp: Clock::after(Timestamp::ZERO).next(LAST_MS),
    }
}

fn put() -> Operation {
    let change = DocumentChange {
        collection: collection(),
        id: document(),
        precondition: Precondition::None,
        action: DocumentAction::Put {
            body: Body::parse(b"1".to_vec()).unwrap(),
            emitted: Vec::new(),
        },
    };
    Operation::write(NAME.parse().unwrap(), WriteAction::Transact(vec![change]), None)
}

/// Two machines, of which the first has founded a cluster; with the state that it founds it with, or without.
fn founded(has_state: bool) -> Cluster {
    let mut cluster = Cluster::asleep(0, 0, false);
    for _ in 0..2 {
        cluster.machines.push(Machine {
            log: Arc::default(),
            state: Arc::default(),
            apply_version: pliantdb_core::APPLY_VERSION,
            process: None,
        });
    }
    let founder = Founder {
        cluster: 7,
        token: 0,
        name: "machine-0".to_owned(),
        attributes: BTreeMap::new(),
        apply_version: pliantdb_core::APPLY_VERSION,
    };
    let founding = founder.found_with(&heritage()).unwrap();
    let machine = &cluster.machines[0];
    machine.log.write(&founding.log, Durability::Synced).unwrap();
    let [(group, shard, position)] = founding.groups.as_slice() else {
        panic!("one database is one group");
    };
    assert_eq!((*group, position.timestamp), (GROUP, heritage().timestamp));
    if has_state {
        let before = Position {
            index: position.index - 1,
            ..Position::default()
        };
        let mut state = GroupState::create(&machine.state, *group, shard.clone(), before).unwrap();
        let entry = LogEntry {
            index: position.index,
            term: position.term,
            command: Some(Command::new(position.timestamp, put())),
            config: Some(position.config.clone()),
        };
        state.apply(&[entry]).unwrap();
        assert_eq!(state.position(), position);
        machine.state.sync().unwrap();
    }
    cluster.start(0);
    cluster
}

#[test]
fn what_a_storage_had_is_there_and_who_joins_gets_it() {
    let mut cluster = founded(true);
    cluster.until(20, |cluster| cluster.finds(0, Freshness::Linearizable));
    cluster.start(1);
    cluster.node_mut(1).join(1, vec![Peer::Node(node(0))]);
    cluster.until(100, |cluster| cluster.node(1).id() == Some(node(1)));
    let group = GROUP;
    let written = cluster.answer(
        0,
        Ask::Write {
            group,
            operation: put(),
        },
    );
    let Some(Answer::Written {
        at,
        result: Ok(pliantdb_core::Outcome::Transacted(outcomes)),
    }) = written
    else {
        panic!("{written:?}");
    };
    let [pliantdb_core::ChangeOutcome::Written { revision, .. }] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert!(revision.timestamp() > heritage().timestamp, "time goes on");
    cluster.until(100, |cluster| cluster.finds(1, Freshness::AtLeast(at)));
    // Numbers that databases had are not given again.
    let (name, slots) = ("new".parse().unwrap(), SlotCount::try_from(4).unwrap());
    cluster.change(MetaCommand::CreateDatabase { name, slots });
    assert!(cluster.node(0).meta().unwrap().group(GroupId::new(4)).is_some());
    // And after a restart.
    cluster.stop(0);
    cluster.start(0);
    cluster.until(100, |cluster| cluster.finds(0, Freshness::Linearizable));
}

/// Nobody takes an empty state for what the storage had, and the only replica is not given up.
#[test]
fn a_state_that_is_lost_is_not_begun_anew() {
    let mut cluster = founded(false);
    cluster.pass(300);
    let told = cluster.node(0).replicas();
    let told = told.iter().find(|told| told.group == GROUP).unwrap();
    assert_eq!(told.halted.as_deref(), Some("its state is gone"));
    assert!(!cluster.finds(0, Freshness::Linearizable));
    let (_, applier) = cluster.machines[0].process.as_ref().unwrap();
    assert!(applier.snapshot(GROUP).is_none());
}
