//! The suite over HTTP: plain requests, as anybody could send them, to a server in this process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod client;
mod events;
mod key_changes;
mod problems;
#[allow(dead_code, reason = "other doors need the rest")]
#[path = "../serving/mod.rs"]
mod serving;
mod translation;
mod view_queries;

use client::Client;
use pliantdb_conformance::Door;
use pliantdb_core::{
    Answer, Connection, DatabaseName, Error, Request, Response, Schema, Schematic, Step, StorageConnection,
    TakeSnapshot, TopicPattern, protocol::SchemaOffer,
};
use serde_json::json;
use serving::Serving;

/// HTTP.
struct Http {
    storage: Client,
    serving: Serving,
}

impl Door for Http {
    type Storage = Client;

    fn open() -> Self {
        let serving = Serving::start();
        Self {
            storage: Client::new(serving.http()),
            serving,
        }
    }

    fn storage(&self) -> &Client {
        &self.storage
    }

    fn reopen(&mut self) {
        self.serving.restart();
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
        Ok(events::Listener::start(
            self.client.address(),
            &self.name,
            &patterns?,
        ))
    }
}

impl TakeSnapshot for Database {
    type Snapshot = Self;

    fn snapshot(&self) -> Result<Self, Error> {
        Err(Error::invalid(
            "snapshots belong to a connection, which HTTP does not have",
        ))
    }
}

// Without snapshots, which are kept for a connection, and HTTP has none that a client could hold on to.
pliantdb_conformance::conformance!(Http: databases, documents, transactions, views, key_values, messages, feed,
    concurrency, apis);
