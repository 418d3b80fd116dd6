//! What was sent, received and dropped so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a transport has done so far. Messages of many envelopes that waited go in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of envelopes that were handed to connections.
    pub bytes_sent: u64,
    /// Envelopes that were handed to connections.
    pub envelopes_sent: u64,
    /// Messages in them.
    pub messages_sent: u64,
    /// Bytes of envelopes that came.
    pub bytes_received: u64,
    /// Envelopes that came.
    pub envelopes_received: u64,
    /// Messages that were dropped because too many bytes waited for their peer.
    pub dropped_full: u64,
    /// Messages that were dropped because nobody knows where their peer is.
    pub dropped_no_address: u64,
    /// Messages that were dropped because there was no connection to their peer and none could be made, or it was lost.
    pub dropped_no_connection: u64,
    /// Messages that were dropped because they are larger than an envelope may be.
    pub dropped_too_large: u64,
    /// Connections to others that were made.
    pub connections_made: u64,
    /// Attempts to connect that failed.
    pub connections_failed: u64,
    /// Connections of others that were taken.
    pub connections_taken: u64,
    /// Connections of others that were refused.
    pub connections_refused: u64,
    /// Requests that were asked of others.
    pub requests_asked: u64,
    /// Of those, the ones without an answer.
    pub requests_failed: u64,
    /// Requests of others that were answered.
    pub requests_answered: u64,
}

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    Full,
    NoAddress,
    NoConnection,
    TooLarge,
}

/// [`Counters`] that others can read meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    bytes_sent: AtomicU64,
    envelopes_sent: AtomicU64,
    messages_sent: AtomicU64,
    bytes_received: AtomicU64,
    envelopes_received: AtomicU64,
    dropped_full: AtomicU64,
    dropped_no_address: AtomicU64,
    dropped_no_connection: AtomicU64,
    dropped_too_large: AtomicU64,
    connections_made: AtomicU64,
    connections_failed: AtomicU64,
    connections_taken: AtomicU64,
    connections_refused: AtomicU64,
    requests_asked: AtomicU64,
    requests_failed: AtomicU64,
    requests_answered: AtomicU64,
}

impl Counting {
    pub(crate) fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            bytes_sent: read(&self.bytes_sent),
            envelopes_sent: read(&self.envelopes_sent),
            messages_sent: read(&self.messages_sent),
            bytes_received: read(&self.bytes_received),
            envelopes_received: read(&self.envelopes_received),
            dropped_full: read(&self.dropped_full),
            dropped_no_address: read(&self.dropped_no_address),
            dropped_no_connection: read(&self.dropped_no_connection),
            dropped_too_large: read(&self.dropped_too_large),
            connections_made: read(&self.connections_made),
            connections_failed: read(&self.connections_failed),
            connections_taken: read(&self.connections_taken),
            connections_refused: read(&self.connections_refused),
            requests_asked: read(&self.requests_asked),
            requests_failed: read(&self.requests_failed),
            requests_answered: read(&self.requests_answered),
        }
    }

    pub(crate) fn sent(&self, messages: usize, bytes: usize) {
        add(&self.envelopes_sent, 1);
        add(&self.messages_sent, messages);
        add(&self.bytes_sent, bytes);
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.envelopes_received, 1);
        add(&self.bytes_received, bytes);
    }

    pub(crate) fn dropped(&self, why: Dropped, messages: usize) {
        let counter = match why {
            Dropped::Full => &self.dropped_full,
            Dropped::NoAddress => &self.dropped_no_address,
            Dropped::NoConnection => &self.dropped_no_connection,
            Dropped::TooLarge => &self.dropped_too_large,
        };
        add(counter, messages);
    }

    pub(crate) fn made(&self) {
        add(&self.connections_made, 1);
    }

    pub(crate) fn failed(&self) {
        add(&self.connections_failed, 1);
    }

    pub(crate) fn taken(&self) {
        add(&self.connections_taken, 1);
    }

    pub(crate) fn refused(&self) {
        add(&self.connections_refused, 1);
    }

    pub(crate) fn asked(&self, is_answered: bool) {
        add(&self.requests_asked, 1);
        add(&self.requests_failed, usize::from(!is_answered));
    }

    pub(crate) fn answered(&self) {
        add(&self.requests_answered, 1);
    }
}

fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}
