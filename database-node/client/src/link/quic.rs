//! QUIC.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::Error;
use pliantdb_core::protocol::{ALPN, LANE_MESSAGE, LENGTH, Lane, MAX_ANSWER, framed, length_of, prefix};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, Endpoint, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::attempts::first_of;
use super::{Link, Sending, WAITING, tls, unreachable};
use crate::address::Address;
use crate::options::Options;

/// How often the server is shown that the client is there. One that was killed and started again answers that with a reset,
/// so for no longer a client that only listens does not know that its connection is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long a connection lives without a sign of the server.
const IDLE: Duration = Duration::from_secs(30);
/// Large answers that arrive at once.
const LARGE_AT_ONCE: u32 = 64;
/// What the server may send on a stream before it is read.
const WINDOW: u32 = 8 << 20;

/// What arrives by QUIC.
pub(crate) struct Receive {
    connection: Connection,
    stream: RecvStream,
    lane: Lane,
    large: JoinSet<Result<Vec<u8>, String>>,
    /// Lives as long as its connection.
    _endpoint: Endpoint,
}

/// Connects.
///
/// # Errors
/// As [`super::connect`].
pub(super) async fn connect(address: &Address, options: &Options, sending: Sending) -> Result<Link, Error> {
    let tls = tls::config(address, options, ALPN)?;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(Error::invalid)?));
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LARGE_AT_ONCE))
        .stream_receive_window(VarInt::from_u32(WINDOW));
    config.transport_config(Arc::new(transport));
    let found = tokio::net::lookup_host((address.host_name(), address.port)).await;
    let found = found.map_err(|error| unreachable(address, error))?;
    let attempts = found.map(|to| connect_to(to, address.host_name(), config.clone()));
    let (endpoint, connection) = first_of(attempts)
        .await
        .map_err(|error| unreachable(address, error))?;
    open(address, endpoint, connection, sending).await
}

async fn connect_to(
    to: SocketAddr,
    host: &str,
    config: ClientConfig,
) -> Result<(Endpoint, Connection), String> {
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(from).map_err(|error| error.to_string())?;
    let connecting = endpoint
        .connect_with(config, to, host)
        .map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| error.to_string())?;
    Ok((endpoint, connection))
}

async fn open(
    address: &Address,
    endpoint: Endpoint,
    connection: Connection,
    sending: Sending,
) -> Result<Link, Error> {
    let (send, stream) = connection
        .open_bi()
        .await
        .map_err(|error| unreachable(address, error))?;
    let (out, outgoing) = mpsc::channel(WAITING);
    let writing = write(connection.clone(), send, outgoing);
    tokio::spawn(async move {
        writing.await;
        drop(sending);
    });
    let receive = Receive {
        connection,
        stream,
        lane: Lane::new(MAX_ANSWER),
        large: JoinSet::new(),
        _endpoint: endpoint,
    };
    Ok(Link {
        send: out,
        receive: super::Receive::Quic(Box::new(receive)),
    })
}

impl Receive {
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(message) = self.lane.message().map_err(|error| error.to_string())? {
                return Ok(message.to_vec());
            }
            tokio::select! {
                chunk = self.stream.read_chunk(WINDOW as usize, true) => match chunk {
                    Ok(Some(chunk)) => self.lane.arrived(&chunk.bytes),
                    Ok(None) if self.large.is_empty() => return Err(self.why()),
                    Ok(None) => {}
                    Err(_) => return Err(self.why()),
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => drop(self.large.spawn(read_alone(stream))),
                    Err(error) => return Err(error.to_string()),
                },
                Some(message) = self.large.join_next(), if !self.large.is_empty() => match message {
                    Ok(Ok(message)) => return Ok(message),
                    Ok(Err(error)) => return Err(error),
                    Err(error) => return Err(error.to_string()),
                },
            }
        }
    }

    fn why(&self) -> String {
        match self.connection.close_reason() {
            Some(reason) => reason.to_string(),
            None => "the server ended the connection".to_owned(),
        }
    }
}

/// Sends what is queued, as much at once as there is, until it is to end or nothing can be queued any more.
async fn write(connection: Connection, mut lane: SendStream, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    let (mut waiting, mut bytes) = (Vec::new(), Vec::new());
    let (mut large, mut is_ending) = (JoinSet::new(), false);
    while !is_ending && outgoing.recv_many(&mut waiting, 64).await > 0 {
        for message in waiting.drain(..) {
            is_ending |= message.is_empty();
            if is_ending {
                break;
            }
            if message.len() > LANE_MESSAGE {
                large.spawn(write_alone(connection.clone(), message));
            } else if framed(&message, &mut bytes).is_err() {
                return;
            }
        }
        if lane.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
        while large.try_join_next().is_some() {}
    }
    while large.join_next().await.is_some() {}
    let _ = lane.finish();
    // Until then what was sent last may be lost.
    let _ = tokio::time::timeout(Duration::from_secs(1), lane.stopped()).await;
    connection.close(VarInt::from_u32(0), b"");
}

/// Reads a message that has a stream of its own.
async fn read_alone(mut stream: RecvStream) -> Result<Vec<u8>, String> {
    let mut length = [0; LENGTH];
    stream
        .read_exact(&mut length)
        .await
        .map_err(|error| error.to_string())?;
    let mut message = vec![0; length_of(length, MAX_ANSWER).map_err(|error| error.to_string())?];
    stream
        .read_exact(&mut message)
        .await
        .map_err(|error| error.to_string())?;
    Ok(message)
}

async fn write_alone(connection: Connection, message: Vec<u8>) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&prefix(&message).ok()?).await.ok()?;
    stream.write_all(&message).await.ok()?;
    stream.finish().ok()
}
