//! The WebSocket door.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use pliantdb_core::protocol::{MAX_HELLO, WEBSOCKET_PROTOCOL, encode};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::allowance::Allowance;
use crate::app::App;
use crate::connections::Peer;
use crate::conversation::{self, Conversation, Outgoing};
use crate::http::Problem;
use crate::metrics::Door;

/// How often a sign of life is asked for.
const PING: Duration = Duration::from_secs(10);

/// How long a connection lives without a sign of its client.
const IDLE: Duration = Duration::from_secs(30);

/// How long a client has to take the last of what it is sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// The longest frame, in bytes; messages may be of several.
const MAX_FRAME: usize = 16 << 20;

/// What is read at once, in bytes: each connection has that much memory.
const READ_BUFFER: usize = 16 << 10;

/// What a client may send before it is known, in bytes: its first message, with what TLS and frames add to it. What else
/// it has sent already waits.
const HELLO_BYTES: usize = 4 * MAX_HELLO;

/// `GET /v1/_websocket`
pub(crate) async fn upgrade(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    allowance: Option<Extension<Allowance>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let peer = peer.map_or(Peer::UNKNOWN, |Extension(peer)| peer);
    let most = app.max_body_size.max(MAX_HELLO);
    let allowance = allowance.map_or_else(Allowance::default, |Extension(allowance)| allowance);
    let Some(here) = app.websockets.open() else {
        app.metrics.refused(Door::WebSocket);
        let detail = "there are as many connections as there may be; try again in a moment, or another node";
        return Problem::busy(detail).into_response();
    };
    upgrade
        .protocols([WEBSOCKET_PROTOCOL])
        .max_message_size(most)
        .max_frame_size(most.min(MAX_FRAME))
        .read_buffer_size(READ_BUFFER)
        .on_failed_upgrade(|error| tracing::debug!(%error, "a connection could not become a WebSocket"))
        .on_upgrade(move |socket| async move {
            connection(socket, peer.0, &app, &allowance).await;
            drop(here);
        })
}

async fn connection(mut socket: WebSocket, peer: SocketAddr, app: &Arc<App>, allowance: &Allowance) {
    // The socket itself would take a first message as long as any.
    allowance.limit(HELLO_BYTES);
    let hello = match tokio::time::timeout(app.header_timeout, socket.recv()).await {
        Ok(Some(Ok(Message::Binary(hello)))) => hello,
        Ok(Some(Ok(_))) => {
            return close(
                socket,
                close_code::PROTOCOL,
                "the first message must be a binary one",
            )
            .await;
        }
        Ok(_) => return,
        Err(_) => {
            return close(
                socket,
                close_code::POLICY,
                "the client did not say who it is in time",
            )
            .await;
        }
    };
    let (greeting, caller) = conversation::greet(app, peer, &hello).await;
    let Ok(greeting) = encode(&greeting) else { return };
    if socket.send(Message::Binary(greeting.into())).await.is_err() {
        return;
    }
    let Some(caller) = caller else {
        return close(socket, close_code::POLICY, "the client was refused").await;
    };
    allowance.lift();
    let _open = app.metrics.connection_opens(Door::WebSocket);
    let (sink, stream) = socket.split();
    let (out, outgoing) = mpsc::channel(32);
    let conversation = Conversation::new(Arc::clone(app), caller, Door::WebSocket, out.clone());
    let (end, ended) = watch::channel(None);
    let mut writer = tokio::spawn(write(sink, outgoing, ended, app.request_timeout));
    // A client that does not read is cut off by the writer.
    let heard = tokio::select! {
        heard = hear(stream, &conversation, app.websockets.stopped()) => heard,
        _ = &mut writer => return,
    };
    let farewell = match heard {
        Ok(ControlFlow::Break(())) => None,
        Ok(ControlFlow::Continue(())) => {
            conversation::leave(&out).await;
            conversation.finish().await;
            Some((close_code::AWAY, "the server stops".to_owned()))
        }
        Err(reason) => {
            tracing::debug!(%peer, reason, "a connection is closed");
            Some((close_code::PROTOCOL, reason))
        }
    };
    let _ = end.send(farewell);
    drop((conversation, out));
    let _ = writer.await;
}

/// Hands what arrives to the conversation. Breaks when the client is gone, and continues when the server stops.
async fn hear(
    mut stream: SplitStream<WebSocket>,
    conversation: &Conversation,
    stop: CancellationToken,
) -> Result<ControlFlow<()>, String> {
    loop {
        let message = tokio::select! {
            message = tokio::time::timeout(IDLE, stream.next()) => message,
            () = stop.cancelled() => return Ok(ControlFlow::Continue(())),
        };
        match message {
            Ok(Some(Ok(Message::Binary(message)))) => {
                conversation
                    .take(&message)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok(Some(Ok(Message::Text(_)))) => {
                return Err("messages are binary ones, and this one is a text".to_owned());
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Close(_))) | None) => return Ok(ControlFlow::Break(())),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Err(_) => return Err("the client gave no sign of life".to_owned()),
        }
    }
}

/// Why a connection is closed.
type Farewell = Option<(u16, String)>;

/// Sends what is queued until nothing can be queued any more, then closes.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut outgoing: mpsc::Receiver<Box<Outgoing>>,
    ended: watch::Receiver<Farewell>,
    send_timeout: Duration,
) {
    let (mut waiting, mut next_ping) = (Vec::new(), Instant::now() + PING);
    loop {
        let came = tokio::time::timeout_at(next_ping, outgoing.recv_many(&mut waiting, 32)).await;
        let sending = async {
            match came {
                Ok(0) => return Ok(ControlFlow::Break(())),
                Ok(_) => {
                    for message in &mut waiting {
                        let bytes = Bytes::from(std::mem::take(&mut message.bytes));
                        sink.feed(Message::Binary(bytes)).await?;
                    }
                }
                Err(_) => {
                    next_ping = Instant::now() + PING;
                    sink.feed(Message::Ping(Bytes::new())).await?;
                }
            }
            sink.flush().await.map(|()| ControlFlow::Continue(()))
        };
        match tokio::time::timeout(send_timeout, sending).await {
            Ok(Ok(ControlFlow::Continue(()))) => waiting.clear(),
            Ok(Ok(ControlFlow::Break(()))) => break,
            // Gone, or it does not read.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let farewell = ended.borrow().clone();
    let frame = farewell.map(|(code, reason)| CloseFrame {
        code,
        reason: shortened(&reason).into(),
    });
    let closing = async {
        let _ = sink.send(Message::Close(frame)).await;
        let _ = sink.close().await;
    };
    let _ = tokio::time::timeout(FAREWELL, closing).await;
}

async fn close(mut socket: WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame {
        code,
        reason: shortened(reason).into(),
    };
    let _ = tokio::time::timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await;
}

/// A reason has at most 123 bytes (RFC 6455, section 5.5).
fn shortened(reason: &str) -> String {
    let end = (0..=123.min(reason.len()))
        .rev()
        .find(|at| reason.is_char_boundary(*at));
    reason.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
