//! Everything that can be asked of a database, of a replica.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pliantdb_core::{
    Clock, Collection, Command, Connection, Emit, FeedStart, Map, Operation, Reduce, Request, Response,
    SlotCount, View,
};
use pliantdb_storage::group::{self, GroupState, LogEntry, ReplicaDatabase};
use pliantdb_storage::store::{MemoryStore, OrderedStore};
use pliantdb_storage::{Done, Error, Proposer, StorageError};
use serde::{Deserialize, Serialize};

use super::transfer::chunks;
use super::{GROUP, create, shard};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "shapes", id = u64, views = [ByCorners, ByColour, ByName])]
struct Shape {
    corners: u32,
    colour: String,
    name: String,
}

/// Lazy.
#[derive(View)]
#[view(collection = Shape, name = "by-corners", key = u32, value = u64, reduce)]
struct ByCorners;

impl Map for ByCorners {
    fn map(id: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.corners, *id);
    }
}

impl Reduce for ByCorners {
    fn reduce(ids: &[u64]) -> u64 {
        ids.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Shape, name = "by-colour", key = String, value = u64, policy = eager, reduce)]
struct ByColour;

impl Map for ByColour {
    fn map(_: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.colour.clone(), 1);
    }
}

impl Reduce for ByColour {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Shape, name = "by-name", key = String, policy = unique)]
struct ByName;

impl Map for ByName {
    fn map(_: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.name.clone(), ());
    }
}

fn shape(id: u64) -> Shape {
    Shape {
        corners: (id % 7) as u32,
        colour: ["red", "green"][(id % 2) as usize].to_owned(),
        name: format!("shape-{id}"),
    }
}

/// Has what is proposed applied at once, as a group of one replica would.
struct Alone {
    state: Mutex<Option<(GroupState<MemoryStore>, Clock)>>,
}

impl Alone {
    fn of(state: GroupState<MemoryStore>) -> Arc<Self> {
        let clock = Clock::after(state.position().timestamp);
        Arc::new(Self {
            state: Mutex::new(Some((state, clock))),
        })
    }

    fn database(self: &Arc<Self>) -> ReplicaDatabase<MemoryStore> {
        let state = self.state.lock().unwrap();
        let (state, _) = state.as_ref().unwrap();
        state.database(Arc::clone(self) as Arc<dyn Proposer>).unwrap()
    }
}

impl Proposer for Alone {
    fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError> {
        self.submit(operation, done).map(Ok)
    }

    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((state, clock)) = state.as_mut() else {
            return Err(StorageError::Closed);
        };
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let entry = LogEntry {
            index: state.position().index + 1,
            term: 1,
            command: Some(Command::new(clock.next(wall), operation)),
            config: None,
        };
        let result = state.apply(&[entry])?.remove(0).unwrap();
        done(result.map_err(StorageError::from));
        Ok(())
    }
}

fn has_all(database: &ReplicaDatabase<MemoryStore>, shapes: u64) {
    assert_eq!(
        database.collection::<Shape>().list().all().unwrap().len() as u64,
        shapes
    );
    assert_eq!(database.view::<ByCorners>().query().unwrap().len() as u64, shapes);
    assert_eq!(database.view::<ByCorners>().reduce(), Ok((0..shapes).sum()));
    assert_eq!(database.view::<ByColour>().reduce(), Ok(shapes));
    let found = database
        .view::<ByName>()
        .key(&"shape-5".to_owned())
        .query_with_documents();
    assert_eq!(found.unwrap().len(), 1);
}

fn changes(database: &ReplicaDatabase<MemoryStore>, from: FeedStart) -> pliantdb_core::ChangesPage {
    let request = Request::Changes {
        from,
        limit: 1000,
        wait: Duration::ZERO,
    };
    match database.execute(request, None).unwrap() {
        Response::Changes(page) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_answers_what_an_embedded_database_answers() {
    let store = Arc::new(MemoryStore::default());
    let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
    let database = alone.database();
    let shapes = database.collection::<Shape>();
    database.define_schema::<Shape>().unwrap();
    database.tend(Duration::from_secs(3600), &|| true).unwrap();
    for id in 0..300 {
        shapes.insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 300);
    assert!(shapes.insert_as(&300, shape(5)).is_err(), "the name is taken");
    let page = changes(&database, FeedStart::Oldest);
    assert_eq!(page.transactions.len(), 300);
    let mut fifth = shapes.get(&5).unwrap().unwrap();
    fifth.contents.corners = 99;
    fifth.revision = shapes.update(&fifth).unwrap();
    assert_eq!(database.view::<ByCorners>().key(&99).query().unwrap().len(), 1);
    assert_eq!(
        changes(&database, FeedStart::After(page.next)).transactions.len(),
        1
    );
    fifth.contents.corners = 5;
    shapes.update(&fifth).unwrap();
    database.refresh();
    has_all(&database, 300);

    // What a node made for itself does not travel, and is made anew where the snapshot arrives.
    let target = Arc::new(MemoryStore::default());
    let sent = {
        let state = alone.state.lock().unwrap();
        let snapshot = state.as_ref().unwrap().0.snapshot();
        chunks(&snapshot, 4000)
    };
    for (number, chunk) in (0..).zip(sent) {
        group::stage(&*target, GROUP, 9, number, &chunk).unwrap();
    }
    let there = Alone::of(group::install(&target, GROUP).unwrap());
    let copy = there.database();
    copy.define_schema::<Shape>().unwrap();
    has_all(&copy, 300);
    copy.collection::<Shape>().insert_as(&300, shape(300)).unwrap();
    has_all(&copy, 301);
    has_all(&database, 300);
}

#[test]
fn nothing_is_written_beside_the_log_when_the_replica_is_gone() {
    let store = Arc::new(MemoryStore::default());
    let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
    let database = alone.database();
    database.define_schema::<Shape>().unwrap();
    database.tend(Duration::from_secs(3600), &|| true).unwrap();
    for id in 0..10 {
        database.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 10);
    database.collection::<Shape>().insert_as(&10, shape(10)).unwrap();
    drop(alone.state.lock().unwrap().take());
    assert_eq!(
        database.view::<ByCorners>().query().map(|rows| rows.len()),
        Err(Error::Closed)
    );
    GroupState::destroy(&store, GROUP).unwrap();
    assert_eq!(
        crate::store::everything(&*store).len(),
        0,
        "what was made beside it is gone too"
    );
    database.refresh();
    assert_eq!(crate::store::everything(&*store).len(), 0);
    assert!(GroupState::open(&store, GROUP).unwrap().is_none() && store.written() > store.durable());
}

#[test]
fn part_of_a_database_does_not_answer_for_the_whole() {
    let store = Arc::new(MemoryStore::default());
    let alone = Alone::of(create(&store, GROUP, shard(2, 8)));
    let state = alone.state.lock().unwrap();
    let (state, _) = state.as_ref().unwrap();
    assert_eq!(state.shard().entry.slots, SlotCount::try_from(8).unwrap());
    assert!(state.database(Arc::clone(&alone) as Arc<dyn Proposer>).is_none());
}
