//! How much of the store an answer reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pliantdb_core::{
    Body, Change, ChangeAction, Collection, DatabaseName, Emit, Freshness, Key, KeySelection, Map, Order,
    Precondition, Query, Reduce, Request, SlotCount, View,
};
use serde::{Deserialize, Serialize};

use crate::disk_space::DiskSpace;
use crate::engine::Engine;
use crate::memory::MemoryPlan;
use crate::standalone::Standalone;
use crate::store::{
    Batch, BatchNumber, Cursor, Durability, Holds, KeyRange, MemorySnapshot, MemoryStore, OrderedStore,
    Snapshot, StoreError,
};

/// A store that counts what is read of it.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    values: AtomicUsize,
    cursors: AtomicUsize,
}

struct CountingSnapshot<'s> {
    counting: &'s Counting,
    snapshot: <MemoryStore as OrderedStore>::Snapshot<'s>,
}

struct CountingCursor<'s> {
    counting: &'s Counting,
    cursor: <<MemoryStore as OrderedStore>::Snapshot<'s> as Snapshot>::Cursor<'s>,
}

impl Counting {
    fn value(&self) {
        self.values.fetch_add(1, Ordering::Relaxed);
    }

    /// How many values `read` reads, and how many cursors it opens.
    fn count(&self, read: impl FnOnce()) -> (usize, usize) {
        let now = || {
            (
                self.values.load(Ordering::Relaxed),
                self.cursors.load(Ordering::Relaxed),
            )
        };
        let before = now();
        read();
        (now().0 - before.0, now().1 - before.1)
    }
}

impl OrderedStore for Counting {
    type Snapshot<'a> = CountingSnapshot<'a>;
    type Kept = MemorySnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.value();
        self.store.get(key, read)
    }

    fn snapshot(&self) -> CountingSnapshot<'_> {
        CountingSnapshot {
            counting: self,
            snapshot: self.store.snapshot(),
        }
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
        holder.held().store.snapshot()
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        self.store.write(batch, durability)
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        self.store.sync()
    }

    fn written(&self) -> BatchNumber {
        self.store.written()
    }

    fn durable(&self) -> BatchNumber {
        self.store.durable()
    }
}

impl Snapshot for CountingSnapshot<'_> {
    type Cursor<'a>
        = CountingCursor<'a>
    where
        Self: 'a;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.counting.value();
        self.snapshot.get(key, read)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<CountingCursor<'_>, StoreError> {
        self.counting.cursors.fetch_add(1, Ordering::Relaxed);
        Ok(CountingCursor {
            counting: self.counting,
            cursor: self.snapshot.scan(range, order)?,
        })
    }
}

impl Cursor for CountingCursor<'_> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.entry()
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.counting.value();
        self.cursor.advance()
    }
}

#[derive(Serialize, Deserialize, Collection)]
#[collection(name = "steps", id = u64, views = [ByNumber])]
struct Step {
    number: u64,
}

#[derive(View)]
#[view(collection = Step, name = "by-number", key = u64, value = u64, reduce)]
struct ByNumber;

impl Map for ByNumber {
    fn map(_: &u64, step: &Step, emit: &mut Emit<Self>) {
        emit.entry(step.number, 1);
    }
}

impl Reduce for ByNumber {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

fn query(keys: KeySelection) -> Query {
    Query {
        collection: "steps".parse().unwrap(),
        view: "by-number".parse().unwrap(),
        keys,
        order: Order::Ascending,
        limit: None,
        after: None,
        freshness: Freshness::Current,
    }
}

fn name() -> DatabaseName {
    DatabaseName::default_database()
}

/// An engine with so many documents and the view of them.
fn engine(documents: u64) -> Arc<Engine<Counting>> {
    let disk = DiskSpace::of(PathBuf::from("."), Some(0), MemoryPlan::for_limit(64 << 20));
    let store = Arc::new(Counting::default());
    let standalone = Standalone::start(store, disk, Box::new(|_| {}), Box::new(|_| {})).unwrap();
    let engine = standalone.engine;
    engine.create_database(&name(), SlotCount::default()).unwrap();
    for first in (0..documents).step_by(1000) {
        put(&engine, first..documents.min(first + 1000));
    }
    engine.define_schema::<Step>(&name()).unwrap();
    engine.build_views(&|| true);
    engine
}

fn put(engine: &Engine<Counting>, numbers: impl Iterator<Item = u64>) {
    let change = |number| Change {
        collection: "steps".parse().unwrap(),
        action: ChangeAction::Put {
            id: pliantdb_core::Id::to_document_id(&number).unwrap(),
            body: Body::of(&Step { number }).unwrap(),
            precondition: Precondition::None,
        },
    };
    let changes = numbers.map(change).collect();
    engine.execute(&name(), Request::Transact(changes), None).unwrap();
}

fn reduced(engine: &Engine<Counting>, keys: KeySelection) -> u64 {
    let group = engine.reduce(&name(), &query(keys)).unwrap();
    serde_json::from_slice(&group.value).unwrap()
}

/// With a hundred times the documents a reduce reads a few times as much: some runs more on each of the levels.
#[test]
fn a_reduce_reads_partial_results() {
    let mut counts = Vec::new();
    for documents in [1_000, 10_000, 100_000] {
        let engine = engine(documents);
        let (whole, _) = engine.store.count(|| {
            assert_eq!(reduced(&engine, KeySelection::All), documents);
        });
        let (start, end) = (documents / 3, documents - documents / 7);
        let range = KeySelection::Range(start.encoded(), Some(end.encoded()));
        let (part, _) = engine.store.count(|| {
            assert_eq!(reduced(&engine, range.clone()), end - start);
        });
        // Some entries are behind.
        put(&engine, (0..20).map(|n| documents + n));
        assert_eq!(reduced(&engine, range.clone()), end - start);
        let (behind, _) = engine.store.count(|| {
            assert_eq!(reduced(&engine, KeySelection::All), documents + 20);
        });
        counts.push((documents, whole, part, behind));
        engine.close();
    }
    for (documents, whole, part, behind) in &counts {
        assert!(
            *whole < 500 && *part < 1500 && *behind < 3000,
            "{documents}: {counts:?}"
        );
    }
}

/// However many slots a database has.
#[test]
fn a_query_of_a_lazy_view_opens_one_cursor() {
    let engine = engine(1_000);
    let keys = KeySelection::Range(100u64.encoded(), Some(200u64.encoded()));
    // What was committed since it was built is looked for once.
    assert_eq!(reduced(&engine, KeySelection::All), 1_000);
    let (values, cursors) = engine.store.count(|| {
        let rows = engine.query(&name(), &query(keys), false).unwrap();
        assert_eq!(rows.len(), 100);
    });
    assert!(
        cursors == 1 && values <= 105,
        "{cursors} cursors, {values} values"
    );
    engine.close();
}
