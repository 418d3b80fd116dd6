//! A client that was given one node's address, when a node is stopped; and reads as fresh as a position.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pliantdb_client::{AsyncClient, AsyncRemoteDatabase, Options};
use pliantdb_conformance::schema::{Shop, User};
use pliantdb_core::{Connection, Consistency, Error, Number, StorageConnection, Subscriber};

use crate::nodes::{Kind, NODES, Nodes};

/// How long something may take that nobody waits for.
const SOON: Duration = Duration::from_secs(30);

/// What writes count to.
const COUNTER: &str = "counter";

async fn connect(address: &str, finds_nodes: bool) -> AsyncClient {
    let options = Options {
        finds_nodes,
        ..Options::default()
    };
    AsyncClient::connect(address, options).await.unwrap()
}

/// Writes one after the other until it is to stop. Every write must succeed.
async fn write(database: AsyncRemoteDatabase, written: Arc<AtomicU64>, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        database.key_value("n").increment(COUNTER, 1).await.unwrap();
        let user = User::new(&format!("{}@x", written.load(Ordering::Relaxed)), "de", 1);
        database.collection::<User>().insert(user).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for so many more writes.
async fn more(written: &AtomicU64, count: u64) {
    let (start, until) = (written.load(Ordering::Relaxed), Instant::now() + SOON);
    while written.load(Ordering::Relaxed) < start + count {
        assert!(Instant::now() < until, "nothing is written any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client goes on when that node is stopped.
fn goes_on_without(stopped: usize, given: impl FnOnce(&Nodes) -> String) {
    let mut nodes = Nodes::start(Kind::Quorum);
    let address = given(&nodes);
    let runtime = nodes.runtime().handle().clone();
    let (written, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (database, messages, writing) = runtime.block_on(async {
        let client = connect(&address, true).await;
        let database = client.create_database::<Shop>("shop").await.unwrap();
        let messages = database.subscribe(&["news"]).await.unwrap();
        let (database_of_writer, written, is_over) =
            (database.clone(), Arc::clone(&written), Arc::clone(&is_over));
        let writing = tokio::spawn(write(database_of_writer, written, is_over));
        (database, messages, writing)
    });
    runtime.block_on(more(&written, 50));
    nodes.stop(stopped);
    runtime.block_on(async {
        more(&written, 50).await;
        is_over.store(true, Ordering::Relaxed);
        writing.await.unwrap();
        let count = written.load(Ordering::Relaxed);
        assert_eq!(
            database.key_value("n").get::<u64>(COUNTER).await.unwrap(),
            Some(count),
            "each write was made once"
        );
        let users = database.collection::<User>().list().count().await.unwrap();
        assert_eq!(users, count);

        // The subscription goes on by another node, in a moment.
        let until = Instant::now() + SOON;
        loop {
            database.publish("news", &"again").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            match messages.try_receive() {
                Ok(Some(message)) => {
                    assert_eq!(message.payload.read::<String>().unwrap(), "again");
                    break;
                }
                Ok(None) | Err(Error::Lagged(_)) => {}
                Err(error) => panic!("the subscription ended: {error}"),
            }
            assert!(Instant::now() < until, "the subscription has stopped");
        }
    });
}

#[test]
fn goes_on_when_the_node_that_it_was_given_is_stopped() {
    goes_on_without(0, |nodes| nodes.quic()[0].clone());
}

#[test]
fn goes_on_when_the_node_that_leads_is_stopped() {
    goes_on_without(0, |nodes| nodes.quic()[1].clone());
}

#[test]
fn goes_on_by_web_socket() {
    goes_on_without(2, |nodes| format!("ws://{}", nodes.http()[2]));
}

#[test]
fn sees_at_another_node_what_an_answer_told_of() {
    let nodes = Nodes::start(Kind::Quorum);
    nodes.runtime().block_on(async {
        let addresses = nodes.quic();
        let client = connect(&addresses[0], false).await;
        let database = client.create_database::<Shop>("shop").await.unwrap();
        assert_eq!(database.position(), None, "nothing was answered yet");
        for number in 0..30u64 {
            let other = connect(&addresses[(number as usize) % NODES], false).await;
            let value = database.key_value("n").increment(COUNTER, 1).await.unwrap();
            assert_eq!(value, Number::from(number as i64 + 1));
            let position = database.clone().position().unwrap();
            let there = database
                .by(&other)
                .with_consistency(Consistency::AtLeast(position));
            assert_eq!(
                there.key_value("n").get::<u64>(COUNTER).await.unwrap(),
                Some(number + 1)
            );
            assert!(there.position().is_some());
        }
    });
}
