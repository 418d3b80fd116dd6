//! What the doors for programs bound: how long snapshots live, and how much is read at once.

use std::time::Duration;

use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Collection, Connection, DocumentId, Error, Options, StorageConnection,
    TakeSnapshot,
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

#[test]
fn many_documents_are_read_up_to_a_size() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with(&folder.path().join("data"), &["--max-body-size", "32Mi"]);
    runtime().block_on(async {
        let database = open(&node.quic_url()).await;
        let ids: Vec<DocumentId> = (0..5)
            .map(|number| format!("note-{number}").parse().unwrap())
            .collect();
        let note = |mebibytes: usize| Note {
            text: "x".repeat(mebibytes << 20),
        };
        let notes = database.collection::<Note>();
        for id in &ids {
            notes.overwrite(id, note(4)).await.unwrap();
        }
        let snapshot = database.snapshot().await.unwrap();
        let at_once = snapshot.collection::<Note>();
        for found in [notes.get_multiple(&ids).await, at_once.get_multiple(&ids).await] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("ask for fewer at once"), "{error}");
        }
        for found in [
            notes.get_multiple(&ids[..3]).await,
            at_once.get_multiple(&ids[..3]).await,
        ] {
            assert_eq!(found.unwrap().len(), 3);
        }
        // Pages and single documents have no such bound.
        assert_eq!(notes.list().all().await.unwrap().len(), 5);
        notes.overwrite(&ids[0], note(20)).await.unwrap();
        assert!(notes.get(&ids[0]).await.unwrap().is_some());
    });
}
