//! Questions of one node to another, beside the envelopes: each has a stream of its own, and one answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_core::protocol::{LENGTH, length_of, prefix};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::codes::Code;
use crate::framing::{self, Kind};
use crate::hooks;
use crate::receiving::Fault;
use crate::remote::Remote;
use crate::shared::Shared;
use crate::streaming;

/// The most bytes of a request, and of an answer.
pub const MAX_REQUEST: usize = 32 << 20;
/// So many bytes of a request need no memory that others may have taken: a stream for each is bound enough.
const SMALL: usize = 16 << 10;
/// How long a request may wait for memory, and take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an answer begins with.
pub(crate) const ANSWERED: u8 = 0;
pub(crate) const REFUSED: u8 = 1;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is larger than it may be. It was not done.
    #[error("a request between nodes has {length} bytes, and {MAX_REQUEST} is the most")]
    TooLarge {
        /// How many bytes it has.
        length: usize,
    },
    /// The answer is larger than it may be. It was done.
    #[error("the answer of node {node} has {length} bytes, and {MAX_REQUEST} is the most between nodes")]
    AnswerTooLarge {
        /// Which node.
        node: NodeId,
        /// How many bytes its answer has.
        length: usize,
    },
    /// Nobody has said where the node is. It was not done.
    #[error("it is not known where node {0} is")]
    UnknownNode(NodeId),
    /// There is no connection to the node. It was not done.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// Why not.
        reason: String,
    },
    /// The deadline has passed before it was sent: too many others were under way, or there was no connection. It was not
    /// done.
    #[error("node {0} could not be asked in time")]
    NotAsked(NodeId),
    /// The node refuses it. It was not done.
    #[error("node {node} refuses the request: {reason}")]
    Refused {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The deadline has passed or the connection was lost while the node had it: whether it was done is not known.
    #[error("node {node} has not answered: {reason}; whether it has done what was asked is not known")]
    Unknown {
        /// Which node.
        node: NodeId,
        /// Why not.
        reason: String,
    },
}

/// Asks a node, and waits for the answer until the deadline.
pub(crate) async fn ask(
    shared: &Shared,
    node: NodeId,
    request: Bytes,
    deadline: Duration,
    places: fn(&Remote) -> &Arc<Semaphore>,
) -> Result<Bytes, RequestError> {
    let answered = ask_within(shared, node, request, deadline, places).await;
    shared.counting.asked(answered.is_ok());
    answered
}

async fn ask_within(
    shared: &Shared,
    node: NodeId,
    request: Bytes,
    deadline: Duration,
    places: fn(&Remote) -> &Arc<Semaphore>,
) -> Result<Bytes, RequestError> {
    let deadline = Instant::now() + deadline;
    let opened = open(shared, node, request.len(), deadline, places).await;
    let (_place, send, receive) = opened?;
    let unknown = |reason: String| RequestError::Unknown { node, reason };
    // When this is dropped, so are the streams, and whoever answers hears that nobody waits.
    let exchanged = tokio::time::timeout_at(deadline, exchange(send, receive, request)).await;
    let exchanged = exchanged.unwrap_or_else(|_| Err("the deadline has passed".to_owned()));
    match exchanged.map_err(unknown)? {
        Answer::Given(answer) => Ok(answer),
        Answer::Refused(reason) => Err(RequestError::Refused { node, reason }),
        Answer::TooLarge(length) => Err(RequestError::AnswerTooLarge { node, length }),
    }
}

/// A place, and streams to a node.
pub(crate) async fn open(
    shared: &Shared,
    node: NodeId,
    length: usize,
    deadline: Instant,
    places: fn(&Remote) -> &Arc<Semaphore>,
) -> Result<(OwnedSemaphorePermit, SendStream, RecvStream), RequestError> {
    if length > MAX_REQUEST {
        return Err(RequestError::TooLarge { length });
    }
    let remote = shared.remote(node).ok_or(RequestError::UnknownNode(node))?;
    let unreachable = |reason: String| RequestError::Unreachable { node, reason };
    let opening = async {
        let place = Arc::clone(places(&remote)).acquire_owned().await;
        let place = place.map_err(|_| unreachable("this node stops".to_owned()))?;
        let connection = connected(&remote).await.map_err(unreachable)?;
        let streams = connection.open_bi().await;
        let (send, receive) = streams.map_err(|error| unreachable(error.to_string()))?;
        Ok((place, send, receive))
    };
    let opened = tokio::time::timeout_at(deadline, opening).await;
    opened.unwrap_or(Err(RequestError::NotAsked(node)))
}

/// Sends a request.
pub(crate) async fn send_request(send: &mut SendStream, kind: Kind, request: Bytes) -> Result<(), String> {
    let length = prefix(&request).map_err(|error| error.to_string())?;
    let head = Bytes::from([&[kind as u8], length.as_slice()].concat());
    let written = send.write_all_chunks(&mut [head, request]).await;
    // Whoever refuses it says why, and reads no further.
    if written.is_ok() {
        let _ = send.finish();
    }
    Ok(())
}

enum Answer {
    Given(Bytes),
    Refused(String),
    TooLarge(usize),
}

/// The connection to a node. One that is not there is waited for, and its failure is what there is to tell.
async fn connected(remote: &Remote) -> Result<Connection, String> {
    let mut link = remote.link.subscribe();
    let failures = link.borrow().failures;
    remote.wanted.notify_one();
    loop {
        {
            let link = link.borrow_and_update();
            let open = link.connection.as_ref();
            if let Some(connection) = open.filter(|connection| connection.close_reason().is_none()) {
                return Ok(connection.clone());
            }
            if link.failures != failures {
                return Err(link.reason.clone());
            }
        }
        tokio::select! {
            changed = link.changed() => changed.map_err(|_| "this node stops".to_owned())?,
            () = remote.stop.cancelled() => return Err("it is no node of the cluster any more, or this one stops".to_owned()),
        }
    }
}

async fn exchange(mut send: SendStream, mut receive: RecvStream, request: Bytes) -> Result<Answer, String> {
    send_request(&mut send, Kind::Request, request).await?;
    let mut head = [0; 1 + LENGTH];
    let read = receive.read_exact(&mut head).await;
    read.map_err(|error| error.to_string())?;
    let [status, length @ ..] = head;
    let length = match length_of(length, MAX_REQUEST) {
        Ok(length) => length,
        Err(too_long) => return Ok(Answer::TooLarge(too_long.length)),
    };
    let bytes = framing::read_exactly(&mut receive, length).await?;
    match status {
        ANSWERED => Ok(Answer::Given(bytes.into())),
        _ => Ok(Answer::Refused(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// Answers a request of another node.
pub(crate) async fn answer(
    shared: &Shared,
    from: NodeId,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), Fault> {
    let mut head = [0; 1 + LENGTH];
    let read = tokio::time::timeout(PATIENCE, receive.read_exact(&mut head)).await;
    if !matches!(read, Ok(Ok(()))) {
        return Ok(());
    }
    let [kind, length @ ..] = head;
    let hooks = shared.hooks.get();
    let answers = match kind {
        kind if kind == Kind::Request as u8 => hooks.and_then(|hooks| hooks.answer.clone()).map(Answers::One),
        kind if kind == Kind::Stream as u8 => hooks.and_then(|hooks| hooks.stream.clone()).map(Answers::Many),
        kind => return Err((Code::Malformed, format!("there is no request of kind {kind}"))),
    };
    let length = match length_of(length, MAX_REQUEST) {
        Ok(length) => length,
        Err(error) => return refuse(&mut send, &error.to_string()).await,
    };
    let Some(answers) = answers else {
        return refuse(&mut send, "it answers no such requests").await;
    };
    // There is memory for it before it is read. While there is none, nothing but requests waits.
    let kib = if length > SMALL { (length >> 10) + 1 } else { 0 };
    let kib = u32::try_from(kib.min(shared.options.max_request_memory >> 10)).unwrap_or(u32::MAX);
    let reading = async {
        let memory = shared.request_memory.acquire_many(kib).await.ok()?;
        let request = framing::read_exactly(&mut receive, length).await.ok()?;
        Some((memory, request))
    };
    // Whoever has asked has given up by then.
    let Ok(Some((memory, request))) = tokio::time::timeout(PATIENCE, reading).await else {
        return Ok(());
    };
    match answers {
        Answers::One(answer) => {
            let answered = tokio::select! {
                answered = answer(from, request.into()) => answered,
                // Nobody waits for it any more.
                _ = send.stopped() => return Ok(()),
            };
            drop(memory);
            shared.counting.answered();
            give(&mut send, answered).await;
        }
        Answers::Many(stream) => {
            drop(memory);
            shared.counting.answered();
            streaming::answer(&mut send, |outlet| stream(from, request.into(), outlet)).await;
        }
    }
    Ok(())
}

/// Who answers a request.
enum Answers {
    One(Arc<hooks::Answer>),
    Many(Arc<hooks::Stream>),
}

/// Sends an answer; of one that is too large only its length, from which whoever has asked knows it.
async fn give(send: &mut SendStream, answer: Bytes) {
    let length = u32::try_from(answer.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = Bytes::from([&[ANSWERED], length.as_slice()].concat());
    let body = match answer.len() <= MAX_REQUEST {
        true => answer,
        false => Bytes::new(),
    };
    if send.write_all_chunks(&mut [head, body]).await.is_ok() {
        finish(send).await;
    }
}

async fn refuse(send: &mut SendStream, reason: &str) -> Result<(), Fault> {
    let Ok(length) = prefix(reason.as_bytes()) else {
        return Ok(());
    };
    let whole = [&[REFUSED], length.as_slice(), reason.as_bytes()].concat();
    if send.write_all(&whole).await.is_ok() {
        finish(send).await;
    }
    Ok(())
}

pub(crate) async fn finish(send: &mut SendStream) {
    let _ = send.finish();
    // Until then it counts as under way.
    let _ = send.stopped().await;
}
