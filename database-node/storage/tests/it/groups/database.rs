//! Everything that can be asked of a database, of a replica.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pliantdb_core::{
    Body, ChangesPage, Clock, Collection, CollectionName, Command, Connection, Emit, Expiry, FeedStart,
    Listing, Map, Message, Operation, Outcome, Precondition, Reduce, Request, Response, Schematic,
    Subscriber, TakeSnapshot, View,
};
use pliantdb_storage::group::{self, GroupState, LogEntry};
use pliantdb_storage::store::{EncryptedStore, RocksStore};
use pliantdb_storage::{AsyncDatabase, Database, Done, Error, Found, Proposer, StorageError};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::transfer::chunks;
use super::{GROUP, create, replicated, shard};
use crate::store::{Kind, encrypted, everything};

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

/// The next version, by which colours are told from one another by their first letter.
mod later {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
    #[collection(name = "shapes", id = u64, views = [ByColour])]
    pub(super) struct Shape {
        pub(super) corners: u32,
        pub(super) colour: String,
        pub(super) name: String,
    }

    #[derive(View)]
    #[view(collection = Shape, name = "by-colour", key = String, value = u64, version = 2, policy = eager, reduce)]
    pub(super) struct ByColour;

    impl Map for ByColour {
        fn map(_: &u64, shape: &Shape, emit: &mut Emit<Self>) {
            emit.entry(shape.colour[..1].to_owned(), 1);
        }
    }

    impl Reduce for ByColour {
        fn reduce(counts: &[u64]) -> u64 {
            counts.iter().sum()
        }
    }
}

type State = GroupState<EncryptedStore<RocksStore>>;
type Store = Arc<EncryptedStore<RocksStore>>;

fn store(directory: &TempDir) -> Store {
    Arc::new(encrypted(Kind::State.open(directory.path())))
}

/// Has what is proposed applied at once, as a group of one replica would.
struct Alone {
    state: Mutex<Option<(State, Clock)>>,
    published: Mutex<Vec<Message>>,
    is_disk_full: AtomicBool,
}

impl Alone {
    fn of(state: State) -> Arc<Self> {
        let clock = Clock::after(state.position().timestamp);
        Arc::new(Self {
            state: Mutex::new(Some((state, clock))),
            published: Mutex::default(),
            is_disk_full: AtomicBool::new(false),
        })
    }

    fn database(self: &Arc<Self>) -> Database {
        let proposer = Arc::clone(self) as Arc<dyn Proposer>;
        self.with(|state| state.database(proposer, Arc::default()).unwrap())
    }

    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap().as_ref().unwrap().0)
    }

    fn apply(&self, operation: Operation, ahead_ms: u64) -> Result<Outcome, StorageError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((state, clock)) = state.as_mut() else {
            return Err(StorageError::Closed);
        };
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let entry = LogEntry {
            index: state.position().index + 1,
            term: 1,
            command: Some(Command::new(clock.next(wall + ahead_ms), operation)),
            config: None,
        };
        Ok(state.apply(&[entry])?.remove(0).unwrap()?)
    }

    /// The replica goes.
    fn end(&self) {
        drop(self.state.lock().unwrap().take());
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
        done(self.apply(operation, 0));
        Ok(())
    }

    fn check_room(&self, bytes: usize) -> Result<(), StorageError> {
        match self.is_disk_full.load(Ordering::Relaxed) {
            true => Err(StorageError::DiskFull {
                path: "state".into(),
                free: 0,
                needed: bytes as u64,
            }),
            false => Ok(()),
        }
    }

    fn publish_elsewhere(&self, message: &Message) -> u64 {
        self.published.lock().unwrap().push(message.clone());
        2
    }
}

fn tend(database: &Database) {
    database.tend(Duration::from_secs(3600), &|| true).unwrap();
}

fn has_all(database: &Database, shapes: u64) {
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

fn changes(database: &Database, from: FeedStart, wait: Duration) -> Result<ChangesPage, Error> {
    let limit = 1000;
    match database.execute(Request::Changes { from, limit, wait })? {
        Response::Changes(page) => Ok(page),
        other => panic!("{other:?}"),
    }
}

/// Sends the shard of one store to another.
fn send(from: &Alone, to: &Store) -> State {
    let sent = from.with(|state| chunks(&state.snapshot(), 4000));
    for (number, chunk) in (0..).zip(sent) {
        group::stage(&**to, GROUP, 9, number, &chunk).unwrap();
    }
    group::install(to, GROUP).unwrap()
}

#[test]
fn a_replica_answers_what_an_embedded_database_answers() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(0, 8)));
    let database = alone.database();
    let shapes = database.collection::<Shape>();
    database.define_schema::<Shape>().unwrap();
    assert_eq!(database.schema().unwrap().unwrap().views.len(), 3);
    assert!(database.has_views_to_build().unwrap());
    tend(&database);
    assert!(!database.has_views_to_build().unwrap());
    for id in 0..300 {
        shapes.insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 300);
    assert!(shapes.insert_as(&300, shape(5)).is_err(), "the name is taken");
    let page = changes(&database, FeedStart::Oldest, Duration::ZERO).unwrap();
    assert_eq!(page.transactions.len(), 300);
    let mut fifth = shapes.get(&5).unwrap().unwrap();
    fifth.contents.corners = 99;
    fifth.revision = shapes.update(&fifth).unwrap();
    assert_eq!(database.view::<ByCorners>().key(&99).query().unwrap().len(), 1);
    let next = changes(&database, FeedStart::After(page.next), Duration::ZERO).unwrap();
    assert_eq!(next.transactions.len(), 1);
    let moment = database.snapshot().unwrap();
    fifth.contents.corners = 5;
    shapes.update(&fifth).unwrap();
    database.refresh();
    has_all(&database, 300);
    assert_eq!(moment.view::<ByCorners>().key(&99).query().unwrap().len(), 1);
    assert_eq!(
        moment
            .collection::<Shape>()
            .get(&5)
            .unwrap()
            .unwrap()
            .contents
            .corners,
        99
    );

    // What a node made for itself does not travel, and is made anew where the snapshot arrives.
    let target = tempfile::tempdir().unwrap();
    let there = Alone::of(send(&alone, &store(&target)));
    let copy = there.database();
    assert!(copy.view::<ByCorners>().query().is_err(), "nobody knows its map");
    assert!(copy.learn_schema::<Shape>().unwrap());
    has_all(&copy, 300);
    copy.collection::<Shape>().insert_as(&300, shape(300)).unwrap();
    has_all(&copy, 301);
    has_all(&database, 300);
}

#[test]
fn messages_go_to_other_nodes_once() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(0, 8)));
    let database = alone.database();
    let here = database.subscribe(&["**"]).unwrap();
    assert_eq!(database.publish("a", &1), Ok(3));
    assert_eq!(here.receive().unwrap().payload.read::<u32>().unwrap(), 1);
    let published = std::mem::take(&mut *alone.published.lock().unwrap());
    assert_eq!(published.len(), 1);

    // The same database, as long as somebody has it.
    assert_eq!(alone.database().deliver(&published[0]), Ok(1));
    assert_eq!(here.receive().unwrap().topic.as_str(), "a");
    assert!(alone.published.lock().unwrap().is_empty(), "not published again");
    drop(database);
    assert!(matches!(here.receive(), Err(Error::Closed)), "nobody can publish");
}

#[test]
fn what_expires_goes_by_the_time_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(0, 8)));
    let database = alone.database();
    let before = database.now_ms();
    let values = database.key_value("n");
    values.set("k", &1).unwrap();
    values
        .expire("k", Expiry::After(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(values.get::<u32>("k"), Ok(Some(1)));
    // A leader whose wall is ahead.
    let define = Operation::DefineSchema {
        database: database.name().clone(),
        schema: "s".parse().unwrap(),
        views: Vec::new(),
    };
    alone.apply(define, 3_600_000).unwrap();
    assert!(database.now_ms() >= before + 3_600_000);
    assert_eq!(values.get::<u32>("k"), Ok(None));
}

#[test]
fn a_replica_that_is_removed_ends_its_database() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
    let database = alone.database();
    let shapes = database.collection::<Shape>();
    database.define_schema::<Shape>().unwrap();
    tend(&database);
    for id in 0..10 {
        shapes.insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 10);
    shapes.insert_as(&10, shape(10)).unwrap();
    let subscriber = database.subscribe(&["**"]).unwrap();
    let moment = database.snapshot().unwrap();
    let now = changes(&database, FeedStart::Now, Duration::ZERO).unwrap().next;
    let waiting = std::thread::spawn({
        let database = database.clone();
        move || changes(&database, FeedStart::After(now), Duration::from_secs(60))
    });
    let receiving = std::thread::spawn(move || subscriber.receive());
    std::thread::sleep(Duration::from_millis(50));
    alone.end();
    GroupState::destroy(&store, GROUP).unwrap();

    assert_eq!(waiting.join().unwrap(), Err(Error::Closed));
    assert_eq!(receiving.join().unwrap(), Err(Error::Closed));
    assert_eq!(shapes.get(&5).map(drop), Err(Error::Closed));
    assert_eq!(shapes.list().all().map(drop), Err(Error::Closed));
    assert_eq!(shapes.insert_as(&11, shape(11)).map(drop), Err(Error::Closed));
    assert_eq!(database.key_value("n").get::<u32>("k"), Err(Error::Closed));
    assert_eq!(database.view::<ByCorners>().query().map(drop), Err(Error::Closed));
    assert_eq!(database.view::<ByColour>().reduce(), Err(Error::Closed));
    assert_eq!(database.subscribe(&["**"]).map(drop), Err(Error::Closed));
    assert_eq!(database.publish("a", &1), Err(Error::Closed));
    assert_eq!(database.snapshot().map(drop), Err(Error::Closed));
    assert_eq!(database.schema().map(drop), Err(Error::Closed));
    assert_eq!(
        database.tend(Duration::from_secs(3600), &|| true),
        Err(StorageError::Closed)
    );
    let name = (shapes_collection(), "5".parse().unwrap());
    assert_eq!(database.get(&name.0, &name.1), Err(StorageError::Closed));
    assert_eq!(
        moment.collection::<Shape>().list().all().unwrap().len(),
        11,
        "what is kept of it is"
    );
    drop(moment);
    database.refresh();
    assert_eq!(replica_keys(&store), 0, "what was made beside it is gone too");
    assert!(GroupState::open(&store, GROUP).unwrap().is_none());
}

#[test]
fn whoever_reads_a_view_when_the_replica_is_removed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    for _ in 0..40 {
        let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
        let database = alone.database();
        database.define_schema::<Shape>().unwrap();
        tend(&database);
        for id in 0..5 {
            database.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
        }
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let database = database.clone();
                std::thread::spawn(move || {
                    loop {
                        let found = match reader % 2 {
                            0 => database.view::<ByColour>().reduce(),
                            _ => database.view::<ByName>().query().map(|rows| rows.len() as u64),
                        };
                        match found {
                            Ok(found) => assert_eq!(found, 5),
                            Err(error) => return error,
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(2));
        alone.end();
        GroupState::destroy(&store, GROUP).unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Error::Closed);
        }
    }
}

/// The same for tasks, which wait for writes, changes and messages without a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_database_of_a_replica() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
    let database = AsyncDatabase::from(alone.database());
    database
        .run(|database| database.define_schema::<Shape>())
        .await
        .unwrap();
    database
        .run(|database| Ok(database.tend(Duration::from_secs(3600), &|| true)?))
        .await
        .unwrap();
    let writes = (0..200).map(|id| {
        let database = database.clone();
        tokio::spawn(async move { database.collection::<Shape>().insert_as(&id, shape(id)).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert_eq!(database.view::<ByColour>().reduce().await, Ok(200));
    assert_eq!(database.view::<ByCorners>().query().await.unwrap().len(), 200);
    let (collection, id) = (shapes_collection(), "5".parse().unwrap());
    let ids = database
        .blocking()
        .list(&collection, &Listing::default())
        .unwrap();
    let found = database
        .get_within(&collection, &ids.documents[0].id, 1 << 20)
        .await;
    assert!(matches!(found, Ok(Found::Document(_))), "{found:?}");
    let moment = database.snapshot().await.unwrap();

    let now = database.changes(FeedStart::Now, 1, Duration::ZERO).await.unwrap();
    let waiting = tokio::spawn(database.changes(FeedStart::After(now.next), 1, Duration::from_secs(60)));
    let subscriber = database.subscribe(&["**"]).await.unwrap();
    let receiving = tokio::spawn(async move { subscriber.receive().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    alone.end();
    GroupState::destroy(&store, GROUP).unwrap();
    assert_eq!(waiting.await.unwrap(), Err(Error::Closed));
    assert_eq!(receiving.await.unwrap(), Err(Error::Closed));
    let found = database.get_within(&collection, &id, 1 << 20).await;
    assert!(matches!(found, Err(Error::Closed)), "{found:?}");
    let found = database.get_multiple_within(collection, vec![id], 1 << 20).await;
    assert_eq!(found, Err(Error::Closed));
    let shapes = database.collection::<Shape>();
    assert_eq!(shapes.get(&5).await.map(drop), Err(Error::Closed));
    assert_eq!(
        shapes.insert_as(&500, shape(500)).await.map(drop),
        Err(Error::Closed)
    );
    let view = database.view::<ByCorners>();
    assert_eq!(view.query().await.map(drop), Err(Error::Closed));
    assert_eq!(database.publish("a", &1).await, Err(Error::Closed));
    assert_eq!(database.snapshot().await.map(drop), Err(Error::Closed));
    assert_eq!(moment.view::<ByColour>().reduce().await, Ok(200));
}

fn shapes_collection() -> CollectionName {
    "shapes".parse().unwrap()
}

fn replica_keys(store: &Store) -> usize {
    everything(&**store).len()
}

/// Whoever has the database of a replica that is replaced sees what that had, or that it is gone.
#[test]
fn a_replica_that_is_replaced_is_not_taken_for_the_next() {
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Alone::of(create(&store(&elsewhere), GROUP, shard(0, 8)));
    let ahead = other.database();
    ahead.define_schema::<Shape>().unwrap();
    tend(&ahead);
    for id in 0..50 {
        ahead.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let here = store(&directory);
    let mut alone = Alone::of(send(&other, &here));
    for round in 0..8u64 {
        let database = alone.database();
        assert!(database.learn_schema::<Shape>().unwrap());
        let expected = 50 + round;
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let database = database.clone();
                std::thread::spawn(move || {
                    for n in 0.. {
                        let found = match (n + reader) % 5 {
                            0 => database
                                .collection::<Shape>()
                                .list()
                                .all()
                                .map(|all| all.len() as u64),
                            1 => database.view::<ByColour>().reduce(),
                            2 => database.view::<ByCorners>().query().map(|rows| rows.len() as u64),
                            3 => database.collection::<Shape>().get(&expected).map(|next| {
                                // That one is of the next life.
                                expected + u64::from(next.is_some())
                            }),
                            _ => database.snapshot().and_then(|at| at.view::<ByColour>().reduce()),
                        };
                        match found {
                            Ok(found) => assert_eq!(found, expected),
                            Err(error) => {
                                assert_eq!(error, Error::Closed);
                                return;
                            }
                        }
                    }
                })
            })
            .collect();
        ahead
            .collection::<Shape>()
            .insert_as(&expected, shape(expected))
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let sent = other.with(|state| chunks(&state.snapshot(), 4000));
        for (number, chunk) in (0..).zip(sent) {
            group::stage(&*here, GROUP, round.into(), number, &chunk).unwrap();
        }
        alone.end();
        let next = Alone::of(group::install(&here, GROUP).unwrap());
        let fresh = next.database();
        fresh.learn_schema::<Shape>().unwrap();
        has_all(&fresh, expected + 1);
        for reader in readers {
            reader.join().unwrap();
        }
        let write = database.collection::<Shape>().insert_as(&1000, shape(1000));
        assert_eq!(write.map(drop), Err(Error::Closed));
        has_all(&fresh, expected + 1);
        alone = next;
    }
}

#[test]
fn views_that_are_replaced_leave_nothing_beside() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let alone = Alone::of(create(&store, GROUP, shard(0, 8)));
    let database = alone.database();
    database.define_schema::<Shape>().unwrap();
    tend(&database);
    for id in 0..20 {
        database.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 20);
    let beside = || everything(&*store).len() - replicated(&*store).len();
    assert!(beside() > 20);
    // Another node gives it a schema without views.
    let define = Operation::DefineSchema {
        database: database.name().clone(),
        schema: database.schema().unwrap().unwrap().name,
        views: Vec::new(),
    };
    alone.apply(define, 0).unwrap();
    assert_eq!(beside(), 0);
    database.refresh();
    let gone = database.view::<ByCorners>().query().unwrap_err();
    assert!(matches!(gone, Error::UnknownView { .. }), "{gone:?}");
    assert_eq!(beside(), 0);
}

#[test]
fn views_are_read_when_there_is_no_room_for_their_entries() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(0, 8)));
    let database = alone.database();
    database.define_schema::<Shape>().unwrap();
    tend(&database);
    for id in 0..10 {
        database.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 10);
    alone.is_disk_full.store(true, Ordering::Relaxed);
    // What has room is for the group to say.
    for id in 10..20 {
        database.collection::<Shape>().insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 20);
    alone.is_disk_full.store(false, Ordering::Relaxed);
    has_all(&database, 20);
}

#[test]
fn a_schema_that_another_node_defines_is_used_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(0, 8)));
    let database = alone.database();
    assert!(
        !database.learn_schema::<later::Shape>().unwrap(),
        "it has none yet"
    );
    let collection = shapes_collection();
    let any = database
        .push(&collection, Body::of(&"not a shape").unwrap())
        .unwrap();
    database.delete(&collection, &any.0, Precondition::None).unwrap();
    database.define_schema::<Shape>().unwrap();
    tend(&database);
    let shapes = database.collection::<Shape>();
    for id in 0..20 {
        shapes.insert_as(&id, shape(id)).unwrap();
    }
    has_all(&database, 20);
    let moment = database.snapshot().unwrap();

    let later = Schematic::of::<later::Shape>().unwrap();
    let define = Operation::DefineSchema {
        database: database.name().clone(),
        schema: later.name().unwrap().clone(),
        views: later.views().map(|view| view.definition().clone()).collect(),
    };
    alone.apply(define, 0).unwrap();
    let next = later::Shape {
        corners: 3,
        colour: "green".to_owned(),
        name: "next".to_owned(),
    };
    database
        .collection::<later::Shape>()
        .insert_as(&20, next)
        .unwrap();
    assert!(database.has_views_to_build().unwrap());
    tend(&database);
    let green = database.view::<later::ByColour>().key(&"g".to_owned());
    assert_eq!(green.reduce(), Ok(11));
    assert_eq!(moment.view::<ByColour>().reduce(), Ok(20));
    assert_eq!(moment.view::<ByCorners>().reduce(), Ok((0..20).sum()));
}

#[test]
fn part_of_a_database_does_not_answer_for_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::of(create(&store(&directory), GROUP, shard(2, 8)));
    let proposer = Arc::clone(&alone) as Arc<dyn Proposer>;
    let refused = alone.with(|state| state.database(proposer, Arc::default()).map(drop));
    assert!(
        matches!(refused, Err(StorageError::InvalidShard(_))),
        "{refused:?}"
    );
}
