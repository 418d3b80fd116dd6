//! The ways to a server: what is sent and received on them is whole messages.

#[cfg(not(target_arch = "wasm32"))]
mod attempts;
#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
mod quic;
#[cfg(not(target_arch = "wasm32"))]
mod tls;
#[cfg(not(target_arch = "wasm32"))]
mod websocket;

use pliantdb_core::Error;
use tokio::sync::mpsc;

use crate::address::{Address, Transport};
use crate::options::Options;

/// Held by whoever has something to send still, so that somebody can wait until all is.
pub(crate) type Sending = mpsc::Sender<std::convert::Infallible>;

/// How many messages wait to be sent; who has more waits.
const WAITING: usize = 256;

/// A way to a server. It is closed when `send` is dropped, or given an empty message (which none is), and everything before
/// was sent.
pub(crate) struct Link {
    pub(crate) send: mpsc::Sender<Vec<u8>>,
    pub(crate) receive: Receive,
}

/// What arrives.
pub(crate) enum Receive {
    #[cfg(not(target_arch = "wasm32"))]
    Quic(Box<quic::Receive>),
    #[cfg(not(target_arch = "wasm32"))]
    WebSocket(Box<websocket::Receive>),
    #[cfg(target_arch = "wasm32")]
    Browser(browser::Receive),
}

impl Receive {
    /// The next message.
    ///
    /// # Errors
    /// Why there is no more: for people.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, String> {
        match self {
            #[cfg(not(target_arch = "wasm32"))]
            Self::Quic(receive) => receive.next().await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::WebSocket(receive) => receive.next().await,
            #[cfg(target_arch = "wasm32")]
            Self::Browser(receive) => receive.next().await,
        }
    }
}

/// Connects.
///
/// # Errors
/// [`Error::Unreachable`], and [`Error::Invalid`] for options that cannot be used.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn connect(address: &Address, options: &Options, sending: Sending) -> Result<Link, Error> {
    match address.transport {
        Transport::Quic => quic::connect(address, options, sending).await,
        Transport::WebSocket | Transport::WebSocketTls => websocket::connect(address, options, sending).await,
    }
}

/// Connects.
///
/// # Errors
/// [`Error::Unreachable`], and [`Error::Invalid`] for QUIC, which browsers do not let programs speak.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn connect(address: &Address, _: &Options, _: Sending) -> Result<Link, Error> {
    match address.transport {
        Transport::Quic => Err(Error::Invalid(format!(
            "{address} is an address for QUIC, which programs in browsers cannot speak: use wss://"
        ))),
        Transport::WebSocket | Transport::WebSocketTls => browser::connect(address).await,
    }
}

fn unreachable(address: &Address, reason: impl std::fmt::Display) -> Error {
    Error::Unreachable(format!("the server {address} cannot be reached: {reason}"))
}
