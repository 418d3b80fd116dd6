//! Clients of PliantDB, each a closed loop: it asks again when it is answered.
//!
//! A write sets one of [`KEYS`] keys of the key-value store to a text of 256 bytes; a read reads one, linearizable, as is
//! the default. By HTTP each client has a connection of its own, without TLS; by QUIC all share the client library's
//! connections, which have TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use load::clients::{Run, tasks};
use load::http::Connection as Http;
use load::{Failure, next_random, text};
use pliantdb_client::{AsyncClient, AsyncRemoteDatabase, Connection, Options, StorageConnection};
use tokio::sync::Mutex;

/// How many keys there are.
pub const KEYS: u64 = 20_000;
/// How long a value is, its quotes included.
pub const VALUE: usize = 256;

/// What clients do.
#[derive(Clone, Copy)]
pub enum Operation {
    /// Set a key.
    Put,
    /// Read a key.
    Get,
}

/// The text that a client writes, as JSON it has [`VALUE`] bytes.
fn value(client: usize) -> String {
    text(client as u64, VALUE - 2)
}

fn key(number: u64) -> String {
    format!("k{number:010}")
}

fn path(number: u64) -> String {
    format!("/v1/default/_kv/bench/{}", key(number))
}

/// Sets every key once.
///
/// # Errors
/// The first failure.
pub async fn fill(address: SocketAddr) -> Result<(), Failure> {
    let clients = 64;
    let mut filling = Vec::new();
    for client in 0..clients {
        filling.push(tokio::spawn(async move {
            let mut connection = Http::open(address).await?;
            let body = format!("\"{}\"", value(client as usize));
            for number in (client..KEYS).step_by(clients as usize) {
                connection.ask("PUT", &path(number), &body).await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for client in filling {
        client.await??;
    }
    Ok(())
}

/// Clients by HTTP, spread evenly over some nodes.
///
/// # Errors
/// The first failure.
pub async fn by_http(
    addresses: &[SocketAddr],
    clients: usize,
    milliseconds: u64,
    operation: Operation,
) -> Result<Run, Failure> {
    let mut connections = Vec::with_capacity(clients);
    for address in addresses.iter().cycle().take(clients) {
        connections.push(Arc::new(Mutex::new(Http::open(*address).await?)));
    }
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let connection = connections.get(client).cloned();
        let body: Arc<str> = format!("\"{}\"", value(client)).into();
        let mut state = client as u64;
        move || {
            let (connection, body) = (connection.clone(), Arc::clone(&body));
            let path = path(next_random(&mut state) % KEYS);
            async move {
                let connection = connection.ok_or("there is no connection")?;
                let mut connection = connection.lock().await;
                match operation {
                    Operation::Put => connection.ask("PUT", &path, &body).await.map(drop),
                    Operation::Get => connection.ask("GET", &path, "").await.map(drop),
                }
            }
        }
    })
    .await
}

/// The client library, by QUIC. It knows all nodes, and writes where the database is led.
///
/// # Errors
/// When it cannot connect.
pub async fn library(addresses: &str) -> Result<AsyncRemoteDatabase, Failure> {
    let client = AsyncClient::connect(addresses, Options::default()).await?;
    Ok(client.database::<()>("default").await?)
}

/// Clients that share the client library.
///
/// # Errors
/// The first failure.
pub async fn by_library(
    database: &AsyncRemoteDatabase,
    clients: usize,
    milliseconds: u64,
    operation: Operation,
) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, value) = (database.clone(), value(client));
        let mut state = client as u64;
        move || {
            let database = database.clone();
            let key = key(next_random(&mut state) % KEYS);
            let keys = database.key_value("bench");
            let (put, got) = match operation {
                Operation::Put => (Some(keys.set(&key, &value)), None),
                Operation::Get => (None, Some(keys.get::<String>(&key))),
            };
            async move {
                if let Some(put) = put {
                    put.await?;
                }
                if let Some(got) = got {
                    got.await?.ok_or("a key is not there")?;
                }
                Ok(())
            }
        }
    })
    .await
}
