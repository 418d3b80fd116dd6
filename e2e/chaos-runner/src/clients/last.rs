//! What every node shows at the end, when nobody writes any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use load::Failure;
use serde::Deserialize;

use super::Shared;
use super::ask::{Ask, DATABASE, LEDGER};
use super::http::{Connection, Request};
use super::writer::Writer;
use crate::history::Entry;

/// So many read at once from each node.
const READERS: u32 = 4;
/// So many documents on a page.
const PAGE: usize = 1000;

/// Reads every object that there was from every node: more operations of the history, which must fit.
///
/// # Errors
/// When a reader ends too early.
pub async fn objects(shared: &Arc<Shared>) -> Result<(), Failure> {
    let mut running = Vec::new();
    for node in 0..shared.places.len() {
        let left: Arc<Mutex<VecDeque<String>>> = Arc::new(Mutex::new(shared.recorder.keys().into()));
        for reader in 0..READERS {
            let number = 10_000 + u32::try_from(node)? * READERS + reader;
            let (mut client, left) = (Writer::pinned(shared, number, node), Arc::clone(&left));
            running.push(tokio::spawn(async move {
                let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(key) = next() {
                    let ask = match key.split_once('/') {
                        Some(("documents", id)) => Ask::Get { id: id.to_owned() },
                        Some(("numbers", key)) => Ask::Read { key: key.to_owned() },
                        _ => continue,
                    };
                    client.step(&ask).await;
                }
            }));
        }
    }
    for reader in running {
        reader.await?;
    }
    Ok(())
}

/// Reads the ledger from every node.
///
/// # Errors
/// When a node does not show it.
pub async fn ledger(shared: &Arc<Shared>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Answer {
        documents: Vec<Document>,
        next: Option<String>,
    }
    #[derive(Deserialize)]
    struct Document {
        id: String,
        revision: String,
        body: Contents,
    }
    #[derive(Deserialize)]
    struct Contents {
        value: i64,
    }
    for place in &shared.places {
        let mut connection = Connection::open(place.http(), &shared.token).await?;
        let mut after = String::new();
        loop {
            let request = Request::get(format!("/v1/{DATABASE}/{LEDGER}?limit={PAGE}{after}"));
            let response = connection.ask(&request).await?;
            let answer: Answer = serde_json::from_slice(&response.body).map_err(|error| {
                format!(
                    "{} answered {} to {}: {error}",
                    place.name, response.status, request.path
                )
            })?;
            for document in answer.documents {
                shared.recorder.entry(&Entry {
                    node: place.name.clone(),
                    id: document.id,
                    revision: document.revision,
                    value: document.body.value,
                });
            }
            match answer.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
    }
    Ok(())
}
