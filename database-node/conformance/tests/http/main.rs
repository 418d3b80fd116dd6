//! The suite over HTTP: plain requests, as anybody could send them, to a server in this process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[allow(dead_code, reason = "other doors need the rest")]
#[path = "../serving/mod.rs"]
mod serving;

use pliantdb_conformance::Door;
use pliantdb_conformance::http::Client;
use pliantdb_core::{Answer, Error};
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

// Without snapshots, which are kept for a connection, and HTTP has none that a client could hold on to.
pliantdb_conformance::conformance!(Http: databases, documents, transactions, views, key_values, messages, feed,
    concurrency, apis);
