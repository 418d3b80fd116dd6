//! What holds a snapshot, besides what the conformance suite says of it.

use pliantdb_storage::{
    Collection, Connection, Emit, Map, Options, Reduce, Storage, StorageConnection, StorageError,
    TakeSnapshot, View,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "texts", id = u32, views = [Rounds])]
struct Text {
    round: u32,
    text: String,
}

#[derive(View)]
#[view(collection = Text, name = "rounds", key = u32, value = u64, reduce)]
struct Rounds;

impl Map for Rounds {
    fn map(_: &u32, text: &Text, emit: &mut Emit<Self>) {
        emit.entry(text.round, 1);
    }
}

impl Reduce for Rounds {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

const TEXTS: u32 = 200;

fn text(id: u32, round: u32) -> Text {
    // Not compressible.
    let mut state = u64::from(id * 1000 + round) + 1;
    let mut text = String::new();
    while text.len() < 20_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    Text { round, text }
}

/// Through flushes and compactions, with everything that the storage has closed around it.
#[test]
fn stays_through_compactions_and_keeps_the_storage_open() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let memory_limit = Some(16 << 20);
        Storage::open_with(
            directory.path(),
            Options {
                memory_limit,
                ..Options::default()
            },
        )
    };
    let storage = open().unwrap();
    let database = storage.database::<Text>("default").unwrap();
    let texts = database.collection::<Text>();
    let mut snapshots = Vec::new();
    for round in 0..4 {
        for id in 0..TEXTS {
            texts.overwrite(&id, text(id, round)).unwrap();
        }
        if round % 2 == 0 {
            snapshots.push((round, database.snapshot().unwrap()));
        }
    }
    database.view::<Rounds>().delete_documents().unwrap();
    storage.close().unwrap();
    drop((storage, database));
    for (round, snapshot) in snapshots {
        let found = snapshot.collection::<Text>().list().all().unwrap();
        assert_eq!(found.len(), TEXTS as usize);
        for found in found {
            assert_eq!(found.contents, text(found.id, round), "{}", found.id);
        }
        let rounds = snapshot.view::<Rounds>().reduce_grouped().unwrap();
        assert_eq!(rounds, [(round, u64::from(TEXTS))]);
        let error = open().map(drop).unwrap_err();
        assert!(matches!(error, StorageError::DirectoryInUse { .. }), "{error}");
    }
    let storage = open().unwrap();
    let database = storage.database::<Text>("default").unwrap();
    assert_eq!(database.collection::<Text>().list().count(), Ok(0));
}
