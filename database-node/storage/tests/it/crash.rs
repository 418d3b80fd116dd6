//! A crash between commits, and in one, on the store that forgets what was not synced.

use std::sync::Arc;

use pliantdb_core::{
    Body, Command, DatabaseName, DocumentAction, DocumentChange, Operation, Precondition, SlotCount,
    Timestamp,
};
use pliantdb_storage::machine::StateMachine;
use pliantdb_storage::store::{Batch, Durability, MemoryStore, OrderedStore};

use crate::store::everything;

#[test]
fn what_was_applied_is_there_after_a_crash() {
    let store = Arc::new(MemoryStore::default());
    let mut machine = StateMachine::open(Arc::clone(&store)).unwrap();
    let name = DatabaseName::default_database();
    let create = Operation::CreateDatabase {
        name: name.clone(),
        slots: SlotCount::default(),
    };
    machine
        .apply(&[Command::new(Timestamp::from_bits(1), create)])
        .unwrap();
    for n in 2..50 {
        let body = Body::parse(b"{}".to_vec()).unwrap();
        let emitted = Vec::new();
        let put = Operation::Transact {
            database: name.clone(),
            changes: vec![DocumentChange {
                collection: "c".parse().unwrap(),
                id: n.to_string().parse().unwrap(),
                precondition: Precondition::Absent,
                action: DocumentAction::Put { body, emitted },
            }],
        };
        machine
            .apply(&[Command::new(Timestamp::from_bits(n), put)])
            .unwrap();

        let acknowledged = everything(&*store);
        let mut torn = Batch::default();
        torn.put(*b"never acknowledged", *b"");
        store.write(&torn, Durability::Buffered).unwrap();
        store.crash();
        assert_eq!(everything(&*store), acknowledged);
        let reopened = StateMachine::open(Arc::clone(&store)).unwrap();
        assert_eq!(reopened.applied(), machine.applied());
        machine = reopened;
    }
}
