//! WebSocket in browsers, which have it themselves.

use futures::{SinkExt, StreamExt};
use pliantdb_core::Error;
use pliantdb_core::protocol::WEBSOCKET_PROTOCOL;
use tokio::sync::{mpsc, oneshot};
use ws_stream_wasm::{WsMessage, WsMeta};

use super::{Link, WAITING, unreachable};
use crate::address::{Address, Transport};
use crate::runtime::spawn;

/// What arrives. The socket itself belongs to the browser's one thread, so tasks of that hand the messages over.
pub(crate) struct Receive(mpsc::Receiver<Vec<u8>>);

impl Receive {
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, String> {
        self.0
            .recv()
            .await
            .ok_or_else(|| "the connection ended".to_owned())
    }
}

/// Connects.
///
/// # Errors
/// [`Error::Unreachable`].
pub(super) async fn connect(address: &Address) -> Result<Link, Error> {
    let scheme = match address.transport {
        Transport::WebSocket => "ws",
        Transport::WebSocketTls | Transport::Quic => "wss",
    };
    let url = format!("{scheme}://{}:{}{}", address.host, address.port, address.path);
    let (send, mut outgoing) = mpsc::channel::<Vec<u8>>(WAITING);
    let (arrived, receive) = mpsc::channel(WAITING);
    let (connected, is_connected) = oneshot::channel();
    spawn(async move {
        let socket = match WsMeta::connect(&url, vec![WEBSOCKET_PROTOCOL]).await {
            Ok((_, socket)) => socket,
            Err(error) => return drop(connected.send(Err(error.to_string()))),
        };
        let _ = connected.send(Ok(()));
        let (mut sink, mut stream) = socket.split();
        spawn(async move {
            while let Some(message) = outgoing.recv().await
                && !message.is_empty()
            {
                if sink.send(WsMessage::Binary(message)).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        });
        while let Some(message) = stream.next().await {
            if let WsMessage::Binary(message) = message
                && arrived.send(message).await.is_err()
            {
                return;
            }
        }
    });
    match is_connected.await {
        Ok(Ok(())) => Ok(Link {
            send,
            receive: super::Receive::Browser(Receive(receive)),
        }),
        Ok(Err(reason)) => Err(unreachable(address, reason)),
        Err(_) => Err(unreachable(address, "the browser gave it up")),
    }
}
