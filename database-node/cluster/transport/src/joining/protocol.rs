//! What a joining node asks, and what it is told: one message each way, on one stream, over `pliantdb-join/1`.

use serde::{Deserialize, Serialize};

/// The most bytes of either message.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// What a joining node asks.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    /// The token's secret.
    pub(super) secret: [u8; 32],
    /// The request for a certificate (PKCS #10, DER).
    #[serde(with = "serde_bytes")]
    pub(super) request: Vec<u8>,
}

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Its certificate, and that of the authority, in PEM.
    Given { certificate: String, authority: String },
    /// Why it does not get one, wherever it asks.
    Refused(String),
    /// Why it does not get one here.
    NotHere(String),
}
