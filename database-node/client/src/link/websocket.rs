//! WebSocket.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use pliantdb_core::Error;
use pliantdb_core::protocol::{MAX_ANSWER, WEBSOCKET_PROTOCOL};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::attempts::first_of;
use super::{Link, Sending, WAITING, tls, unreachable};
use crate::address::{Address, Transport};
use crate::options::Options;

/// How often the server is shown that the client is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a connection lives without a sign of the server.
const IDLE: Duration = Duration::from_secs(30);

/// With TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// What arrives by WebSocket.
pub(crate) struct Receive(SplitStream<Socket>);

/// Connects.
///
/// # Errors
/// As [`super::connect`].
pub(super) async fn connect(address: &Address, options: &Options, sending: Sending) -> Result<Link, Error> {
    let failed = |reason: &dyn std::fmt::Display| unreachable(address, reason);
    let found = tokio::net::lookup_host((address.host_name(), address.port)).await;
    let attempts = found
        .map_err(|error| failed(&error))?
        .map(async |to| TcpStream::connect(to).await.map_err(|error| error.to_string()));
    let stream = first_of(attempts).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let (stream, scheme): (Box<dyn Stream>, _) = match address.transport {
        Transport::WebSocketTls => {
            let tls = TlsConnector::from(Arc::new(tls::config(address, options, b"http/1.1")?));
            let name =
                ServerName::try_from(address.host_name().to_owned()).map_err(|error| failed(&error))?;
            let stream = tls.connect(name, stream).await.map_err(|error| failed(&error))?;
            (Box::new(stream), "wss")
        }
        Transport::WebSocket | Transport::Quic => (Box::new(stream), "ws"),
    };
    let url = format!("{scheme}://{}:{}{}", address.host, address.port, address.path);
    let mut request = url.into_client_request().map_err(Error::invalid)?;
    let protocol = HeaderValue::from_static(WEBSOCKET_PROTOCOL);
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_ANSWER))
        .max_frame_size(Some(MAX_ANSWER));
    let (socket, _) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|error| failed(&error))?;
    let (sink, stream) = socket.split();
    let (send, outgoing) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        write(sink, outgoing).await;
        drop(sending);
    });
    Ok(Link {
        send,
        receive: super::Receive::WebSocket(Box::new(Receive(stream))),
    })
}

impl Receive {
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, String> {
        loop {
            match tokio::time::timeout(IDLE, self.0.next()).await {
                Ok(Some(Ok(Message::Binary(message)))) => return Ok(message.into()),
                Ok(Some(Ok(Message::Close(Some(frame))))) => {
                    return Err(format!(
                        "closed by the server: {} (code {})",
                        frame.reason, frame.code
                    ));
                }
                Ok(Some(Ok(Message::Close(None))) | None) => {
                    return Err("the server ended the connection".to_owned());
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Err(_) => return Err("the server gave no sign of life".to_owned()),
            }
        }
    }
}

/// Sends what is queued until it is to end or nothing can be queued any more, then closes.
async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    let (mut waiting, mut is_ending) = (Vec::new(), false);
    while !is_ending {
        let sent = match tokio::time::timeout(KEEP_ALIVE, outgoing.recv_many(&mut waiting, 64)).await {
            Ok(0) => break,
            Ok(_) => {
                let mut fed = Ok(());
                for message in waiting.drain(..) {
                    is_ending |= message.is_empty();
                    if is_ending {
                        break;
                    }
                    fed = sink.feed(Message::Binary(Bytes::from(message))).await;
                    if fed.is_err() {
                        break;
                    }
                }
                match fed {
                    Ok(()) => sink.flush().await,
                    failed => failed,
                }
            }
            Err(_) => sink.send(Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.close()).await;
}
