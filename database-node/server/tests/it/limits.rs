//! What the doors for programs bound: how long snapshots live, how much is read at once, and what messages take of memory.

use std::time::Duration;

use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Collection, Connection, DocumentId, Error, Options, StorageConnection,
    TakeSnapshot,
};
use pliantdb_server::Server;
use pliantdb_server::config::{Inputs, Settings};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::node::Node;
use crate::raw_quic::RawQuic;

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

#[test]
fn a_large_message_takes_memory_for_what_it_is() {
    let data = tempfile::tempdir().unwrap();
    let free = || Some("127.0.0.1:0".to_owned());
    let inputs = Inputs {
        data: Some(data.path().to_owned()),
        listen: free(),
        quic_listen: free(),
        admin_listen: free(),
        max_body_size: Some("8Mi".parse().unwrap()),
        ..Inputs::default()
    };
    let settings = Settings::load(inputs, None).unwrap();
    runtime().block_on(async {
        // Large messages may take an eighth of it together, which is as much as the largest of them has.
        let server = Server::builder(settings)
            .memory_limit(64 << 20)
            .start()
            .await
            .unwrap();
        let (address, fingerprint) = (server.addresses().quic, server.fingerprint());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let slow = RawQuic::welcomed(address, data.path()).await;
        let mut begun = Vec::new();
        for _ in 0..4 {
            begun.push(slow.begin_large(100 << 10).await);
        }
        let database = open(&format!("pliant://{address}?fingerprint={fingerprint}")).await;
        let note = Note {
            text: "x".repeat(1 << 20),
        };
        let writing = database.collection::<Note>().insert(note);
        let written = tokio::time::timeout(Duration::from_secs(10), writing).await;
        assert!(written.expect("it does not wait for those who are slow").is_ok());
        drop((begun, slow, database));
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    });
}
