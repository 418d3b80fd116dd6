//! Documents with views: whatever a crash leaves of them, the views must be what the documents say.

use std::collections::BTreeMap;

use pliantdb_core::{
    Collection, Connection, Emit, Error, Freshness, Map, Reduce, Rejection, Schema, StorageConnection,
    Transaction, View,
};
use pliantdb_storage::{Database, Storage};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

#[derive(Schema)]
#[schema(name = "viewed", collections = [Viewed, Unique])]
struct WithViews;

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "viewed", id = u64, views = [Eager, Lazy])]
struct Viewed {
    number: u32,
}

#[derive(View)]
#[view(collection = Viewed, name = "eager", key = u32, value = u64, policy = eager, reduce)]
struct Eager;

impl Map for Eager {
    fn map(_: &u64, viewed: &Viewed, emit: &mut Emit<Self>) {
        emit.entry(viewed.number, u64::from(viewed.number));
    }
}

impl Reduce for Eager {
    fn reduce(numbers: &[u64]) -> u64 {
        numbers.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Viewed, name = "lazy", key = u32, value = u64, reduce)]
struct Lazy;

impl Map for Lazy {
    fn map(_: &u64, viewed: &Viewed, emit: &mut Emit<Self>) {
        emit.entry(viewed.number, 1);
    }
}

impl Reduce for Lazy {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// No two have the same number.
#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "unique", id = u64, views = [ByNumber])]
struct Unique {
    number: u32,
}

#[derive(View)]
#[view(collection = Unique, name = "by-number", key = u32, policy = unique)]
struct ByNumber;

impl Map for ByNumber {
    fn map(_: &u64, unique: &Unique, emit: &mut Emit<Self>) {
        emit.entry(unique.number, ());
    }
}

fn open(storage: &Storage) -> Result<Database, Error> {
    match storage.database::<WithViews>("viewed") {
        Err(Error::UnknownDatabase(_)) => storage.create_database::<WithViews>("viewed"),
        found => found,
    }
}

/// Writes and deletes several documents at a time, and has the lazy view brought up to date, until the storage is
/// closed.
pub(super) fn write(storage: &Storage, mut random: StdRng) {
    let mut run = || -> Result<(), Error> {
        let database = open(storage)?;
        loop {
            let mut transaction = Transaction::new();
            for _ in 0..random.random_range(1..6) {
                let number = random.random_range(0..20);
                transaction = transaction.overwrite(&random.random_range(0..60), &Viewed { number });
            }
            transaction.apply(&database)?;
            // Numbers are taken, given back and refused.
            let (id, number) = (random.random_range(0..30), random.random_range(0..40));
            match database.collection::<Unique>().overwrite(&id, Unique { number }) {
                Ok(_) | Err(Error::Rejected(Rejection::NotUnique { .. })) => {}
                Err(error) => return Err(error),
            }
            if random.random_bool(0.3) {
                let key = random.random_range(0..40);
                database.view::<ByNumber>().key(&key).delete_documents()?;
            }
            match random.random_range(0..10) {
                0 => drop(database.view::<Lazy>().reduce()?),
                1..4 => {
                    let gone = database
                        .view::<Eager>()
                        .key(&random.random_range(0..20))
                        .query()?;
                    let delete = |transaction: Transaction, id| transaction.delete_by_id::<Viewed>(id);
                    let transaction = gone.iter().map(|row| &row.id).fold(Transaction::new(), delete);
                    transaction.apply(&database)?;
                }
                _ => {}
            }
        }
    };
    match run() {
        Ok(()) => unreachable!(),
        Err(Error::Closed) => {}
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn check(storage: &Storage) {
    let database = open(storage).unwrap();
    let documents = database.collection::<Unique>().list().all().unwrap().into_iter();
    let numbers: BTreeMap<_, _> = documents.map(|found| (found.contents.number, found.id)).collect();
    let rows = database.view::<ByNumber>().query().unwrap().into_iter();
    let rows: Vec<_> = rows.map(|row| (row.key, row.id)).collect();
    assert_eq!(
        rows,
        numbers.clone().into_iter().collect::<Vec<_>>(),
        "each number once"
    );
    assert_eq!(
        database.collection::<Unique>().list().count(),
        Ok(rows.len() as u64)
    );
    // Who owns a number is found by it, and nobody owns one that was given back.
    for number in 0..40 {
        let owner = database.view::<ByNumber>().key(&number).query().unwrap();
        assert_eq!(owner.first().map(|row| &row.id), numbers.get(&number));
    }
    let documents = database.collection::<Viewed>().list().all().unwrap();
    let mut numbers = documents
        .iter()
        .map(|found| (found.contents.number, found.id))
        .collect::<Vec<_>>();
    numbers.sort_unstable();
    let eager = || database.view::<Eager>().freshness(Freshness::Stale);
    let rows = eager().query().unwrap().into_iter();
    assert_eq!(rows.map(|row| (row.key, row.id)).collect::<Vec<_>>(), numbers);
    let sum = numbers.iter().map(|(number, _)| u64::from(*number)).sum();
    assert_eq!(eager().reduce(), Ok(sum));
    let rows = database.view::<Lazy>().query().unwrap().into_iter();
    let mut lazy = rows.map(|row| (row.key, row.id)).collect::<Vec<_>>();
    lazy.sort_unstable();
    assert_eq!(lazy, numbers);
    let mut counts = BTreeMap::new();
    for (number, _) in numbers {
        *counts.entry(number).or_insert(0u64) += 1;
    }
    let groups = database.view::<Lazy>().reduce_grouped().unwrap();
    assert_eq!(groups, counts.into_iter().collect::<Vec<_>>());
}
