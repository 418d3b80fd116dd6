//! Another node: where it is, what waits for it, and the connection to it.

use std::sync::Arc;

use pliantdb_cluster::NodeId;
use quinn::Connection;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::outbox::{Bounds, Outbox};
use crate::tls::{REQUESTS_AT_ONCE, STREAMS_AT_ONCE, URGENT_AT_ONCE};

/// Another node.
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    pub(crate) outbox: Outbox,
    pub(crate) link: watch::Sender<Link>,
    /// Somebody wants a connection, though nothing waits.
    pub(crate) wanted: Notify,
    /// The node has connected to this one.
    pub(crate) appeared: Notify,
    /// How many more requests may be under way.
    pub(crate) places: Arc<Semaphore>,
    /// How many more that are urgent.
    pub(crate) urgent_places: Arc<Semaphore>,
    /// How many more answers that are streams.
    pub(crate) stream_places: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    address: watch::Sender<String>,
}

/// How the way to a node is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// The connection to it, while there is one.
    pub(crate) connection: Option<Connection>,
    /// How often it could not be made.
    pub(crate) failures: u64,
    /// Why it is not there.
    pub(crate) reason: String,
}

impl Remote {
    pub(crate) fn new(node: NodeId, address: String, bounds: Bounds, stop: CancellationToken) -> Self {
        Self {
            node,
            outbox: Outbox::new(bounds),
            link: watch::Sender::new(Link::default()),
            wanted: Notify::new(),
            appeared: Notify::new(),
            places: Arc::new(Semaphore::new(REQUESTS_AT_ONCE as usize)),
            urgent_places: Arc::new(Semaphore::new(URGENT_AT_ONCE as usize)),
            stream_places: Arc::new(Semaphore::new(STREAMS_AT_ONCE as usize)),
            stop,
            address: watch::Sender::new(address),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.borrow().clone()
    }

    pub(crate) fn set_address(&self, address: String) {
        self.address.send_if_modified(|current| {
            let has_changed = *current != address;
            *current = address;
            has_changed
        });
    }

    pub(crate) fn address_changes(&self) -> watch::Receiver<String> {
        self.address.subscribe()
    }
}
