//! Envelopes from a stream.

use pliantdb_cluster::wire::Envelope;
use pliantdb_core::protocol::Lane;
use quinn::RecvStream;

use crate::codes::Code;
use crate::framing::{Kind, MAX_ENVELOPE};
use crate::hello::Identity;
use crate::shared::Shared;

/// So many bytes are read at once.
const CHUNK: usize = 256 << 10;

/// Why a connection is to be closed.
pub(crate) type Fault = (Code, String);

/// Cuts what comes into envelopes, and checks whose they are.
pub(crate) struct Reader {
    from: Identity,
    lane: Lane,
}

impl Reader {
    pub(crate) fn new(from: Identity) -> Self {
        Self {
            from,
            lane: Lane::new(MAX_ENVELOPE),
        }
    }

    /// Takes what arrived, and hands on what is whole, with its number of bytes.
    pub(crate) fn arrived(
        &mut self,
        bytes: &[u8],
        mut receive: impl FnMut(Envelope, usize),
    ) -> Result<(), Fault> {
        self.lane.arrived(bytes);
        loop {
            let frame = self.lane.message();
            let frame = frame.map_err(|error| (Code::Malformed, error.to_string()))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            let envelope = Envelope::decode(frame).map_err(|error| (Code::Malformed, error.to_string()))?;
            let sender = Identity {
                cluster: envelope.cluster,
                peer: envelope.from,
            };
            if sender != self.from {
                let reason = format!(
                    "an envelope is from {:?} of cluster {:x}, and the connection is of {:?} of cluster {:x}",
                    sender.peer, sender.cluster, self.from.peer, self.from.cluster
                );
                return Err((Code::FalseSender, reason));
            }
            receive(envelope, frame.len());
        }
    }
}

/// Reads a stream with envelopes to its end.
pub(crate) async fn read(shared: &Shared, mut stream: RecvStream, from: Identity) -> Result<(), Fault> {
    let mut kind = [0];
    if stream.read_exact(&mut kind).await.is_err() {
        return Ok(());
    }
    if kind != [Kind::Envelopes as u8] {
        return Err((Code::Malformed, format!("there is no stream of kind {}", kind[0])));
    }
    let mut reader = Reader::new(from);
    // When it ends or breaks, so does the connection, or the other side makes another.
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await {
        reader.arrived(&chunk.bytes, |envelope, bytes| shared.receive(envelope, bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pliantdb_cluster::NodeId;
    use pliantdb_cluster::wire::{Beat, Message, Peer};
    use pliantdb_core::protocol::framed;
    use proptest::prelude::*;

    use super::*;

    fn identity(node: u32) -> Identity {
        Identity {
            cluster: 7,
            peer: Peer::Node(NodeId::new(node)),
        }
    }

    fn envelope(from: Identity, number: u64) -> Envelope {
        let beat = Beat {
            process: 1,
            lost: number,
        };
        Envelope {
            cluster: from.cluster,
            from: from.peer,
            to: Peer::Node(NodeId::new(9)),
            messages: vec![Message::Beat(beat); 3],
        }
    }

    fn bytes(envelopes: &[Envelope]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for envelope in envelopes {
            framed(&envelope.encode().unwrap(), &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn an_envelope_in_the_name_of_another_is_not_taken() {
        for other in [
            identity(2),
            Identity {
                cluster: 8,
                ..identity(1)
            },
        ] {
            let mut taken = Vec::new();
            let all = [
                envelope(identity(1), 0),
                envelope(other, 1),
                envelope(identity(1), 2),
            ];
            let fault = Reader::new(identity(1)).arrived(&bytes(&all), |envelope, _| taken.push(envelope));
            assert_eq!(fault.unwrap_err().0, Code::FalseSender);
            assert_eq!(taken, all[..1]);
        }
    }

    proptest! {
        #[test]
        fn what_was_sent_comes_out_however_it_arrives(count in 0_u64..20, cut in 1_usize..200) {
            let all: Vec<_> = (0..count).map(|number| envelope(identity(1), number)).collect();
            let (mut reader, mut taken) = (Reader::new(identity(1)), Vec::new());
            for part in bytes(&all).chunks(cut) {
                reader.arrived(part, |envelope, _| taken.push(envelope)).unwrap();
            }
            prop_assert_eq!(taken, all);
        }

        #[test]
        fn garbage_is_refused_and_nothing_of_it_taken_for_an_envelope(
            garbage in prop::collection::vec(any::<u8>(), 0..300),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        ) {
            let _ = Reader::new(identity(1)).arrived(&garbage, |_, _| {});
            // Nearly right.
            let mut bytes = bytes(&[envelope(identity(1), 1), envelope(identity(1), 2)]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = Reader::new(identity(1)).arrived(&bytes, |envelope, _| {
                assert_eq!(envelope.from, identity(1).peer);
            });
        }

        #[test]
        fn greetings_can_be_anything(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = crate::framing::decode::<crate::hello::Hello>(&garbage);
            let _ = crate::framing::decode::<crate::hello::Welcome>(&garbage);
            let versioned = [&[1], garbage.as_slice()].concat();
            let _ = crate::framing::decode::<crate::hello::Hello>(&versioned);
            let _ = crate::framing::decode::<crate::hello::Welcome>(&versioned);
        }
    }
}
