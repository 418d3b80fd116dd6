//! Writes that are made once, however often they are asked for.

use pliantdb_core::{DatabaseName, Outcome, REQUEST_MEMORY, Rejection, RequestId, Timestamp, WriteAction};

use super::Applying;
use crate::error::StorageError;
use crate::store::OrderedStore;
use crate::{keys, records};

/// How long requests are remembered, in milliseconds.
pub(crate) const MEMORY_MS: u64 = REQUEST_MEMORY.as_millis() as u64;

impl<S: OrderedStore> Applying<'_, S> {
    /// Makes a write of a request, unless it was made before; gives what came of it then or now.
    pub(super) fn once(
        &mut self,
        database: &DatabaseName,
        id: RequestId,
        write: &WriteAction,
        time: Timestamp,
    ) -> Result<Outcome, StorageError> {
        let state = self.database(database)?;
        let request = keys::request(state.entry, id, write);
        if let Some(request) = &request {
            self.scope.extent(state.entry).check(request)?;
        }
        let now = time.millis();
        // Also of one that is still remembered: whether it is forgotten by now must make no difference.
        if id.millis().abs_diff(now) > MEMORY_MS {
            return Err(Rejection::RequestExpired { id, now }.into());
        }
        if let Some(request) = &request
            && let Some(outcome) = self.pending.get(request, records::decode_outcome)?
        {
            return Ok(outcome);
        }
        let outcome = match write {
            WriteAction::Transact(changes) => Outcome::Transacted(self.transact(&state, changes, time)?),
            WriteAction::ChangeKey {
                namespace,
                key,
                action,
            } => Outcome::Key(self.change_key(state.entry, namespace, key, action, time)?),
        };
        if let Some(request) = request {
            self.pending.put(request, records::encode_outcome(&outcome)?);
        }
        Ok(outcome)
    }

    /// Forgets the requests that were made before a time in milliseconds, but none that is not refused by now.
    pub(super) fn forget_requests(
        &mut self,
        database: &DatabaseName,
        before: u64,
        time: Timestamp,
    ) -> Result<(), StorageError> {
        let entry = self.database(database)?.entry;
        let before = before.min(time.millis().saturating_sub(MEMORY_MS));
        for slot in self.scope.extent(entry).slots() {
            self.pending
                .delete_range(keys::requests_before(entry.id, slot, before));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pliantdb_core::{
        Body, Command, DocumentAction, DocumentChange, KeyAction, Number, Operation, Order, Precondition,
        SlotCount,
    };

    use super::*;
    use crate::catalog::{DatabaseEntry, DatabaseId};
    use crate::machine::{CommandResult, StateMachine};
    use crate::store::{Cursor, MemoryStore, Snapshot};

    const START: u64 = 1_000_000;

    /// A state machine, and commands for it, each with a time of its own.
    struct Machine {
        store: Arc<MemoryStore>,
        machine: StateMachine<MemoryStore>,
        commands: u64,
    }

    fn name() -> DatabaseName {
        DatabaseName::default_database()
    }

    impl Machine {
        fn new() -> Self {
            let store = Arc::new(MemoryStore::default());
            let mut machine = Self {
                machine: StateMachine::open(Arc::clone(&store)).unwrap(),
                store,
                commands: 0,
            };
            let (name, slots) = (name(), SlotCount::default());
            machine
                .apply(0, Operation::CreateDatabase { name, slots })
                .unwrap();
            machine
        }

        fn command(&mut self, millis: u64, operation: Operation) -> Command {
            self.commands += 1;
            let time = Timestamp::from_bits(Timestamp::at_millis(millis).bits() + self.commands);
            Command::new(time, operation)
        }

        fn apply(&mut self, millis: u64, operation: Operation) -> CommandResult {
            let command = self.command(millis, operation);
            self.machine.apply(&[command]).unwrap().remove(0)
        }

        /// How many requests are remembered.
        fn remembered(&self) -> usize {
            let id = DatabaseId::FIRST;
            let snapshot = self.store.snapshot();
            let in_slot = |slot| {
                let range = keys::requests_before(id, slot, u64::MAX);
                let mut cursor = snapshot.scan(range, Order::Ascending).unwrap();
                let mut count = 0;
                while cursor.entry().is_some() {
                    count += 1;
                    cursor.advance().unwrap();
                }
                count
            };
            SlotCount::default().slots().map(in_slot).sum()
        }
    }

    fn increment(id: RequestId) -> Operation {
        let write = WriteAction::ChangeKey {
            namespace: "n".parse().unwrap(),
            key: "k".parse().unwrap(),
            action: KeyAction::Increment {
                by: Number::Integer(1),
            },
        };
        Operation::write(name(), write, Some(id))
    }

    fn sum(result: CommandResult) -> String {
        match result.unwrap() {
            Outcome::Key(outcome) => outcome.current.unwrap().as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_sees_its_own_requests() {
        let mut machine = Machine::new();
        let (first, second) = (RequestId::new(START, 1), RequestId::new(START, 2));
        let operations = [first, second, first, second, first].map(increment);
        let commands = operations.map(|operation| machine.command(START, operation));
        let results = machine.machine.apply(&commands).unwrap();
        assert_eq!(
            results.into_iter().map(sum).collect::<Vec<_>>(),
            ["1", "2", "1", "2", "1"]
        );
        assert_eq!(
            sum(machine.apply(START, increment(first))),
            "1",
            "the next batch does too"
        );
        assert_eq!(machine.remembered(), 2);
    }

    #[test]
    fn is_exact_to_the_millisecond_at_both_ends() {
        for (made, is_taken) in [
            (START - MEMORY_MS - 1, false),
            (START - MEMORY_MS, true),
            (START + MEMORY_MS, true),
            (START + MEMORY_MS + 1, false),
        ] {
            let mut machine = Machine::new();
            let id = RequestId::new(made, 7);
            let result = machine.apply(START, increment(id));
            match is_taken {
                true => assert_eq!(sum(result), "1"),
                false => assert_eq!(result, Err(Rejection::RequestExpired { id, now: START })),
            }
            assert_eq!(machine.remembered(), usize::from(is_taken));
        }
    }

    #[test]
    fn forgets_only_what_is_refused_by_now() {
        let mut machine = Machine::new();
        let ids = [1, 2, 3].map(|at| RequestId::new(at * START, 7));
        for id in ids {
            assert!(machine.apply(id.millis(), increment(id)).is_ok());
        }
        let (database, now) = (name(), 3 * START + 1);
        let forget = |before| Operation::ForgetRequests {
            database: database.clone(),
            before,
        };
        assert_eq!(machine.apply(now, forget(2 * START)), Ok(Outcome::Done));
        assert_eq!(machine.remembered(), 2, "from that time on");
        assert_eq!(machine.apply(now, forget(u64::MAX)), Ok(Outcome::Done));
        assert_eq!(machine.remembered(), 1, "the last is not old enough");
        assert_eq!(sum(machine.apply(now, increment(ids[2]))), "3");
        for id in [ids[0], ids[1]] {
            assert_eq!(
                machine.apply(now, increment(id)),
                Err(Rejection::RequestExpired { id, now })
            );
        }
    }

    #[test]
    fn what_was_rejected_is_tried_anew_and_what_changes_nothing_is_not_remembered() {
        let mut machine = Machine::new();
        let change = |action| DocumentChange {
            collection: "c".parse().unwrap(),
            id: "1".parse().unwrap(),
            precondition: Precondition::None,
            action,
        };
        let id = RequestId::new(START, 7);
        let delete = || {
            let write = WriteAction::Transact(vec![change(DocumentAction::Delete)]);
            Operation::write(name(), write, Some(id))
        };
        assert!(matches!(
            machine.apply(START, delete()),
            Err(Rejection::UnknownDocument { .. })
        ));
        assert_eq!(machine.remembered(), 0);
        let put = || {
            let (body, emitted) = (Body::parse(b"1".to_vec()).unwrap(), Vec::new());
            WriteAction::Transact(vec![change(DocumentAction::Put { body, emitted })])
        };
        machine
            .apply(START, Operation::write(name(), put(), None))
            .unwrap();
        for _ in 0..2 {
            assert!(machine.apply(START, delete()).is_ok());
        }
        assert_eq!(machine.remembered(), 1);
        let nothing = Operation::write(
            name(),
            WriteAction::Transact(Vec::new()),
            Some(RequestId::new(START, 8)),
        );
        assert_eq!(machine.apply(START, nothing), Ok(Outcome::Transacted(Vec::new())));
        assert_eq!(machine.remembered(), 1);
        // It goes with the database.
        machine
            .apply(START, Operation::DeleteDatabase { name: name() })
            .unwrap();
        assert_eq!(machine.remembered(), 0);
    }

    #[test]
    fn lies_beside_the_first_document_or_key() {
        let entry = DatabaseEntry {
            id: DatabaseId::FIRST,
            slots: SlotCount::default(),
        };
        let id = RequestId::new(START, 7);
        let change = |id: &str| DocumentChange {
            collection: "c".parse().unwrap(),
            id: id.parse().unwrap(),
            precondition: Precondition::None,
            action: DocumentAction::Check,
        };
        let key = keys::request(entry, id, &WriteAction::Transact(vec![change("a"), change("b")])).unwrap();
        let slot = keys::slot_of(entry, &"a".parse().unwrap()).get().to_be_bytes();
        assert_eq!(key, [&[0, 0, 0, 1], &slot[..], &[11], &id.to_bytes()].concat());
        let slot = keys::slot_of(entry, &"a".parse().unwrap());
        let range = |millis| keys::requests_before(entry.id, slot, millis);
        assert!(range(START).end.is_some_and(|end| end <= key));
        assert!(range(START + 1).end.is_some_and(|end| end > key) && range(START).start < key);
    }
}
