//! The suite over HTTP: plain requests, as anybody could send them, to a server in this process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod client;
mod events;
mod problems;
mod translation;

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use pliantdb_conformance::{Door, feed, schema, views};
use pliantdb_core::{
    Answer, Connection, DatabaseName, Error, Request, Response, Schema, Schematic, Step, StorageConnection,
    TakeSnapshot, TopicPattern, protocol::SchemaOffer,
};
use pliantdb_server::Server;
use pliantdb_server::config::{LogFormat, LogLevel, Settings};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A server that runs on threads of its own.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(directory: &TempDir) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Settings {
            data: directory.path().to_owned(),
            listen: free,
            quic_listen: free,
            certificate: None,
            admin_listen: free,
            token_file: None,
            master_key_file: None,
            // More than the engine takes in one write, so that it is the engine that refuses.
            max_body_size: 80 << 20,
            min_free_space: None,
            log_format: LogFormat::Text,
            log_level: LogLevel::Warn,
            shutdown_timeout: Duration::from_secs(20),
            max_connections: 100,
            max_in_flight: 100,
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
        };
        let (started, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::builder(settings)
                    .schema::<schema::Shop>()
                    .schema::<views::later::Shop>()
                    .schema::<schema::Order>()
                    .schema::<views::panicking::Note>()
                    .api(|_, request: schema::Greet| schema::greet(&request))
                    .change_retention(feed::RETENTION);
                let server = server.start().await.unwrap();
                started.send(server.addresses().http).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                server.run(stop).await.unwrap();
            });
        });
        Self {
            address: address.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its thread waits for it, unless it panicked.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// HTTP.
struct Http {
    storage: Client,
    server: Option<Running>,
    directory: TempDir,
}

impl Door for Http {
    type Storage = Client;

    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Running::start(&directory);
        Self {
            storage: Client::new(server.address),
            server: Some(server),
            directory,
        }
    }

    fn storage(&self) -> &Client {
        &self.storage
    }

    fn reopen(&mut self) {
        self.server = None;
        let server = Running::start(&self.directory);
        self.storage = Client::new(server.address);
        self.server = Some(server);
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<Client, T>) -> Result<T, Error> {
        answer
    }

    fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }
}

impl StorageConnection for Client {
    type Database = Database;

    fn create_database<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        let name: DatabaseName = name.parse()?;
        let body = offer::<S>()?.map_or_else(|| json!({}), |offer| describe(&offer));
        let created = self.send("PUT", &format!("/v1/{name}"), &[], Some(&body.to_string()))?;
        self.opened(name, created)
    }

    fn database<S: Schema>(&self, name: &str) -> Result<Database, Error> {
        let name: DatabaseName = name.parse()?;
        let opened = match offer::<S>()? {
            None => self.send("GET", &format!("/v1/{name}"), &[], None),
            Some(offer) => {
                let body = describe(&offer).to_string();
                self.send("PUT", &format!("/v1/{name}/_schema"), &[], Some(&body))
            }
        };
        self.opened(name, opened?)
    }

    fn delete_database(&self, name: &str) -> Result<(), Error> {
        let name: DatabaseName = name.parse()?;
        self.send("DELETE", &format!("/v1/{name}"), &[], None).map(drop)
    }

    fn databases(&self) -> Result<Vec<DatabaseName>, Error> {
        let databases = self.send("GET", "/v1", &[], None)?.json();
        Ok(serde_json::from_value(databases["databases"].clone()).unwrap())
    }
}

impl Client {
    fn opened(&self, name: DatabaseName, answer: client::Answer) -> Result<Database, Error> {
        let number = answer.json()["number"].as_u64().unwrap();
        Ok(Database {
            client: self.clone(),
            name,
            number,
        })
    }
}

fn offer<S: Schema>() -> Result<Option<SchemaOffer>, Error> {
    Ok(SchemaOffer::of(&Schematic::of::<S>().map_err(Error::invalid)?))
}

fn describe(offer: &SchemaOffer) -> serde_json::Value {
    let views = offer.views.iter().map(|view| {
        json!({
            "collection": view.collection,
            "name": view.name,
            "version": view.version,
            "policy": format!("{:?}", view.policy).to_lowercase(),
            "reduces": view.reduces,
        })
    });
    json!({ "schema": offer.name, "views": views.collect::<Vec<_>>() })
}

/// A database behind HTTP.
#[derive(Clone)]
struct Database {
    client: Client,
    name: DatabaseName,
    number: u64,
}

impl Connection for Database {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = events::Listener;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        mut next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        let mut request = first?;
        loop {
            match next(self.execute(request)) {
                Step::Ask(again) => request = again,
                Step::Done(result) => return result,
            }
        }
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<events::Listener, Error> {
        Ok(events::Listener::start(self.client.address(), &self.name, &patterns?))
    }
}

impl TakeSnapshot for Database {
    type Snapshot = Self;

    fn snapshot(&self) -> Result<Self, Error> {
        Err(Error::invalid("snapshots belong to a connection, which HTTP does not have"))
    }
}

// Without snapshots, which are kept for a connection, and HTTP has none that a client could hold on to.
pliantdb_conformance::conformance!(Http: databases, documents, transactions, views, key_values, messages, feed,
    concurrency, apis);
