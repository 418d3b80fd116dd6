//! Frames: a length of four bytes, and what has it. It begins with a version where it is no envelope, which has its own.

use pliantdb_core::protocol::{LENGTH, length_of, prefix};
use quinn::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes of a frame with an envelope.
pub(crate) const MAX_ENVELOPE: usize = 64 << 20;

/// The version of what is said beside envelopes.
const VERSION: u8 = 1;

/// What kind of stream it is: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Envelopes, one way.
    Envelopes = 1,
    /// A request, and its answer the other way.
    Request = 2,
    /// A request, and many messages the other way.
    Stream = 3,
}

/// What something is as bytes, with the version.
pub(crate) fn encode<T: Serialize>(said: &T) -> Result<Vec<u8>, String> {
    postcard::to_extend(said, vec![VERSION]).map_err(|error| error.to_string())
}

/// What bytes say.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| format!("what it says cannot be read: {error}"))
        }
        Some((found, _)) => Err(format!(
            "it speaks version {found}, and this node speaks {VERSION}"
        )),
        None => Err("it says nothing".to_owned()),
    }
}

/// Writes one message, and leaves the stream open.
pub(crate) async fn write<T: Serialize>(send: &mut SendStream, said: &T) -> Result<(), String> {
    let bytes = encode(said)?;
    let length = prefix(&bytes).map_err(|error| error.to_string())?;
    let framed = [&length, bytes.as_slice()].concat();
    send.write_all(&framed).await.map_err(|error| error.to_string())
}

/// Writes one message, which is all that the stream carries.
pub(crate) async fn write_one<T: Serialize>(send: &mut SendStream, said: &T) -> Result<(), String> {
    write(send, said).await?;
    send.finish().map_err(|error| error.to_string())
}

/// Reads one message of at most so many bytes.
pub(crate) async fn read_one<T: DeserializeOwned>(
    receive: &mut RecvStream,
    most: usize,
) -> Result<T, String> {
    let mut length = [0; LENGTH];
    let read = receive.read_exact(&mut length).await;
    read.map_err(|error| error.to_string())?;
    let length = length_of(length, most).map_err(|error| error.to_string())?;
    let bytes = read_exactly(receive, length).await?;
    decode(&bytes)
}

/// Reads so many bytes. Memory is taken as they come, and not as somebody says that they will.
pub(crate) async fn read_exactly(receive: &mut RecvStream, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let chunk = receive.read_chunk(length - bytes.len(), true).await;
        match chunk.map_err(|error| error.to_string())? {
            Some(chunk) => bytes.extend_from_slice(&chunk.bytes),
            None => return Err("it ends too early".to_owned()),
        }
    }
    Ok(bytes)
}
