//! Logs that are applied.

use std::sync::Arc;

use pliantdb_core::{
    Body, Change, ChangeAction, Command, DocumentAction, DocumentChange, Error, Expiry, GroupId, KeyAction,
    KeyCondition, KeyListing, Operation, Outcome, Precondition, Rejection, Request, RequestId, Response,
    Schematic, Timestamp, ViewId, WriteAction,
};
use pliantdb_storage::StorageError;
use pliantdb_storage::group::{GroupState, LogEntry, Position, Shard};
use pliantdb_storage::machine::{CommandResult, StateMachine};
use pliantdb_storage::store::{Fault, MemoryStore, OrderedStore, StoreError};
use proptest::prelude::*;

use super::script::{command, cut, logged, of_no_shard, script, views};
use super::{GROUP, answers, create, data, replicated, shard};
use crate::features_model::Stock;
use crate::store::{Kind, encrypted, everything};

/// Applies a log, cut into pieces, and gives the results.
pub(super) fn apply<S: OrderedStore>(
    state: &mut GroupState<S>,
    log: &[LogEntry],
    sizes: &[usize],
) -> Vec<Option<CommandResult>> {
    let mut results = Vec::new();
    for piece in cut(log, sizes) {
        results.extend(state.apply(piece).unwrap());
        assert_eq!(state.position().index, piece.last().unwrap().index);
    }
    results
}

fn put(id: &str) -> DocumentChange {
    DocumentChange {
        collection: "plain".parse().unwrap(),
        id: id.parse().unwrap(),
        precondition: Precondition::None,
        action: DocumentAction::Put {
            body: Body::parse(b"1".to_vec()).unwrap(),
            emitted: Vec::new(),
        },
    }
}

fn transact(changes: Vec<DocumentChange>) -> Operation {
    Operation::write("shop".parse().unwrap(), WriteAction::Transact(changes), None)
}

/// The first id of a document of that slot.
fn in_slot(shard: &Shard, slot: u16) -> String {
    let slot_of = |id: &String| shard.entry.slots.slot_of(id.as_bytes()).get();
    let mut ids = (0..).map(|n| n.to_string());
    ids.find(|id| slot_of(id) == slot).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A group and an embedded database that make the same commands come to the same, and have the same.
    #[test]
    fn a_group_of_all_slots_is_as_an_embedded_database(
        log in script(60),
        sizes in prop::collection::vec(1..10usize, 1..4),
    ) {
        let embedded = Arc::new(MemoryStore::default());
        let mut machine = StateMachine::open(Arc::clone(&embedded)).unwrap();
        let shard = shard(0, 8);
        let create_shop = Operation::CreateDatabase {
            name: shard.database.clone(),
            slots: shard.entry.slots,
        };
        machine.apply(&[Command::new(Timestamp::from_bits(1), create_shop)]).unwrap();
        let mut expected = Vec::new();
        for entry in &log {
            expected.push(machine.apply(entry.command.as_slice()).unwrap().pop());
        }

        let store = Arc::new(MemoryStore::default());
        let mut state = create(&store, GROUP, shard.clone());
        prop_assert_eq!(apply(&mut state, &log, &sizes), expected);
        prop_assert_eq!(data(&*store, &shard), data(&*embedded, &shard));
        let catalog = machine.catalog();
        let catalog = catalog.read().unwrap();
        prop_assert_eq!(&state.makeup(), &catalog.get(&shard.database).unwrap().makeup);
        prop_assert_eq!(state.position().timestamp, machine.applied().timestamp);
    }

    /// Also on every store, and when it is opened anew in between.
    #[test]
    fn the_same_entries_leave_the_same_bytes_however_they_are_cut(
        log in script(40),
        sizes in prop::collection::vec(1..10usize, 1..4),
    ) {
        fn run<S: OrderedStore>(store: S, log: &[LogEntry], sizes: &[usize]) -> (Vec<Option<CommandResult>>, Arc<S>) {
            let store = Arc::new(store);
            drop(create(&store, GROUP, shard(0, 8)));
            let mut results = Vec::new();
            for piece in cut(log, sizes) {
                let mut state = GroupState::open(&store, GROUP).unwrap().unwrap();
                results.extend(state.apply(piece).unwrap());
                assert_eq!(state.last_batch(), store.written());
                let again = GroupState::open(&store, GROUP).unwrap().unwrap();
                assert_eq!((again.position(), again.makeup()), (state.position(), state.makeup()));
            }
            (results, store)
        }
        let (results, store) = run(MemoryStore::default(), &log, &[1000]);
        let expected = (results, everything(&*store));
        let (results, store) = run(MemoryStore::default(), &log, &sizes);
        prop_assert!((results, everything(&*store)) == expected);
        let (results, store) = run(encrypted(MemoryStore::default()), &log, &sizes);
        prop_assert!((results, everything(&*store)) == expected);
        let directory = tempfile::tempdir().unwrap();
        let (results, store) = run(Kind::State.open(directory.path()), &log, &sizes);
        prop_assert!((results, everything(&*store)) == expected);
    }

    /// Groups that lie beside each other in one store each change what is theirs, and refuse the rest.
    #[test]
    fn a_shard_changes_its_own_slots_only(
        logs in [script(40), script(40)],
        middle in 1..8u16,
        sizes in prop::collection::vec(1..10usize, 1..4),
    ) {
        let shards = [shard(0, middle), shard(middle, 8)];
        let store = Arc::new(MemoryStore::default());
        let ids = [GroupId::new(3), GroupId::new(u64::MAX)];
        let mut states = [0, 1].map(|n| create(&store, ids[n], shards[n].clone()));
        let mut came_to = [Vec::new(), Vec::new()];
        let pieces = logs.each_ref().map(|log| cut(log, &sizes));
        for round in 0..pieces[0].len().max(pieces[1].len()) {
            for n in [0, 1] {
                let Some(piece) = pieces[n].get(round) else { continue };
                let other = data(&*store, &shards[1 - n]);
                let all = replicated(&*store).len() - data(&*store, &shards[n]).len();
                let results = states[n].apply(piece).unwrap();
                came_to[n].extend(results.clone());
                for result in results.into_iter().flatten() {
                    if let Err(Rejection::WrongShard { slot, first_slot, end_slot }) = result {
                        prop_assert_eq!((first_slot, end_slot), (shards[n].first_slot, shards[n].end_slot));
                        prop_assert!(!(first_slot..end_slot).contains(&slot));
                    }
                }
                prop_assert!(data(&*store, &shards[1 - n]) == other);
                // The makeup comes when a schema is defined.
                let now = replicated(&*store).len() - data(&*store, &shards[n]).len();
                prop_assert!(now == all || now == all + 1);
            }
        }
        // Each is as it would be alone, and goes without a trace.
        for n in [0, 1] {
            let alone = Arc::new(MemoryStore::default());
            let mut state = create(&alone, ids[n], shards[n].clone());
            prop_assert_eq!(&apply(&mut state, &logs[n], &[1]), &came_to[n]);
            prop_assert!(data(&*alone, &shards[n]) == data(&*store, &shards[n]));
            prop_assert_eq!(answers(&states[n]), answers(&state));
        }
        let second = answers(&states[1]);
        GroupState::destroy(&store, ids[0]).unwrap();
        prop_assert_eq!(GroupState::list(&*store).unwrap(), [ids[1]]);
        prop_assert_eq!(answers(&states[1]), second);
        GroupState::destroy(&store, ids[1]).unwrap();
        prop_assert!(everything(&*store).is_empty());
    }

    /// Position and data are of one moment, whichever that is, and the log brings back the rest.
    #[test]
    fn a_crash_takes_back_whole_batches(
        log in script(40),
        sizes in prop::collection::vec(1..6usize, 1..4),
        crashes in prop::collection::vec((0..6usize, any::<bool>()), 1..8),
    ) {
        let store = Arc::new(MemoryStore::default());
        let mut state = create(&store, GROUP, shard(0, 8));
        store.sync().unwrap();
        let mut crashes = crashes.into_iter();
        let mut expected = Vec::new();
        while let Some(piece) = cut(&log[state.position().index as usize..], &sizes).first() {
            let results = state.apply(piece).unwrap();
            let from = piece[0].index as usize - 1;
            // What is applied again comes to the same.
            for (at, result) in (from..).zip(results) {
                match expected.get(at) {
                    Some(before) => prop_assert_eq!(before, &result),
                    None => expected.push(result),
                }
            }
            if store.unsynced() > 3 && let Some((kept, is_flushed)) = crashes.next() {
                if is_flushed {
                    let synced = store.sync().unwrap();
                    prop_assert!(synced >= state.last_batch() && store.durable() == synced);
                }
                let safe = is_flushed.then(|| state.position().clone());
                store.crash_keeping(kept);
                state = GroupState::open(&store, GROUP).unwrap().unwrap();
                prop_assert!(safe.is_none_or(|safe| *state.position() == safe));
            }
        }
        let whole = Arc::new(MemoryStore::default());
        let mut again = create(&whole, GROUP, shard(0, 8));
        prop_assert_eq!(apply(&mut again, &log, &[1000]), expected);
        prop_assert!(everything(&*whole) == everything(&*store));
    }
}

#[test]
fn applies_commands_of_all_versions_that_it_knows() {
    let store = Arc::new(MemoryStore::default());
    let mut state = create(&store, GROUP, shard(0, 8));
    let of = |index, version| {
        let mut entry = logged(index, transact(vec![put("a")]));
        entry.command.as_mut().unwrap().version = version;
        entry
    };
    let mut index = 0;
    for newest in 1..4 {
        for found in 0..6 {
            let applied = state.apply_up_to(newest, &[of(index + 1, found)]);
            match (1..=newest).contains(&found) {
                true => {
                    applied.unwrap()[0].as_ref().unwrap().as_ref().unwrap();
                    index += 1;
                }
                false => {
                    let supported = newest;
                    let unknown = StorageError::UnknownApplyVersion { found, supported };
                    assert_eq!(applied, Err(unknown));
                }
            }
            assert_eq!(state.position().index, index);
        }
    }
}

#[test]
fn refuses_entries_it_cannot_apply_and_changes_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut state = create(&store, GROUP, shard(0, 8));
    state.apply(&[logged(1, transact(vec![put("a")]))]).unwrap();
    let before = (everything(&*store), state.position().clone(), state.last_batch());
    let mut unknown = logged(3, transact(vec![put("c")]));
    unknown.command.as_mut().unwrap().version = 2;
    let mut late = logged(3, transact(vec![put("c")]));
    late.command.as_mut().unwrap().timestamp = command(2, transact(Vec::new())).timestamp;
    let second = || logged(2, transact(vec![put("b")]));
    let gap = StorageError::EntryOrder {
        found: 3,
        expected: 2,
    };
    assert_eq!(state.apply(&[logged(3, transact(Vec::new()))]), Err(gap));
    let again = StorageError::EntryOrder {
        found: 1,
        expected: 2,
    };
    assert_eq!(state.apply(&[logged(1, transact(Vec::new()))]), Err(again));
    let twice = StorageError::EntryOrder {
        found: 2,
        expected: 3,
    };
    assert_eq!(state.apply(&[second(), second()]), Err(twice));
    let (found, supported) = (2, 1);
    let error = StorageError::UnknownApplyVersion { found, supported };
    assert_eq!(state.apply(&[second(), unknown]), Err(error));
    let error = state.apply(&[second(), late]).unwrap_err();
    assert!(matches!(error, StorageError::TimestampOrder { .. }), "{error}");
    store.set_fault(Fault::NoSpace);
    let error = state.apply(&[second()]).unwrap_err();
    assert!(
        matches!(error, StorageError::Commit(StoreError::NoSpace(_))),
        "{error}"
    );
    assert!(state.set_config(vec![1]).is_err() && GroupState::destroy(&store, GROUP).is_err());
    store.set_fault(Fault::Corrupt {
        prefix: vec![0, 0, 0, 1],
    });
    let error = state.apply(&[second()]).unwrap_err();
    assert!(
        matches!(error, StorageError::Store(StoreError::Corrupt(_))),
        "{error}"
    );
    store.set_fault(Fault::None);
    assert_eq!(
        (everything(&*store), state.position().clone(), state.last_batch()),
        before
    );
    assert_eq!(state.apply(&[]), Ok(Vec::new()));
    state.apply(&[second()]).unwrap();
}

#[test]
fn keeps_the_configuration_that_entries_and_force_set() {
    let store = Arc::new(MemoryStore::default());
    let mut state = create(&store, GROUP, shard(0, 8));
    let first = LogEntry {
        index: 1,
        term: 3,
        command: None,
        config: Some(vec![1, 2]),
    };
    let second = LogEntry {
        index: 2,
        term: 4,
        command: None,
        config: None,
    };
    assert_eq!(state.apply(&[first, second]), Ok(vec![None, None]));
    let position = Position {
        index: 2,
        term: 4,
        config: vec![1, 2],
        ..Position::default()
    };
    assert_eq!(*state.position(), position);
    state.set_config(vec![9]).unwrap();
    assert_eq!(state.last_batch(), store.written());
    let again = GroupState::open(&store, GROUP).unwrap().unwrap();
    assert_eq!(
        *again.position(),
        Position {
            config: vec![9],
            ..position
        }
    );
}

#[test]
fn rejects_what_is_not_of_its_shard() {
    let store = Arc::new(MemoryStore::default());
    let shard = shard(2, 4);
    let mut state = create(&store, GROUP, shard.clone());
    let before = everything(&*store).len();
    let mut index = 0;
    let mut result = |operation| {
        index += 1;
        state
            .apply(&[logged(index, operation)])
            .unwrap()
            .remove(0)
            .unwrap()
    };
    for operation in of_no_shard() {
        assert_eq!(result(operation), Err(Rejection::NotOfShard));
    }
    let wrong = |slot| {
        Err(Rejection::WrongShard {
            slot,
            first_slot: 2,
            end_slot: 4,
        })
    };
    let (own, other) = (in_slot(&shard, 3), in_slot(&shard, 4));
    assert_eq!(result(transact(vec![put(&own), put(&other)])), wrong(4));
    let unknown = Rejection::UnknownDatabase {
        database: "other".parse().unwrap(),
    };
    let elsewhere = Operation::write(
        "other".parse().unwrap(),
        WriteAction::Transact(vec![put(&own)]),
        None,
    );
    assert_eq!(result(elsewhere), Err(unknown));
    assert_eq!(everything(&*store).len(), before, "nothing was written");
    assert!(result(transact(vec![put(&own)])).is_ok());
    // What another shard remembers of a request is nothing to this one.
    let (request, write) = (RequestId::new(0, 1), WriteAction::Transact(vec![put(&other)]));
    let once = Operation::write(shard.database.clone(), write, Some(request));
    let mut beside = create(&store, GroupId::new(8), super::shard(4, 8));
    assert!(
        beside
            .apply(&[logged(1, once.clone())])
            .unwrap()
            .remove(0)
            .unwrap()
            .is_ok()
    );
    assert_eq!(result(once), wrong(4));
    // A unique key lies where it is looked for, which may be elsewhere.
    let define = Operation::DefineSchema {
        database: shard.database.clone(),
        schema: "shop".parse().unwrap(),
        views: views(1),
    };
    assert_eq!(result(define), Ok(Outcome::Done));
    // A lazy view is a node's own affair.
    let build = |documents| Operation::BuildView {
        database: shard.database.clone(),
        view: ViewId::from(3),
        documents,
        is_last: true,
    };
    let document = pliantdb_core::IndexedDocument {
        id: own.parse().unwrap(),
        revision: pliantdb_core::Revision::at(super::at(1)),
        entries: Vec::new(),
    };
    assert_eq!(result(build(vec![document])), wrong(u16::MAX));
    assert_eq!(result(build(Vec::new())), Ok(Outcome::Done));
}

#[test]
fn answers_what_lies_in_its_slots() {
    let store = Arc::new(MemoryStore::default());
    let shards = [shard(0, 4), shard(4, 8)];
    let mut states = [0, 1].map(|n| create(&store, GroupId::new(n as u64), shards[n].clone()));
    let ids = [in_slot(&shards[0], 1), in_slot(&shards[1], 5)];
    for (state, id) in states.iter_mut().zip(&ids) {
        state.apply(&[logged(1, transact(vec![put(id)]))]).unwrap();
    }
    let get = |ids: &[&String]| Request::Get {
        collection: "plain".parse().unwrap(),
        ids: ids.iter().map(|id: &&String| id.parse().unwrap()).collect(),
    };
    for n in [0, 1] {
        let Ok(Response::Documents(found)) = states[n].answer(&get(&[&ids[n]])) else {
            panic!()
        };
        assert_eq!(found[0].id.as_str(), ids[n]);
        let both = states[n].answer(&get(&[&ids[n], &ids[1 - n]]));
        assert!(
            matches!(both, Err(Error::Rejected(Rejection::WrongShard { .. }))),
            "{both:?}"
        );
        let found_in = answers(&states[n]);
        let [Response::Count(0), _, Response::Count(1), Response::Page(page), _] = found_in.as_slice() else {
            panic!("{found_in:?}")
        };
        assert_eq!(page.documents, found);
    }
    for refused in [
        Request::Transact(Vec::new()),
        Request::ViewStatus {
            collection: "orders".parse().unwrap(),
            view: "by-age".parse().unwrap(),
        },
    ] {
        let answer = states[0].answer(&refused);
        assert!(matches!(answer, Err(Error::Invalid(_))), "{answer:?}");
    }
    store.set_fault(Fault::Corrupt {
        prefix: vec![0, 0, 0, 1, 0, 1],
    });
    let answer = states[0].answer(&get(&[&ids[0]]));
    assert!(matches!(answer, Err(Error::Corrupt(_))), "{answer:?}");
    assert!(
        states[1].answer(&get(&[&ids[1]])).is_ok(),
        "the other group goes on"
    );
}

#[test]
fn values_expire_by_the_time_of_the_log() {
    let store = Arc::new(MemoryStore::default());
    let mut state = create(&store, GROUP, shard(0, 8));
    let (namespace, key): (pliantdb_core::NamespaceName, pliantdb_core::KeyName) =
        ("n".parse().unwrap(), "k".parse().unwrap());
    let set = Operation::ChangeKey {
        database: shard(0, 8).database,
        namespace: namespace.clone(),
        key: key.clone(),
        action: KeyAction::Set {
            value: Body::parse(b"1".to_vec()).unwrap(),
            expiry: Expiry::After(std::time::Duration::from_millis(1)),
            condition: KeyCondition::Always,
        },
    };
    state.apply(&[logged(1, set)]).unwrap();
    let get = Request::GetKey {
        namespace: namespace.clone(),
        key: key.clone(),
    };
    let list = Request::ListKeys {
        namespace: namespace.clone(),
        listing: KeyListing::default(),
    };
    assert!(matches!(state.answer(&get), Ok(Response::Value(Some(_)))));
    assert_eq!(state.expired_keys(9), Ok(Vec::new()));
    state.apply(&[logged(2, transact(Vec::new()))]).unwrap();
    assert_eq!(state.answer(&get), Ok(Response::Value(None)));
    assert_eq!(
        state.answer(&list),
        Ok(Response::Keys(pliantdb_core::KeyPage::default()))
    );
    let expired = state.expired_keys(9).unwrap();
    assert_eq!(expired, [(namespace, key)]);
    let expire = Operation::ExpireKeys {
        database: shard(0, 8).database,
        keys: expired,
    };
    state.apply(&[logged(3, expire)]).unwrap();
    assert_eq!(
        (state.expired_keys(9), data(&*store, &shard(0, 8))),
        (Ok(Vec::new()), Vec::new())
    );
}

#[test]
fn refuses_shards_that_cannot_be_and_slots_that_are_taken() {
    let store = Arc::new(MemoryStore::default());
    let other = GroupId::new(8);
    let make = |group, shard| GroupState::create(&store, group, shard, Position::default()).map(|_| ());
    let mut of_no_database = shard(0, 4);
    of_no_database.entry.id = 0.into();
    for shard in [shard(4, 4), shard(5, 4), shard(0, 9), of_no_database] {
        assert!(matches!(make(GROUP, shard), Err(StorageError::InvalidShard(_))));
    }
    assert!(everything(&*store).is_empty());
    assert_eq!(make(GROUP, shard(2, 4)), Ok(()));
    assert_eq!(make(GROUP, shard(4, 8)), Err(StorageError::GroupExists(GROUP)));
    for (first, end) in [(0, 3), (3, 4), (3, 8), (0, 8)] {
        let taken = StorageError::SlotsTaken {
            group: other,
            by: GROUP,
        };
        assert_eq!(make(other, shard(first, end)), Err(taken));
    }
    assert_eq!(make(other, shard(4, 8)), Ok(()));
    let mut second_database = shard(0, 8);
    second_database.entry.id = 2.into();
    assert_eq!(make(GroupId::META, second_database), Ok(()));
    assert_eq!(GroupState::list(&*store).unwrap(), [GroupId::META, GROUP, other]);
    assert!(GroupState::open(&store, GroupId::new(9)).unwrap().is_none());
}

/// What is proposed has what the views of the shard need, and the same ids whenever it is made of the same request.
#[test]
fn makes_operations_of_requests() {
    let store = Arc::new(MemoryStore::default());
    let shard = shard(0, 8);
    let mut state = create(&store, GROUP, shard.clone());
    let schematic = Schematic::of::<Stock>().unwrap();
    let define = Operation::DefineSchema {
        database: shard.database.clone(),
        schema: schematic.name().unwrap().clone(),
        views: schematic.views().map(|view| view.definition().clone()).collect(),
    };
    state.apply(&[logged(1, define)]).unwrap();
    let insert = |body: &str| {
        let body = Body::parse(body.as_bytes().to_vec()).unwrap();
        let (collection, id) = (
            "items".parse().unwrap(),
            Some("00000000000000000001".parse().unwrap()),
        );
        let action = ChangeAction::Insert { id, body };
        Request::Transact(vec![Change { collection, action }])
    };
    let whole = r#"{"groups":["a"],"weight":1,"name":""}"#;
    let request = RequestId::new(super::at(40_000).millis(), 1);
    let make = |state: &GroupState<_>| state.operation(&schematic, insert(whole), Some(request));
    let operation = make(&state).unwrap();
    assert_eq!(make(&state), Ok(operation.clone()));
    for index in [2, 3] {
        let result = state
            .apply(&[logged(index, operation.clone())])
            .unwrap()
            .remove(0);
        assert!(matches!(result, Some(Ok(Outcome::Transacted(_)))), "{result:?}");
    }
    let collection = "items".parse().unwrap();
    let listing = pliantdb_core::Listing::default();
    let count = state.answer(&Request::Count { collection, listing });
    assert_eq!(count, Ok(Response::Count(1)));
    let error = state.operation(&schematic, insert("1"), None).unwrap_err();
    assert!(matches!(error, Error::OtherType { .. }), "{error}");
    // Without the schema it has nothing for the views.
    let blind = state
        .operation(&Schematic::default(), insert(whole), None)
        .unwrap();
    let result = state.apply(&[logged(4, blind)]).unwrap().remove(0).unwrap();
    assert!(
        matches!(
            result,
            Err(Rejection::PreconditionFailed { .. } | Rejection::SchemaMoved { .. })
        ),
        "{result:?}"
    );
}
