//! Envelopes onto a stream.

use bytes::Bytes;
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_core::protocol::prefix;
use quinn::{Connection, SendStream};

use crate::counters::{Counting, Dropped};
use crate::framing::{Kind, MAX_ENVELOPE};
use crate::hello::Identity;
use crate::outbox::{Class, Outbox};

/// Writes to a stream of its own what waits of a class, for as long as it can; then why it cannot.
pub(crate) async fn write(
    connection: &Connection,
    outbox: &Outbox,
    class: Class,
    from: Identity,
    to: Peer,
    counting: &Counting,
) -> String {
    match write_all(connection, outbox, class, from, to, counting).await {
        Ok(never) => match never {},
        Err(reason) => reason,
    }
}

async fn write_all(
    connection: &Connection,
    outbox: &Outbox,
    class: Class,
    from: Identity,
    to: Peer,
    counting: &Counting,
) -> Result<std::convert::Infallible, String> {
    let mut stream = connection.open_uni().await.map_err(|error| error.to_string())?;
    // In each packet the streams of a higher priority come first; requests and answers have 0.
    let priority = match class {
        Class::Control => 2,
        Class::Log => 1,
        Class::Bulk => -1,
    };
    stream.set_priority(priority).map_err(|error| error.to_string())?;
    stream
        .write_all(&[Kind::Envelopes as u8])
        .await
        .map_err(|error| error.to_string())?;
    loop {
        outbox.filled(class).await;
        let messages = outbox.take(class);
        let count = messages.len();
        let envelope = Envelope {
            cluster: from.cluster,
            from: from.peer,
            to,
            messages,
        };
        let bytes = envelope.encode().map_err(|error| error.to_string())?;
        drop(envelope);
        if bytes.len() > MAX_ENVELOPE {
            counting.dropped(Dropped::TooLarge, count);
            tracing::error!(
                bytes = bytes.len(),
                most = MAX_ENVELOPE,
                ?to,
                "a message to another node is too large to be sent; the group that it is of does not go on"
            );
            continue;
        }
        let length = bytes.len();
        send(&mut stream, bytes).await?;
        counting.sent(count, length);
    }
}

async fn send(stream: &mut SendStream, bytes: Vec<u8>) -> Result<(), String> {
    let length = prefix(&bytes).map_err(|error| error.to_string())?;
    let mut framed = [Bytes::copy_from_slice(&length), Bytes::from(bytes)];
    let written = stream.write_all_chunks(&mut framed).await;
    written.map_err(|error| error.to_string())
}
