//! The QUIC door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::protocol::{
    ALPN, LANE_MESSAGE, LENGTH, Lane, MAX_HELLO, encode, framed, length_of, prefix,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, SendStream, ServerConfig,
    TransportConfig, VarInt,
};
use quinn_proto::RandomConnectionIdGenerator;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::app::App;
use crate::certificate::{self, Certificate};
use crate::conversation::{self, Conversation, Outgoing};
use crate::metrics::Door;
use crate::request_memory::Reserved;

/// Messages of a client that are too large for its lane and arrive at once.
const LARGE_AT_ONCE: u32 = 16;

/// What a client may send on its lane before it is read.
const LANE_WINDOW: u32 = 1 << 20;

/// What a client may send before it is known, in bytes.
const HELLO_WINDOW: u32 = 64 << 10;

/// What a connection with nothing to send keeps for what is sent next, in bytes.
const IDLE_BUFFER: usize = 4 << 10;

/// How long a connection lives without a sign of its client, who is to give one every few seconds.
const IDLE: Duration = Duration::from_secs(30);

/// The bytes of a connection's id, all of them random.
const CONNECTION_ID: usize = 12;

/// How long a client has to take the last of what it is sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a connection is closed; clients show the text beside it.
mod code {
    /// It has ended as it should.
    pub(super) const DONE: u32 = 0;
    /// The client has said what it must not.
    pub(super) const REFUSED: u32 = 1;
    /// The client is too slow.
    pub(super) const SLOW: u32 = 2;
}

/// What the door allows its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// How long a client may take to say who it is.
    pub(crate) hello_timeout: Duration,
    /// How long an answer may wait for a client that does not read it, and a message for the rest of it.
    pub(crate) send_timeout: Duration,
}

/// Opens the socket.
///
/// # Errors
/// Why it cannot be opened.
pub(crate) fn bind(address: SocketAddr, certificate: &Certificate) -> Result<Endpoint, std::io::Error> {
    let socket = std::net::UdpSocket::bind(address)?;
    let tls = certificate::tls(certificate, &[ALPN], false).map_err(other)?;
    let tls = QuicServerConfig::try_from(tls).map_err(other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    // The same after a restart, so that clients of the server before learn at once that their connections are gone
    // (RFC 9000, section 10.3).
    let reset = certificate.secret("stateless reset");
    let reset = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &reset);
    let mut endpoint = EndpointConfig::new(Arc::new(reset));
    // Any id is answered with a reset, for ids of a server before are not to be told from nonsense. They are long enough
    // that an id made for a connection that is sent to come again (Retry), which nothing checks, is never that of another:
    // with quinn's own, of 24 random bits, one in some hundred is, once there are thousands.
    endpoint.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID)));
    Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        // More when it is known who the client is.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(HELLO_WINDOW))
        .stream_receive_window(VarInt::from_u32(LANE_WINDOW))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok());
    transport
}

fn other(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// Serves connections until `stop` is cancelled; then accepts no more, answers what was asked, and returns when all are
/// closed.
pub(crate) async fn serve(endpoint: Endpoint, app: Arc<App>, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            app.metrics.refused(Door::Quic);
            incoming.refuse();
            continue;
        };
        // When many come, each must show first that its address is its own.
        if places.available_permits() < limits.connections / 2 && !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%error, "a client could not be asked to come again");
            }
            continue;
        }
        connections.spawn(connection(
            incoming,
            place,
            Arc::clone(&app),
            limits,
            stop.clone(),
        ));
    }
    while connections.join_next().await.is_some() {}
    endpoint.close(VarInt::from_u32(code::DONE), b"the server has stopped");
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
}

/// Serves one connection. What is held while it is idle is small: greeting it and taking what it sends are put aside.
fn connection(
    incoming: Incoming,
    place: OwnedSemaphorePermit,
    app: Arc<App>,
    limits: Limits,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let peer = incoming.remote_address();
    let greeting = greet(incoming, peer, Arc::clone(&app));
    let greeting = Box::pin(tokio::time::timeout(limits.hello_timeout, greeting));
    async move {
        match greeting.await {
            Ok(Ok(greeted)) => converse(greeted, peer, &app, limits, stop).await,
            Ok(Err(error)) => tracing::debug!(%peer, error, "a connection ended early"),
            Err(_) => tracing::debug!(%peer, "a client did not say who it is in time"),
        }
        drop(place);
    }
}

/// A connection whose client is known.
struct Greeted {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    lane: Lane,
    caller: Caller,
}

/// Takes a client's first message and answers it.
async fn greet(incoming: Incoming, peer: SocketAddr, app: Arc<App>) -> Result<Greeted, String> {
    let connection = incoming.await.map_err(|error| error.to_string())?;
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let mut lane = Lane::new(MAX_HELLO);
    let hello = match next(&mut lane, &mut receive).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return Err("the client left".to_owned()),
        Err(error) => {
            connection.close(VarInt::from_u32(code::REFUSED), error.as_bytes());
            return Err(error);
        }
    };
    let (greeting, caller) = conversation::greet(&app, peer, &hello).await;
    let mut bytes = Vec::new();
    let framed = encode(&greeting).map(|greeting| framed(&greeting, &mut bytes));
    if let (Ok(Ok(())), Err(error)) = (framed, send.write_all(&bytes).await) {
        return Err(error.to_string());
    }
    let Some(caller) = caller else {
        let _ = send.finish();
        let _ = tokio::time::timeout(FAREWELL, connection.closed()).await;
        return Err("the client was refused".to_owned());
    };
    Ok(Greeted {
        connection,
        send,
        receive,
        lane,
        caller,
    })
}

/// Serves a client that is known, until it leaves or the server stops.
async fn converse(
    greeted: Greeted,
    peer: SocketAddr,
    app: &Arc<App>,
    limits: Limits,
    stop: CancellationToken,
) {
    let Greeted {
        connection,
        send,
        receive,
        mut lane,
        caller,
    } = greeted;
    lane.allow(app.max_body_size.min(LANE_MESSAGE));
    connection.set_receive_window(VarInt::from_u32(4 * LANE_WINDOW));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(LARGE_AT_ONCE));
    let _open = app.metrics.connection_opens(Door::Quic);
    let (out, outgoing) = mpsc::channel(32);
    let conversation = Conversation::new(Arc::clone(app), caller, Door::Quic, out.clone());
    let writer = tokio::spawn(write(connection.clone(), send, outgoing, limits.send_timeout));
    let (code, reason) = match hear(&connection, receive, lane, &conversation, app, limits, stop).await {
        Ok(true) => {
            conversation::leave(&out).await;
            conversation.finish().await;
            (code::DONE, "the server stops".to_owned())
        }
        Ok(false) => (code::DONE, String::new()),
        Err(reason) => {
            tracing::debug!(%peer, reason, "a connection is closed");
            (code::REFUSED, reason)
        }
    };
    drop((conversation, out));
    // All that was to be sent is, or the client does not take it.
    let _ = writer.await;
    if code == code::DONE && connection.close_reason().is_none() {
        let _ = tokio::time::timeout(FAREWELL, connection.closed()).await;
    }
    connection.close(VarInt::from_u32(code), reason.as_bytes());
}

/// Hands what arrives to the conversation: whether it ended because the server stops.
async fn hear(
    connection: &Connection,
    mut receive: RecvStream,
    mut lane: Lane,
    conversation: &Conversation,
    app: &Arc<App>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<bool, String> {
    let mut large = JoinSet::new();
    loop {
        tokio::select! {
            chunk = receive.read_chunk(LANE_WINDOW as usize, true) => match chunk {
                Ok(Some(chunk)) => {
                    lane.arrived(&chunk.bytes);
                    Box::pin(take_all(&mut lane, conversation)).await?;
                }
                // What is in flight is nobody's any more.
                Ok(None) => return Ok(false),
                Err(error) => {
                    tracing::debug!(%error, "a client is gone");
                    return Ok(false);
                }
            },
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    large.spawn(read_alone(stream, Arc::clone(app), limits.send_timeout));
                }
                Err(_) => return Ok(false),
            },
            Some(message) = large.join_next(), if !large.is_empty() => {
                if let Ok(message) = message
                    && let Some((message, memory)) = message?
                {
                    // Two that hold some must not wait for each other's.
                    drop(memory);
                    Box::pin(conversation.take(&message)).await.map_err(|error| error.to_string())?;
                }
            },
            () = stop.cancelled() => return Ok(true),
        }
    }
}

/// Reads a message that has a stream of its own; `None` when it does not come. There is memory for it before it is read: a
/// client that sends more than there is room for waits.
async fn read_alone(
    mut stream: RecvStream,
    app: Arc<App>,
    send_timeout: Duration,
) -> Result<Option<(Vec<u8>, Reserved)>, String> {
    let late = |_| "a message did not arrive in time".to_owned();
    let mut length = [0; LENGTH];
    let reading = stream.read_exact(&mut length);
    // When it fails, the client has thought better of it, or is gone.
    if tokio::time::timeout(send_timeout, reading)
        .await
        .map_err(late)?
        .is_err()
    {
        return Ok(None);
    }
    let length = length_of(length, app.max_body_size).map_err(|error| error.to_string())?;
    let memory = app
        .wait_for_memory(length, 1)
        .await
        .map_err(|error| error.to_string())?;
    let mut message = vec![0; length];
    let reading = stream.read_exact(&mut message);
    let read = tokio::time::timeout(send_timeout, reading).await.map_err(late)?;
    Ok(read.ok().map(|()| (message, memory)))
}

/// Hands the messages that have arrived to the conversation.
async fn take_all(lane: &mut Lane, conversation: &Conversation) -> Result<(), String> {
    while let Some(message) = lane.message().map_err(|error| error.to_string())? {
        conversation
            .take(message)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The next message of a lane.
async fn next(lane: &mut Lane, receive: &mut RecvStream) -> Result<Option<Vec<u8>>, String> {
    loop {
        if let Some(message) = lane.message().map_err(|error| error.to_string())? {
            return Ok(Some(message.to_vec()));
        }
        let chunk = receive
            .read_chunk(MAX_HELLO, true)
            .await
            .map_err(|error| error.to_string())?;
        match chunk {
            Some(chunk) => lane.arrived(&chunk.bytes),
            None => return Ok(None),
        }
    }
}

/// Sends what is queued, as much at once as there is, until nothing can be queued any more.
async fn write(
    connection: Connection,
    mut lane: SendStream,
    mut outgoing: mpsc::Receiver<Box<Outgoing>>,
    send_timeout: Duration,
) {
    let (mut waiting, mut bytes) = (Vec::new(), Vec::new());
    let mut large = JoinSet::new();
    while outgoing.recv_many(&mut waiting, 32).await > 0 {
        let mut held = Vec::new();
        for message in waiting.drain(..) {
            if message.bytes.len() > LANE_MESSAGE && !message.is_ordered {
                large.spawn(write_alone(connection.clone(), message, send_timeout));
            } else if framed(&message.bytes, &mut bytes).is_ok() {
                held.push(message);
            }
        }
        match tokio::time::timeout(send_timeout, lane.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return connection.close(VarInt::from_u32(code::SLOW), b"the client does not read"),
        }
        bytes.clear();
        // What one burst took must not be held for as long as the connection lives.
        bytes.shrink_to(match outgoing.is_empty() {
            true => IDLE_BUFFER,
            false => 2 * LANE_MESSAGE,
        });
        drop(held);
        while large.try_join_next().is_some() {}
    }
    while large.join_next().await.is_some() {}
    let _ = lane.finish();
}

async fn write_alone(connection: Connection, message: Box<Outgoing>, send_timeout: Duration) {
    let sent = tokio::time::timeout(send_timeout, async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(&prefix(&message.bytes).ok()?).await.ok()?;
        stream.write_all(&message.bytes).await.ok()?;
        stream.finish().ok()?;
        // Until then the bytes are in memory.
        stream.stopped().await.ok()
    });
    if sent.await.is_err() {
        connection.close(VarInt::from_u32(code::SLOW), b"the client does not read");
    }
}
