//! What the doors for programs bound: how long snapshots live.

use std::time::Duration;

use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Collection, Connection, Error, Options, StorageConnection, TakeSnapshot,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::node::Node;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "notes")]
struct Note {
    text: String,
}

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

async fn open(url: &str) -> AsyncRemoteDatabase {
    let client = AsyncClient::connect(url, Options::default()).await.unwrap();
    client.database::<Note>("default").await.unwrap()
}

#[test]
fn a_snapshot_lives_as_long_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--snapshot-lifetime", "1s"]);
    for url in [node.quic_url(), node.websocket_url()] {
        runtime().block_on(async {
            let database = open(&url).await;
            let old = database.snapshot().await.unwrap();
            assert_eq!(old.collection::<Note>().list().count().await, Ok(0));
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let error = old.collection::<Note>().list().count().await.unwrap_err();
            assert_eq!(error, Error::SnapshotExpired { seconds: 1 });
            assert!(error.to_string().contains("take another"), "{error}");
            node.wait_for_metric("pliantdb_snapshots 0.0");
            let new = database.snapshot().await.unwrap();
            assert_eq!(new.collection::<Note>().list().count().await, Ok(0));
        });
    }
}
