//! How envelopes leave.

use pliantdb_cluster::wire::{Envelope, Peer};

/// Sends envelopes to other nodes. What they send comes in by [`crate::Handle::receive`].
pub trait Transport: Send + 'static {
    /// Sends an envelope, or drops it: when the way is congested, or nobody knows where `to` is. Consensus sends anew
    /// what matters. It is called on the node's thread, and must not wait. Envelopes to one peer should come in the order
    /// in which they were sent; where they do not, nothing breaks, and it costs time.
    fn send(&mut self, to: Peer, envelope: Envelope);
}

impl<F: FnMut(Peer, Envelope) + Send + 'static> Transport for F {
    fn send(&mut self, to: Peer, envelope: Envelope) {
        self(to, envelope);
    }
}
