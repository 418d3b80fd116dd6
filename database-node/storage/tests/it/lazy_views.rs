//! Lazy views, which lie outside the slots; in directories that an earlier version has written, in the slots of the
//! documents.

use std::path::Path;
use std::time::Duration;

use pliantdb_core::{Collection, Connection, Emit, Freshness, Map, Reduce, SlotCount, TakeSnapshot, View};
use pliantdb_storage::check::check;
use pliantdb_storage::store::{Batch, Durability, OrderedStore};
use pliantdb_storage::{AsyncDatabase, Database, DatabaseSnapshot, Error, Options};
use serde::{Deserialize, Serialize};

use crate::store::{everything, rocks};

const DOCUMENTS: u64 = 300;
const LOCAL: u16 = u16::MAX;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "shapes", id = u64, views = [ByCorners])]
struct Shape {
    corners: u32,
}

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

/// A directory with documents and the view, up to date.
fn written(path: &Path) {
    let database = Database::open::<Shape>(path).unwrap();
    for id in 0..DOCUMENTS {
        let corners = (id % 7) as u32;
        let shapes = database.collection::<Shape>();
        shapes.insert_as(&id, Shape { corners }).unwrap();
    }
    assert_eq!(database.view::<ByCorners>().query().unwrap().len(), 300);
    assert_eq!(database.view::<ByCorners>().reduce(), Ok((0..DOCUMENTS).sum()));
    assert!(database.view::<ByCorners>().key(&3).reduce().is_ok());
    database.storage().unwrap().close().unwrap();
}

/// The keys of entries that lie in slots, and of those that lie in the local slot.
fn entries(path: &Path) -> (usize, usize) {
    let all = everything(&rocks(&path.join("state")));
    let of_views = all
        .iter()
        .filter(|(key, _)| key[3] == 1 && (4..=8).contains(&key[6]));
    let (local, in_slots): (Vec<_>, Vec<_>) = of_views.partition(|(key, _)| key[4..6] == LOCAL.to_be_bytes());
    (in_slots.len(), local.len())
}

/// Puts everything of the view where versions before had it. What lies in the local slot stays if it was being moved.
fn as_before(path: &Path, is_moving: bool) {
    let store = rocks(&path.join("state"));
    let mut batch = Batch::default();
    for (key, value) in everything(&store) {
        if key[..5] == [0, 0, 0, 0, 7] {
            let up_to = [&[1], &value[1..]].concat();
            batch.put(key, up_to);
        } else if key[3] == 1 && key[4..6] == LOCAL.to_be_bytes() {
            if !is_moving {
                batch.delete(key.clone());
            }
            let rest = &key[11..];
            let id = match key[6] {
                4 => &rest[pliantdb_core::key::encoded_length(rest).unwrap()..],
                5 => rest,
                // Without partials and marks every entry is read, which is right too.
                _ => continue,
            };
            let slot = SlotCount::default().slot_of(id).get();
            batch.put([&key[..4], &slot.to_be_bytes(), &key[6..]].concat(), value);
        }
    }
    store.write(&batch, Durability::Synced).unwrap();
}

fn ids(database: &Database, freshness: Freshness) -> Vec<(u32, u64)> {
    let rows = database.view::<ByCorners>().freshness(freshness).query().unwrap();
    rows.into_iter().map(|row| (row.key, row.id)).collect()
}

/// What the view says when the documents are `of`.
fn expected(of: impl Iterator<Item = u64>) -> Vec<(u32, u64)> {
    let mut rows: Vec<_> = of.map(|id| ((id % 7) as u32, id)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn what_lay_in_slots_answers_and_moves_with_the_next_query() {
    let root = tempfile::tempdir().unwrap();
    written(root.path());
    let (in_slots, local) = entries(root.path());
    assert!(in_slots == 0 && local >= 600, "{in_slots} {local}");
    as_before(root.path(), false);
    assert_eq!(entries(root.path()), (600, 0));
    let report = check(root.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);

    let database = Database::open::<Shape>(root.path()).unwrap();
    let shapes = database.collection::<Shape>();
    shapes.delete_by_id(&5).unwrap();
    shapes.insert_as(&1000, Shape { corners: 6 }).unwrap();
    // As it was left, for who takes that.
    assert_eq!(ids(&database, Freshness::Stale), expected(0..DOCUMENTS));
    let stale = || database.view::<ByCorners>().freshness(Freshness::Stale);
    assert_eq!(stale().reduce(), Ok((0..DOCUMENTS).sum()));
    assert_eq!(stale().reduce_grouped().unwrap().len(), 7);

    let now = || (0..DOCUMENTS).filter(|id| *id != 5).chain([1000]);
    assert_eq!(ids(&database, Freshness::Current), expected(now()));
    assert_eq!(ids(&database, Freshness::Stale), expected(now()));
    assert_eq!(database.view::<ByCorners>().reduce(), Ok(now().sum()));
    database.storage().unwrap().close().unwrap();
    drop(database);
    let (in_slots, local) = entries(root.path());
    assert!(in_slots == 0 && local >= 600, "{in_slots} {local}");
    let report = check(root.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    let database = Database::open::<Shape>(root.path()).unwrap();
    assert_eq!(ids(&database, Freshness::Stale), expected(now()));
}

/// Until all of it is in its new place, the old one counts.
#[test]
fn a_move_that_was_interrupted_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    written(root.path());
    as_before(root.path(), true);
    let report = check(root.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    let database = Database::open::<Shape>(root.path()).unwrap();
    database.collection::<Shape>().delete_by_id(&5).unwrap();
    assert_eq!(ids(&database, Freshness::Stale), expected(0..DOCUMENTS));
    let now = || (0..DOCUMENTS).filter(|id| *id != 5);
    assert_eq!(ids(&database, Freshness::Current), expected(now()));
    assert_eq!(database.view::<ByCorners>().reduce(), Ok(now().sum()));
    database.storage().unwrap().close().unwrap();
    drop(database);
    assert_eq!(entries(root.path()).0, 0);
    let report = check(root.path(), None).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
}

fn ids_in(snapshot: &DatabaseSnapshot, freshness: Freshness) -> Vec<(u32, u64)> {
    let rows = snapshot.view::<ByCorners>().freshness(freshness).query().unwrap();
    rows.into_iter().map(|row| (row.key, row.id)).collect()
}

/// Where its entries lie, and whether there is room to move them or to store what it has yet to read.
#[test]
fn a_snapshot_shows_one_moment_of_it_wherever_it_lies() {
    for (is_in_slots, is_moving) in [(false, false), (true, false), (true, true)] {
        let root = tempfile::tempdir().unwrap();
        written(root.path());
        if is_in_slots {
            as_before(root.path(), is_moving);
        }
        let database = Database::open::<Shape>(root.path()).unwrap();
        let shapes = database.collection::<Shape>();
        shapes.delete_by_id(&5).unwrap();
        shapes.insert_as(&1000, Shape { corners: 6 }).unwrap();
        shapes.overwrite(&6, Shape { corners: 6 }).unwrap();
        database.storage().unwrap().close().unwrap();
        drop(database);
        let left = entries(root.path());
        let now = || (0..DOCUMENTS).filter(|id| *id != 5).chain([1000]);

        // A disk that is full: nothing can be stored.
        let options = Options {
            min_free_space: Some(1 << 60),
            ..Options::default()
        };
        let database = Database::open_with::<Shape>(root.path(), options).unwrap();
        let written = database
            .collection::<Shape>()
            .insert_as(&2000, Shape { corners: 1 });
        assert!(matches!(written, Err(Error::DiskFull(_))), "{written:?}");
        assert_eq!(ids(&database, Freshness::Stale), expected(0..DOCUMENTS));
        assert_eq!(ids(&database, Freshness::Current), expected(now()));
        assert_eq!(database.view::<ByCorners>().reduce(), Ok(now().sum()));
        let snapshot = database.snapshot().unwrap();
        assert_eq!(ids_in(&snapshot, Freshness::Stale), expected(0..DOCUMENTS));
        let stale = || snapshot.view::<ByCorners>().freshness(Freshness::Stale);
        assert_eq!(stale().reduce(), Ok((0..DOCUMENTS).sum()));
        assert_eq!(stale().reduce_grouped().unwrap().len(), 7);
        assert_eq!(ids_in(&snapshot, Freshness::Current), expected(now()));
        assert_eq!(snapshot.view::<ByCorners>().reduce(), Ok(now().sum()));
        let groups = snapshot.view::<ByCorners>().reduce_grouped().unwrap();
        assert_eq!(groups[6], (6, now().filter(|id| id % 7 == 6).sum()));
        database.storage().unwrap().close().unwrap();
        drop((database, snapshot));
        assert_eq!(entries(root.path()), left);

        // With room it is where it should be, before and after the moment.
        let database = Database::open::<Shape>(root.path()).unwrap();
        let snapshot = database.snapshot().unwrap();
        database.collection::<Shape>().delete_by_id(&7).unwrap();
        let rest: Vec<_> = now().filter(|id| *id != 7).collect();
        assert_eq!(ids(&database, Freshness::Current), expected(rest.into_iter()));
        for freshness in [Freshness::Stale, Freshness::Current] {
            assert_eq!(ids_in(&snapshot, freshness), expected(now()));
        }
        assert_eq!(snapshot.view::<ByCorners>().reduce(), Ok(now().sum()));
        database.storage().unwrap().close().unwrap();
        drop((database, snapshot));
        assert_eq!(entries(root.path()).0, 0);
        let report = check(root.path(), None).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

/// A query of what is up to date and in memory waits for no thread; with one that has to read the changes it is right too.
#[test]
fn an_asynchronous_query_is_answered_at_once_if_it_can_be() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = AsyncDatabase::open::<Shape>(root.path()).await.unwrap();
        let shapes = database.collection::<Shape>();
        for id in 0..10 {
            shapes.insert_as(&id, Shape { corners: 3 }).await.unwrap();
        }
        let count = || async { database.view::<ByCorners>().query().await.unwrap().len() };
        assert_eq!(count().await, 10);
        // The only thread that may wait is busy.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let at_once = tokio::time::timeout(Duration::from_secs(60), count()).await;
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(at_once, Ok(10));
        shapes.insert_as(&10, Shape { corners: 4 }).await.unwrap();
        assert_eq!(count().await, 11);
    });
}

/// The version after it, which is built only when the test lets it.
mod later {
    use std::sync::Mutex;

    use super::*;

    /// Held while nothing is to be built.
    pub(super) static HELD: Mutex<()> = Mutex::new(());

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
    #[collection(name = "shapes", id = u64, views = [ByCorners])]
    pub(super) struct Shape {
        corners: u32,
    }

    #[derive(View)]
    #[view(collection = Shape, name = "by-corners", key = u32, value = u64, version = 2, policy = eager, reduce)]
    pub(super) struct ByCorners;

    impl Map for ByCorners {
        fn map(id: &u64, shape: &Shape, emit: &mut Emit<Self>) {
            drop(HELD.lock().unwrap());
            emit.entry(shape.corners + 1, *id);
        }
    }

    impl Reduce for ByCorners {
        fn reduce(ids: &[u64]) -> u64 {
            ids.iter().sum()
        }
    }
}

/// Wherever the version before lies, it answers until the next one is built, and nothing is left of it then.
#[test]
fn the_version_before_answers_from_where_it_lies() {
    for is_in_slots in [true, false] {
        let root = tempfile::tempdir().unwrap();
        written(root.path());
        if is_in_slots {
            as_before(root.path(), false);
        }
        let held = later::HELD.lock().unwrap();
        let database = Database::open::<later::Shape>(root.path()).unwrap();
        let view = || database.view::<later::ByCorners>();
        let stale = || view().freshness(Freshness::Stale);
        let rows = stale().query().unwrap().into_iter();
        let rows: Vec<_> = rows.map(|row| (row.key, row.id)).collect();
        let sum = stale().reduce();
        // First, for who closes the database waits for the builder.
        drop(held);
        assert_eq!(rows, expected(0..DOCUMENTS));
        assert_eq!(sum, Ok((0..DOCUMENTS).sum()));
        assert_eq!(view().key(&0).query().unwrap().len(), 0);
        assert_eq!(view().query().unwrap().len(), 300);
        database.storage().unwrap().close().unwrap();
        drop(database);
        let (in_slots, local) = entries(root.path());
        assert!(in_slots >= 600 && local == 0, "{in_slots} {local}");
        let report = check(root.path(), None).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}
