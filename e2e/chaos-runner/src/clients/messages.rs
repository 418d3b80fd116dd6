//! Publishes messages, and subscribes to them on each node by each door.

use std::sync::Arc;
use std::time::Duration;

use load::Failure;
use pliantdb_client::{AsyncRemoteDatabase, Body, Connection as _, Error, Message, Request, Subscriber};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Shared;
use super::ask::DATABASE;
use super::http::{self, Connection};
use super::remote;
use crate::history::{DOORS, Door, Signal};

/// The topic.
const TOPIC: &str = "chaos.messages";
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// How long publishing one may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a subscriber waits for a message until it looks whether its connection is as it should be.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
struct Payload {
    number: u64,
    /// Nanoseconds since the start.
    at: u64,
}

/// Starts subscribers, on every node by every door, which end when the run is over.
pub fn subscribe(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let mut running = Vec::new();
    for node in 0..shared.places.len() {
        for door in DOORS {
            let Some(place) = shared.place(node) else { continue };
            let subscriber = format!("{door:?} at {}", place.name);
            shared.heard.expect(&subscriber);
            shared.recorder.signal(&Signal::Subscribed {
                subscriber: subscriber.clone(),
            });
            let shared = Arc::clone(shared);
            running.push(tokio::spawn(async move {
                tokio::select! {
                    () = listen(&shared, door, node, &subscriber) => {}
                    () = shared.over() => {}
                }
            }));
        }
    }
    running
}

/// Subscribes for ever, over one connection after the other.
async fn listen(shared: &Shared, door: Door, node: usize, subscriber: &str) {
    loop {
        // Why it ended is seen by what is missed.
        let _ = match door {
            Door::Http => by_http(shared, node, subscriber).await,
            _ => by_client(shared, door, node, subscriber).await,
        };
        tokio::time::sleep(PAUSE).await;
    }
}

fn received(shared: &Shared, subscriber: &str, payload: &Payload) {
    shared.recorder.signal(&Signal::Received {
        subscriber: subscriber.to_owned(),
        number: payload.number,
    });
    shared.heard.note(subscriber, payload.at);
}

async fn by_http(shared: &Shared, node: usize, subscriber: &str) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Event {
        payload: Payload,
    }
    let place = shared.place(node).ok_or("there is no node")?;
    let connection = Connection::open(place.http(), &shared.token).await?;
    let path = format!("/v1/{DATABASE}/_subscribe?topic={TOPIC}");
    let mut lines = BufReader::new(connection.listen(&http::Request::get(path)).await?).lines();
    // A browser does the same when it is told so often that there is somebody.
    while let Some(line) = timeout(SILENCE, lines.next_line()).await?? {
        if let Some(data) = line.strip_prefix("data: ")
            && let Ok(event) = serde_json::from_str::<Event>(data)
        {
            received(shared, subscriber, &event.payload);
        }
    }
    Ok(())
}

/// The client goes on over another connection by itself; only when the node has another certificate it must be made anew.
async fn by_client(shared: &Shared, door: Door, node: usize, subscriber: &str) -> Result<(), Failure> {
    let place = shared.place(node).ok_or("there is no node")?;
    let address = place.quic();
    let database = remote::connect(shared, door, node).await?;
    let subscription = database.subscribe(&[TOPIC]).await?;
    loop {
        match timeout(SILENCE, subscription.receive()).await {
            Ok(Ok(message)) => received(shared, subscriber, &message.payload.read()?),
            Ok(Err(Error::Lagged(_))) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if place.quic() != address => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Publishes until the load is to end, at one node after the other and by one door after the other.
pub async fn publish(shared: Arc<Shared>) {
    let mut databases: Vec<Option<AsyncRemoteDatabase>> = Vec::new();
    databases.resize_with(shared.places.len() * DOORS.len(), || None);
    let mut number = 0;
    while !shared.is_ending() {
        for (place, database) in databases.iter_mut().enumerate() {
            let (node, door) = (place / DOORS.len(), DOORS.get(place % DOORS.len()).copied());
            let call = shared.recorder.now();
            let payload = Payload { number, at: call };
            let sent = async {
                match door {
                    None | Some(Door::Http) => by_post(&shared, node, &payload).await,
                    Some(door) => by_request(&shared, door, node, &payload, database).await,
                }
            };
            match timeout(PATIENCE, sent).await {
                Ok(Ok(())) => shared.recorder.signal(&Signal::Published {
                    number,
                    call,
                    end: shared.recorder.now(),
                }),
                // Nobody knows who has it, and it must not be sent again.
                Ok(Err(_)) | Err(_) => *database = None,
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn by_post(shared: &Shared, node: usize, payload: &Payload) -> Result<(), Failure> {
    let place = shared.place(node).ok_or("there is no node")?;
    let mut connection = Connection::open(place.http(), &shared.token).await?;
    let path = format!("/v1/{DATABASE}/_topics/{TOPIC}");
    let request = http::Request::post(path, serde_json::to_string(payload)?);
    match connection.ask(&request).await?.status {
        200..300 => Ok(()),
        status => Err(format!("{status}").into()),
    }
}

async fn by_request(
    shared: &Shared,
    door: Door,
    node: usize,
    payload: &Payload,
    database: &mut Option<AsyncRemoteDatabase>,
) -> Result<(), Failure> {
    let database = match database {
        Some(database) => database,
        None => database.insert(remote::connect(shared, door, node).await?),
    };
    let message = Message {
        topic: TOPIC.parse()?,
        payload: Body::of(payload)?,
    };
    database.execute(Request::Publish(message)).await?;
    Ok(())
}
