//! A group of one replica: what is proposed is applied in its order, by a thread.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::UNIX_EPOCH;

use pliantdb_core::{Clock, Command, Operation, Outcome};
use pliantdb_storage::group::{GroupState, LogEntry};
use pliantdb_storage::store::{EncryptedStore, RocksStore};
use pliantdb_storage::{Apis, Database, Done, Proposer, StorageError};

/// What the replicas of a node lie in.
pub type StateStore = EncryptedStore<RocksStore>;

/// How many operations can wait.
const WAITING: usize = 16;

type Proposal = (Operation, Done);

/// The way to the replica, until it is removed.
pub struct Group {
    queue: Mutex<Option<SyncSender<Proposal>>>,
    applying: Mutex<Option<JoinHandle<()>>>,
}

impl Group {
    /// The group of a replica, and its database.
    pub fn of(state: GroupState<StateStore>, apis: &Arc<Apis>) -> (Arc<Self>, Database) {
        let (queue, proposals) = sync_channel(WAITING);
        let group = Arc::new(Self {
            queue: Mutex::new(Some(queue)),
            applying: Mutex::default(),
        });
        let proposer = Arc::clone(&group) as Arc<dyn Proposer>;
        let database = state.database(proposer, Arc::clone(apis)).unwrap();
        let applying = std::thread::spawn(move || apply_all(state, &proposals));
        *group.applying.lock().unwrap() = Some(applying);
        (group, database)
    }

    /// Ends the replica; everything that it has applied is in the store.
    pub fn end(&self) {
        drop(self.queue.lock().unwrap().take());
        if let Some(applying) = self.applying.lock().unwrap().take() {
            applying.join().unwrap();
        }
    }

    fn queue(&self) -> Result<SyncSender<Proposal>, StorageError> {
        self.queue.lock().unwrap().clone().ok_or(StorageError::Closed)
    }
}

impl Proposer for Group {
    fn try_submit(&self, operation: Operation, done: Done) -> Result<Result<(), Proposal>, StorageError> {
        match self.queue()?.try_send((operation, done)) {
            Ok(()) => Ok(Ok(())),
            Err(TrySendError::Full(proposal)) => Ok(Err(proposal)),
            Err(TrySendError::Disconnected(_)) => Err(StorageError::Closed),
        }
    }

    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        let sent = self.queue()?.send((operation, done));
        sent.map_err(|_| StorageError::Closed)
    }
}

/// Applies what comes, as long as something can come. The replica ends with it.
fn apply_all(mut state: GroupState<StateStore>, proposals: &Receiver<Proposal>) {
    let mut clock = Clock::after(state.position().timestamp);
    while let Ok((operation, done)) = proposals.recv() {
        done(apply(&mut state, &mut clock, operation));
    }
}

fn apply(
    state: &mut GroupState<StateStore>,
    clock: &mut Clock,
    operation: Operation,
) -> Result<Outcome, StorageError> {
    let wall = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let entry = LogEntry {
        index: state.position().index + 1,
        term: 1,
        command: Some(Command::new(clock.next(wall), operation)),
        config: None,
    };
    Ok(state.apply(&[entry])?.remove(0).unwrap()?)
}
