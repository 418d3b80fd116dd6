//! What the doors for programs bound: how long snapshots live, how much is read at once, and what messages take of memory.

use std::net::SocketAddr;
use std::time::Duration;

use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Collection, Connection, DocumentId, Error, Options, StorageConnection,
    TakeSnapshot,
};
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Server, StorageError};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
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

/// A server in this process whose large messages may take 8 MiB together, which is as much as the largest of them has.
struct Small {
    quic: SocketAddr,
    quic_url: String,
    websocket_url: String,
    data: TempDir,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<Result<(), StorageError>>,
}

impl Small {
    async fn start(request_timeout: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let free = || Some("127.0.0.1:0".to_owned());
        let inputs = Inputs {
            data: Some(data.path().to_owned()),
            listen: free(),
            quic_listen: free(),
            admin_listen: free(),
            max_body_size: Some("8Mi".parse().unwrap()),
            request_timeout: Some(request_timeout.to_owned()),
            ..Inputs::default()
        };
        let builder = Server::builder(Settings::load(inputs, None).unwrap());
        let server = builder.memory_limit(64 << 20).start().await.unwrap();
        let (addresses, fingerprint) = (server.addresses(), server.fingerprint());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        Self {
            quic: addresses.quic,
            quic_url: format!("pliant://{}?fingerprint={fingerprint}", addresses.quic),
            websocket_url: format!("ws://{}", addresses.http),
            data,
            stop,
            serving: tokio::spawn(server.run(stopped)),
        }
    }

    async fn raw(&self) -> RawQuic {
        RawQuic::welcomed(self.quic, self.data.path()).await
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn mebibyte() -> Note {
    Note {
        text: "x".repeat(1 << 20),
    }
}

#[test]
fn a_large_message_takes_memory_for_what_it_is() {
    runtime().block_on(async {
        let server = Small::start("30s").await;
        let slow = server.raw().await;
        let mut begun = Vec::new();
        for _ in 0..4 {
            begun.push(slow.begin_large(100 << 10).await);
        }
        let database = open(&server.quic_url).await;
        let writing = database.collection::<Note>().insert(mebibyte());
        let written = tokio::time::timeout(Duration::from_secs(10), writing).await;
        assert!(written.expect("it does not wait for those who are slow").is_ok());
        drop((begun, slow, database));
        server.end().await;
    });
}

#[test]
fn no_room_for_a_question_is_its_answer_and_not_the_end_of_the_connection() {
    runtime().block_on(async {
        let server = Small::start("2s").await;
        let database = open(&server.websocket_url).await;
        let snapshot = database.snapshot().await.unwrap();
        // All the room for as long as one may be slow, and then all of it again.
        let (slow, slow_too) = (server.raw().await, server.raw().await);
        let begun = (
            slow.begin_large(8 << 20).await,
            slow_too.begin_large(8 << 20).await,
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        let written = database.collection::<Note>().insert(mebibyte()).await;
        assert!(matches!(written, Err(Error::Busy)), "{written:?}");
        // It would have gone with its connection.
        assert_eq!(snapshot.collection::<Note>().list().count().await, Ok(0));
        drop((begun, slow, slow_too, snapshot, database));
        server.end().await;
    });
}
