//! Questions that are answered by many messages, as by what subscribers get.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::NodeId;
use pliantdb_core::protocol::{LENGTH, Lane};
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::framing::Kind;
use crate::requests::{self, ANSWERED, MAX_REQUEST, REFUSED, RequestError};
use crate::shared::Shared;

/// So many bytes are read at once.
const CHUNK: usize = 64 << 10;

/// What a message begins with.
const MESSAGE: u8 = 0;
/// What the last begins with, that says that it ends as it should.
const END: u8 = 1;

/// Where the messages of an answer go.
#[derive(Debug, Clone)]
pub struct Outlet {
    messages: mpsc::Sender<Bytes>,
}

/// Why a message could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutletError {
    /// Nobody listens any more.
    #[error("whoever has asked does not listen any more")]
    Gone,
    /// It is larger than it may be.
    #[error("a message between nodes has {length} bytes, and {MAX_REQUEST} is the most")]
    TooLarge {
        /// How many bytes it has.
        length: usize,
    },
}

impl Outlet {
    /// Sends a message, when there is room for it: it waits for a listener who is slow.
    ///
    /// # Errors
    /// [`OutletError`].
    pub async fn send(&self, message: Bytes) -> Result<(), OutletError> {
        let length = message.len();
        if length > MAX_REQUEST {
            return Err(OutletError::TooLarge { length });
        }
        self.messages.send(message).await.map_err(|_| OutletError::Gone)
    }
}

/// The messages that answer a request. When it is dropped, the other node hears that nobody listens any more.
#[derive(Debug)]
pub struct Answers {
    node: NodeId,
    receive: RecvStream,
    lane: Lane,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Answers {
    /// Waits for the next message; `None` when there are no more. Nothing is lost when its future is dropped.
    ///
    /// # Errors
    /// [`RequestError::Unknown`], when they have ended otherwise than they should: as the connection was lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        let node = self.node;
        let lost = |reason: String| RequestError::Unknown { node, reason };
        while !self.has_ended {
            let message = self.lane.message().map_err(|error| lost(error.to_string()))?;
            match message.and_then(<[u8]>::split_first) {
                Some((&MESSAGE, message)) => return Ok(Some(Bytes::copy_from_slice(message))),
                Some((&END, _)) => {
                    self.has_ended = true;
                    break;
                }
                Some(_) => return Err(lost("a message has no kind that is known".to_owned())),
                None => {}
            }
            let chunk = self.receive.read_chunk(CHUNK, true).await;
            match chunk.map_err(|error| lost(error.to_string()))? {
                Some(chunk) => self.lane.arrived(&chunk.bytes),
                None => return Err(lost("it has broken off".to_owned())),
            }
        }
        Ok(None)
    }
}

/// Asks a node.
pub(crate) async fn ask(
    shared: &Shared,
    node: NodeId,
    request: Bytes,
    deadline: Duration,
) -> Result<Answers, RequestError> {
    let asked = ask_within(shared, node, request, Instant::now() + deadline).await;
    shared.counting.asked(asked.is_ok());
    asked
}

async fn ask_within(
    shared: &Shared,
    node: NodeId,
    request: Bytes,
    deadline: Instant,
) -> Result<Answers, RequestError> {
    let opened = requests::open(shared, node, request.len(), deadline, |remote| {
        &remote.stream_places
    })
    .await;
    let (place, mut send, mut receive) = opened?;
    let asking = async {
        requests::send_request(&mut send, Kind::Stream, request).await?;
        let mut status = [0];
        let read = receive.read_exact(&mut status).await;
        read.map_err(|error| error.to_string())?;
        if status != [REFUSED] {
            return Ok(None);
        }
        let reason = receive.read_to_end(CHUNK).await;
        let reason = reason.map_err(|error| error.to_string())?;
        Ok(Some(
            String::from_utf8_lossy(reason.get(LENGTH..).unwrap_or_default()).into_owned(),
        ))
    };
    let asked = tokio::time::timeout_at(deadline, asking).await;
    let asked = asked.unwrap_or_else(|_| Err("the deadline has passed".to_owned()));
    match asked.map_err(|reason| RequestError::Unknown { node, reason })? {
        Some(reason) => Err(RequestError::Refused { node, reason }),
        None => Ok(Answers {
            node,
            receive,
            lane: Lane::new(MAX_REQUEST + 1),
            has_ended: false,
            _place: place,
        }),
    }
}

/// Sends what answers a request, until it has ended or nobody listens.
pub(crate) async fn answer<F: Future<Output = ()>>(send: &mut SendStream, stream: impl FnOnce(Outlet) -> F) {
    let (outlet, mut messages) = mpsc::channel(1);
    let mut streaming = pin!(stream(Outlet { messages: outlet }));
    if send.write_all(&[ANSWERED]).await.is_err() {
        return;
    }
    let mut has_returned = false;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    if write(send, MESSAGE, message).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            () = &mut streaming, if !has_returned => has_returned = true,
            // Nobody listens any more.
            _ = send.stopped() => return,
        }
    }
    if write(send, END, Bytes::new()).await.is_ok() {
        requests::finish(send).await;
    }
}

async fn write(send: &mut SendStream, kind: u8, message: Bytes) -> Result<(), String> {
    let length = u32::try_from(message.len() + 1).map_err(|error| error.to_string())?;
    let head = Bytes::from([length.to_be_bytes().as_slice(), &[kind]].concat());
    let written = send.write_all_chunks(&mut [head, message]).await;
    written.map_err(|error| error.to_string())
}
