//! `pliant-node` in a process of its own, with clients in this one. Arguments: a directory that is not there yet, the
//! program, and `quic` or `http`.

use std::path::PathBuf;
use std::time::Duration;

use load::clients::{Run, tasks};
use load::http::Connection as Http;
use load::job::{Job, serve};
use load::{Failure, next_random, text};
use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Collection, Connection, DocumentId, Options, StorageConnection,
    Transaction,
};
use serde::{Deserialize, Serialize};
use server_bench::node::Node;
use std::sync::Arc;
use tokio::sync::Mutex;

/// How many go into one transaction when loading.
const TRANSACTION: u64 = 1000;

#[derive(Clone, Serialize, Deserialize, Collection)]
#[collection(name = "plain")]
struct Plain {
    text: String,
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-node DIRECTORY PLIANT-NODE quic|http";
    let argument = |at| std::env::args().nth(at).ok_or(usage);
    let (directory, program, door) = (
        PathBuf::from(argument(1)?),
        PathBuf::from(argument(2)?),
        argument(3)?,
    );
    let node = Node::start(&program, &directory, &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let database = runtime.block_on(async {
        let client = AsyncClient::connect(&node.quic, Options::default()).await?;
        client.database::<Plain>("default").await
    })?;
    let mut loaded = 0;
    serve(|job| {
        runtime.block_on(async {
            match (job, door.as_str()) {
                (Job::Load { documents }, _) => {
                    loaded = documents;
                    load(&database, documents).await?;
                    Ok(None)
                }
                (
                    Job::Insert {
                        clients,
                        milliseconds,
                    },
                    "quic",
                ) => insert(&database, clients, milliseconds).await.map(Some),
                (
                    Job::Get {
                        clients,
                        milliseconds,
                    },
                    "quic",
                ) => get(&database, clients, milliseconds, loaded).await.map(Some),
                (
                    Job::Insert {
                        clients,
                        milliseconds,
                    },
                    "http",
                ) => {
                    let body = |client| format!("{{\"text\":\"{}\"}}", text(client, 256));
                    let ask =
                        move |client, _: &mut u64| ("POST", "/v1/default/plain".to_owned(), body(client));
                    by_http(&node, clients, milliseconds, ask).await.map(Some)
                }
                (
                    Job::Get {
                        clients,
                        milliseconds,
                    },
                    "http",
                ) => {
                    let ask = move |_, state: &mut u64| {
                        let id = loaded_id(next_random(state) % loaded);
                        ("GET", format!("/v1/default/plain/{id}"), String::new())
                    };
                    by_http(&node, clients, milliseconds, ask).await.map(Some)
                }
                _ => Err("this contender does not do that".into()),
            }
        })
    })
}

/// The id of a document that was loaded; their order is not that of the numbers.
fn loaded_id(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

async fn load(database: &AsyncRemoteDatabase, documents: u64) -> Result<(), Failure> {
    for first in (0..documents).step_by(TRANSACTION as usize) {
        let mut transaction = Transaction::new();
        for number in first..documents.min(first + TRANSACTION) {
            let plain = Plain {
                text: text(number, 256),
            };
            transaction = transaction.insert_as(&loaded_id(number).parse()?, &plain);
        }
        transaction.apply(database).await?;
    }
    Ok(())
}

async fn insert(database: &AsyncRemoteDatabase, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, text) = (database.clone(), text(client as u64, 256));
        move || {
            let inserted = database
                .collection::<Plain>()
                .insert(Plain { text: text.clone() });
            async move { Ok(inserted.await.map(drop)?) }
        }
    })
    .await
}

async fn get(
    database: &AsyncRemoteDatabase,
    clients: usize,
    milliseconds: u64,
    loaded: u64,
) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, mut state) = (database.clone(), client as u64);
        move || {
            let id = loaded_id(next_random(&mut state) % loaded).parse::<DocumentId>();
            let found = id.map(|id| database.collection::<Plain>().get(&id));
            async move { Ok(found?.await?.map(drop).ok_or("a document is not there")?) }
        }
    })
    .await
}

/// Each client has a connection of its own, which it keeps.
async fn by_http(
    node: &Node,
    clients: usize,
    milliseconds: u64,
    ask: impl Fn(u64, &mut u64) -> (&'static str, String, String) + Copy + Send + 'static,
) -> Result<Run, Failure> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Arc::new(Mutex::new(Http::open(node.http).await?)));
    }
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let connection = connections.get(client).cloned();
        let mut state = client as u64;
        move || {
            let (method, path, body) = ask(client as u64, &mut state);
            let connection = connection.clone();
            async move {
                let connection = connection.ok_or("there is no connection")?;
                connection.lock().await.ask(method, &path, &body).await.map(drop)
            }
        }
    })
    .await
}
