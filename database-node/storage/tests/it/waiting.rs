//! Waiting without a thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_storage::{
    AsyncDatabase, Collection, Connection, Database, DocumentId, Emit, FeedStart, Map, View,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "items")]
struct Before {
    n: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "items", views = [ByNumber])]
struct Item {
    n: u32,
}

#[derive(View)]
#[view(collection = Item, name = "by-number", key = u32, policy = unique)]
struct ByNumber;

static MAY_BUILD: AtomicBool = AtomicBool::new(false);

impl Map for ByNumber {
    fn map(_: &DocumentId, item: &Item, emit: &mut Emit<Self>) {
        // Only building takes long.
        let is_builder = std::thread::current().name() == Some("housekeeper");
        while is_builder && !MAY_BUILD.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        emit.entry(item.n, ());
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn views_and_feeds_are_waited_for_without_a_thread() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open::<Before>(directory.path()).unwrap();
    for n in 0..10 {
        database.collection::<Before>().insert(Before { n }).unwrap();
    }
    drop(database);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = AsyncDatabase::open::<Item>(directory.path()).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        let mut given_up = Vec::new();
        for n in 0..8 {
            let of = || database.clone();
            let database = of();
            waiting.spawn(async move { database.view::<ByNumber>().query().await.unwrap().len() });
            let database = of();
            waiting.spawn(async move {
                database
                    .collection::<Item>()
                    .insert(Item { n: 100 + n })
                    .await
                    .unwrap();
                10
            });
            let database = of();
            waiting.spawn(async move {
                let page = database.changes(FeedStart::Now, 1, SOON * 2).await.unwrap();
                9 + page.transactions.len()
            });
            let database = of();
            given_up.push(tokio::spawn(
                async move { database.view::<ByNumber>().query().await },
            ));
        }
        // All of them wait, and the one thread is free.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let items = timeout(SOON, database.collection::<Item>().list().all());
        assert_eq!(items.await.unwrap().unwrap().len(), 10);
        assert_eq!(waiting.try_join_next().map(Result::unwrap), None);
        for query in given_up {
            query.abort();
            assert!(query.await.unwrap_err().is_cancelled());
        }
        MAY_BUILD.store(true, Ordering::Relaxed);
        let done = timeout(SOON, waiting.join_all()).await.unwrap();
        assert!(done.iter().all(|count| (10..=18).contains(count)), "{done:?}");
        assert_eq!(database.view::<ByNumber>().query().await.unwrap().len(), 18);
    });
}
