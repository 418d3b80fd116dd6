//! HTTP as a way to a server: requests as anybody could send them, for tests.

mod asks;
mod client;
mod events;
mod key_changes;
mod problems;
mod translation;
mod view_queries;

pub use client::Client;
pub use events::Listener;

use pliantdb_core::protocol::SchemaOffer;
use pliantdb_core::{
    Connection, DatabaseName, Error, Request, Response, Schema, Schematic, Step, StorageConnection,
    TakeSnapshot, TopicPattern, converse,
};
use serde_json::json;

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
        let number = answer.json()["number"].as_u64();
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
pub struct Database {
    client: Client,
    name: DatabaseName,
    number: Option<u64>,
}

impl Connection for Database {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = Listener;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        converse(first, next, |request| self.execute(request))
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<Listener, Error> {
        Listener::start(&self.client, &self.name, &patterns?)
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
