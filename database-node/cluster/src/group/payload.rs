//! What the entries of a group's log say.

use serde::{Deserialize, Serialize};

use super::config::MembershipChange;
use crate::ids::Epoch;
use crate::meta::MetaCommand;

/// What an entry does. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Changes data: a command for the state machine of a shard, encoded by [`postcard`].
    Command(#[serde(with = "serde_bytes")] Vec<u8>),
    /// From here on, orders of earlier epochs are void.
    Epoch(Epoch),
    /// Changes the members, by order of an epoch.
    Membership {
        /// The epoch of the order.
        epoch: Epoch,
        /// The change.
        change: MembershipChange,
    },
    /// Changes what the meta group knows.
    Meta(MetaCommand),
}

/// An entry that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// Of a later version.
    #[error(
        "an entry of the log has version {found}, and this version reads {supported}; run a later version"
    )]
    Newer {
        /// Its version.
        found: u8,
        /// The version known.
        supported: u8,
    },
    /// Not what it can be.
    #[error("an entry of the log cannot be read: {0}")]
    Malformed(String),
}

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;

impl Payload {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Writing to memory and types without maps of unknown length: nothing can fail.
        if let Ok(written) = postcard::to_extend(self, std::mem::take(&mut bytes)) {
            bytes = written;
        }
        bytes
    }

    /// What the bytes of an entry say; `None` for the empty one that a leader begins with.
    ///
    /// # Errors
    /// [`InvalidPayload`].
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, InvalidPayload> {
        match bytes.split_first() {
            None => Ok(None),
            Some((&VERSION, rest)) => {
                let payload = postcard::from_bytes(rest);
                payload
                    .map(Some)
                    .map_err(|error| InvalidPayload::Malformed(error.to_string()))
            }
            Some((&found, _)) => Err(InvalidPayload::Newer {
                found,
                supported: VERSION,
            }),
        }
    }
}
