//! A server in this process, with a schema and an API that `pliant-node` does not have.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{Api, Collection, DocumentId, Emit, Map, Reduce, Schema, Server, View};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::node::{Answer, agent, ask};

#[derive(Schema)]
#[schema(name = "shop", collections = [User])]
pub(crate) struct Shop;

#[derive(Serialize, Deserialize, Collection)]
#[collection(name = "users", views = [ByPlace, ByEmail])]
pub(crate) struct User {
    email: String,
    country: String,
    age: u32,
}

/// Countries and ages.
#[derive(View)]
#[view(collection = User, name = "by-place", key = (String, u32), value = u64, reduce)]
pub(crate) struct ByPlace;

impl Map for ByPlace {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry((user.country.clone(), user.age), 1);
    }
}

impl Reduce for ByPlace {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

#[derive(View)]
#[view(collection = User, name = "by-email", key = String, policy = unique)]
pub(crate) struct ByEmail;

impl Map for ByEmail {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry(user.email.clone(), ());
    }
}

/// Adds, if there is nothing against it.
#[derive(Serialize, Deserialize, Api)]
#[api(name = "add", response = i64, error = Refusal)]
struct Add {
    a: i64,
    b: i64,
    #[serde(default)]
    note: String,
    #[serde(default)]
    twice: bool,
}

#[derive(Serialize, Deserialize, Debug)]
enum Refusal {
    TooLarge { most: i64 },
}

fn add(request: &Add) -> Result<i64, Refusal> {
    if request.note == "panic" {
        panic!("as it was asked to");
    }
    let sum = (request.a + request.b) * if request.twice { 2 } else { 1 };
    match sum {
        ..=100 => Ok(sum),
        _ => Err(Refusal::TooLarge { most: 100 }),
    }
}

/// The server, which ends when it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _data: TempDir,
}

impl Served {
    /// With a database `shop` of the schema.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let free = || Some("127.0.0.1:0".parse().unwrap());
        let inputs = Inputs {
            data: Some(data.path().to_owned()),
            listen: free(),
            quic_listen: free(),
            admin_listen: free(),
            ..Inputs::default()
        };
        let settings = Settings::load(inputs, None).unwrap();
        let (started, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let server = Server::builder(settings)
                    .schema::<Shop>()
                    .api(|_, request: Add| add(&request));
                let server = server.start().await.unwrap();
                started.send(server.addresses().http).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                server.run(stop).await.unwrap();
            });
        });
        let served = Self {
            address: address.recv().unwrap(),
            agent: agent(),
            stop: Some(stop),
            thread: Some(thread),
            _data: data,
        };
        let created = served.send("PUT", "/v1/shop", "{\"schema\": \"shop\"}");
        assert_eq!(created.status, 201, "{}", created.body);
        served
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(&self.agent, self.address, method, path, &[], body).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
