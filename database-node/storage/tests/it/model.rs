//! The state machine against a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use pliantdb_core::{
    Body, ChangeOutcome, Command, DatabaseName, DocumentAction, DocumentChange, Operation, Outcome,
    Precondition, REQUEST_MEMORY, Rejection, RequestId, Revision, Slot, SlotCount, Timestamp, WriteAction,
};
use pliantdb_storage::StorageError;
use pliantdb_storage::machine::{CommandResult, StateMachine};
use pliantdb_storage::store::{MemoryStore, OrderedStore};
use proptest::prelude::*;

use crate::store::rocks;

/// A precondition before the revisions are known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    Nothing,
    Absent,
    Exists,
    Current,
    Stale,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(usize),
    Put(usize, usize, usize, Wanted),
    Delete(usize, usize, usize, Wanted),
    /// A put or a delete of the request of that number, made at most once.
    Once(u64, Box<Step>),
    Forget(usize, u64),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let wanted = || {
        prop_oneof![
            3 => Just(Wanted::Nothing),
            1 => Just(Wanted::Absent),
            1 => Just(Wanted::Exists),
            2 => Just(Wanted::Current),
            1 => Just(Wanted::Stale),
        ]
    };
    let write = || {
        prop_oneof![
            2 => (0..3usize, 0..2usize, 0..4usize, wanted()).prop_map(|(d, c, i, w)| Step::Put(d, c, i, w)),
            1 => (0..3usize, 0..2usize, 0..4usize, wanted()).prop_map(|(d, c, i, w)| Step::Delete(d, c, i, w)),
        ]
    };
    prop_oneof![
        2 => (0..3usize).prop_map(Step::Create),
        6 => write(),
        9 => (0..REQUESTS, write()).prop_map(|(request, write)| Step::Once(request, Box::new(write))),
        1 => (0..3usize, 0..1_600_000u64).prop_map(|(database, before)| Step::Forget(database, before)),
    ]
}

/// How many requests there are, and how many milliseconds lie between them: some are expired, some ahead.
const REQUESTS: u64 = 6;
const BETWEEN_REQUESTS: u64 = 250_000;
/// How many milliseconds a step takes.
const STEP: u64 = 20_000;

type Place = (usize, usize, usize);

/// Which databases exist, and which revision each document has.
#[derive(Default)]
struct Model {
    databases: [bool; 3],
    documents: BTreeMap<Place, Revision>,
    remembered: BTreeMap<(DatabaseName, Slot, RequestId), Outcome>,
}

fn slots() -> SlotCount {
    SlotCount::try_from(3).unwrap()
}

fn name(database: usize) -> DatabaseName {
    ["a", "b", "c"][database].parse().unwrap()
}

fn change((_, collection, id): Place, precondition: Precondition, action: DocumentAction) -> DocumentChange {
    DocumentChange {
        collection: ["x", "x.y"][collection].parse().unwrap(),
        id: ["1", "1/2", "é", "10"][id].parse().unwrap(),
        precondition,
        action,
    }
}

fn transact(place: Place, precondition: Precondition, action: DocumentAction) -> Operation {
    Operation::Transact {
        database: name(place.0),
        changes: vec![change(place, precondition, action)],
    }
}

/// The commands for the steps, and what the model says that each comes to.
pub(crate) fn script(steps: &[Step]) -> Vec<(Command, CommandResult)> {
    let mut model = Model::default();
    let mut script = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let timestamp =
            Timestamp::from_bits(Timestamp::at_millis(n as u64 * STEP).bits() + 1000 + 3 * n as u64);
        let (operation, result) = model.step(step, Revision::at(timestamp));
        script.push((Command::new(timestamp, operation), result));
    }
    script
}

impl Model {
    fn step(&mut self, step: &Step, revision: Revision) -> (Operation, CommandResult) {
        match *step {
            Step::Create(database) => {
                let taken = std::mem::replace(&mut self.databases[database], true);
                let name = name(database);
                let result = match taken {
                    true => Err(Rejection::DatabaseExists {
                        database: name.clone(),
                    }),
                    false => Ok(Outcome::Done),
                };
                (Operation::CreateDatabase { name, slots: slots() }, result)
            }
            Step::Put(database, collection, id, wanted) => {
                let place = (database, collection, id);
                // As with a generated id, of which there can be no document.
                let is_new = id < 2
                    && matches!(wanted, Wanted::Nothing | Wanted::Absent)
                    && !self.documents.contains_key(&place);
                let (precondition, holds) = self.check(place, wanted);
                let result = holds.map(|current| {
                    self.documents.insert(place, revision);
                    Outcome::Transacted(vec![ChangeOutcome::Written {
                        id: change(place, precondition, DocumentAction::Check).id,
                        revision,
                        created: current.is_none(),
                    }])
                });
                let body = Body::parse(revision.timestamp().bits().to_string().into_bytes()).unwrap();
                let emitted = Vec::new();
                let action = match is_new {
                    true => DocumentAction::Create { body, emitted },
                    false => DocumentAction::Put { body, emitted },
                };
                (transact(place, precondition, action), result)
            }
            Step::Delete(database, collection, id, wanted) => {
                let place = (database, collection, id);
                let (precondition, holds) = self.check(place, wanted);
                let result = holds.and_then(|_| {
                    let DocumentChange { collection, id, .. } =
                        change(place, precondition, DocumentAction::Delete);
                    self.documents
                        .remove(&place)
                        .ok_or(Rejection::UnknownDocument { collection, id })?;
                    Ok(Outcome::Transacted(vec![ChangeOutcome::Deleted]))
                });
                (transact(place, precondition, DocumentAction::Delete), result)
            }
            Step::Once(request, ref write) => {
                let before = self.documents.clone();
                let (write, result) = self.step(write, revision);
                let Operation::Transact { database, changes } = write else {
                    unreachable!()
                };
                let id = RequestId::new(request * BETWEEN_REQUESTS, request.into());
                let slot = slots().slot_of(changes[0].id.as_str().as_bytes());
                let place = (database.clone(), slot, id);
                let now = revision.timestamp().millis();
                let is_expired = u128::from(now.abs_diff(id.millis())) > REQUEST_MEMORY.as_millis();
                let (result, is_made) = match (result, self.remembered.get(&place)) {
                    (Err(unknown @ Rejection::UnknownDatabase { .. }), _) => (Err(unknown), false),
                    _ if is_expired => (Err(Rejection::RequestExpired { id, now }), false),
                    (_, Some(outcome)) => (Ok(outcome.clone()), false),
                    (result, None) => (result, true),
                };
                match &result {
                    Ok(outcome) if is_made => drop(self.remembered.insert(place, outcome.clone())),
                    _ => self.documents = before,
                }
                let write = WriteAction::Transact(changes);
                (Operation::write(database, write, Some(id)), result)
            }
            Step::Forget(database, before) => {
                // What is refused by now can be forgotten or not: it makes no difference.
                let result = match self.databases[database] {
                    true => Ok(Outcome::Done),
                    false => Err(Rejection::UnknownDatabase {
                        database: name(database),
                    }),
                };
                let database = name(database);
                (Operation::ForgetRequests { database, before }, result)
            }
        }
    }

    fn check(&self, place: Place, wanted: Wanted) -> (Precondition, Result<Option<Revision>, Rejection>) {
        let current = self.documents.get(&place).copied();
        let never = Revision::at(Timestamp::from_bits(1));
        let (precondition, holds) = match wanted {
            Wanted::Nothing => (Precondition::None, true),
            Wanted::Absent => (Precondition::Absent, current.is_none()),
            Wanted::Exists => (Precondition::Exists, current.is_some()),
            Wanted::Current => (
                Precondition::Revision(current.unwrap_or(never)),
                current.is_some(),
            ),
            Wanted::Stale => (Precondition::Revision(never), false),
        };
        let result = if !self.databases[place.0] {
            Err(Rejection::UnknownDatabase {
                database: name(place.0),
            })
        } else if holds {
            Ok(current)
        } else {
            Err(Rejection::PreconditionFailed {
                id: change(place, precondition, DocumentAction::Check).id,
                wanted: precondition,
                current,
            })
        };
        (precondition, result)
    }
}

/// Applies the script in batches of the given sizes, over and over.
pub(crate) fn run<S: OrderedStore>(store: S, script: &[(Command, CommandResult)], sizes: &[usize]) -> Arc<S> {
    let store = Arc::new(store);
    let mut machine = StateMachine::open(Arc::clone(&store)).unwrap();
    let mut rest = script;
    for size in sizes.iter().cycle() {
        let (batch, after) = rest.split_at((*size).min(rest.len()));
        let commands = batch
            .iter()
            .map(|(command, _)| command.clone())
            .collect::<Vec<_>>();
        let expected = batch.iter().map(|(_, result)| result.clone()).collect::<Vec<_>>();
        assert_eq!(machine.apply(&commands).unwrap(), expected);
        rest = after;
        if rest.is_empty() {
            break;
        }
        if *size == 1 {
            // Whatever it knows must be in the store.
            machine = StateMachine::open(Arc::clone(&store)).unwrap();
        }
    }
    assert_eq!(machine.applied().index, script.len() as u64);
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn behaves_like_the_model(
        steps in prop::collection::vec(step(), 1..80),
        sizes in prop::collection::vec(1..10usize, 1..4),
    ) {
        let script = script(&steps);
        run(MemoryStore::default(), &script, &sizes);
        let directory = tempfile::tempdir().unwrap();
        run(rocks(directory.path()), &script, &sizes);
    }
}

#[test]
fn refuses_commands_it_cannot_apply_and_changes_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut machine = StateMachine::open(Arc::clone(&store)).unwrap();
    let create = |at, database| {
        let operation = Operation::CreateDatabase {
            name: name(database),
            slots: SlotCount::default(),
        };
        Command::new(Timestamp::from_bits(at), operation)
    };
    machine.apply(&[create(5, 0)]).unwrap();
    let before = (crate::store::everything(&*store), machine.applied());

    let unknown = Command {
        version: 2,
        ..create(7, 2)
    };
    let error = machine.apply(&[create(6, 1), unknown]).unwrap_err();
    assert_eq!(
        error,
        StorageError::UnknownApplyVersion {
            found: 2,
            supported: 1
        }
    );
    let none = Command {
        version: 0,
        ..create(6, 1)
    };
    let error = machine.apply(&[none]).unwrap_err();
    assert!(
        matches!(error, StorageError::UnknownApplyVersion { found: 0, .. }),
        "{error}"
    );
    let error = machine.apply(&[create(6, 1), create(6, 2)]).unwrap_err();
    assert!(matches!(error, StorageError::TimestampOrder { .. }), "{error}");
    assert_eq!((crate::store::everything(&*store), machine.applied()), before);
    assert_eq!(machine.apply(&[]), Ok(vec![]));
    assert_eq!(machine.apply(&[create(6, 1)]), Ok(vec![Ok(Outcome::Done)]));
}
