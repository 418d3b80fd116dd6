//! The databases of a member, as a server would have them: one for each state of a shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::node::{Answer, Ask, Refusal};
use pliantdb_cluster_driver::Handle;
use pliantdb_cluster_member::{Member, Options, StartError};
use pliantdb_core::{GroupId, Operation};
use pliantdb_storage::group::GroupState;
use pliantdb_storage::{Database, Done, Proposer, StateStore, StorageError};

/// How long a leader is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The databases of a member.
#[derive(Clone, Default)]
pub struct Databases(Arc<Shared>);

#[derive(Default)]
struct Shared {
    handle: Arc<OnceLock<Handle<StateStore>>>,
    of: Mutex<BTreeMap<GroupId, Database>>,
}

impl Databases {
    /// Starts a member with them.
    pub async fn start(mut options: Options) -> Result<(Member, Self), StartError> {
        let databases = Self::default();
        options.watch = Box::new(databases.clone());
        let member = Member::start(options).await?;
        let _ = databases.0.handle.set(member.handle().clone());
        Ok((member, databases))
    }

    /// The database of that name, when it is there.
    pub fn wait_for(&self, name: &str) -> Database {
        let began = Instant::now();
        loop {
            if let Some(database) = self.get(name) {
                return database;
            }
            assert!(began.elapsed() < PATIENCE, "the database {name} does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The database of that name.
    pub fn get(&self, name: &str) -> Option<Database> {
        let of = self.0.of.lock().unwrap();
        of.values()
            .find(|database| database.name().as_str() == name)
            .cloned()
    }
}

impl Watch<StateStore> for Databases {
    fn opened(&mut self, state: &GroupState<StateStore>) {
        let proposer = Proposing {
            handle: Arc::clone(&self.0.handle),
            group: state.group(),
        };
        let database = state.database(Arc::new(proposer), Arc::default()).unwrap();
        self.0.of.lock().unwrap().insert(state.group(), database);
    }

    fn closing(&mut self, group: GroupId) {
        self.0.of.lock().unwrap().remove(&group);
    }
}

/// Proposes to one group.
struct Proposing {
    handle: Arc<OnceLock<Handle<StateStore>>>,
    group: GroupId,
}

impl Proposer for Proposing {
    fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError> {
        self.submit(operation, done).map(Ok)
    }

    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        let group = self.group;
        let began = Instant::now();
        let answer = loop {
            let operation = operation.clone();
            let handle = self.handle.get().unwrap();
            match handle.ask(Ask::Write { group, operation }).unwrap() {
                Answer::Refused(Refusal::Busy(_) | Refusal::NotLeader { .. })
                    if began.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                answer => break answer,
            }
        };
        let Answer::Written { result, .. } = answer else {
            panic!("{answer:?}");
        };
        done(result.map_err(StorageError::Rejected));
        Ok(())
    }
}
