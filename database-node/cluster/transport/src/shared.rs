//! What all tasks of a transport know.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::Envelope;
use quinn::Endpoint;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::address::MAX_LENGTH;
use crate::certificates::Credentials;
use crate::claims::Claims;
use crate::codes::Code;
use crate::counters::Counting;
use crate::dialling;
use crate::hello::{Identity, MAX_ADDRESSES};
use crate::hooks::Hooks;
use crate::joining::Giver;
use crate::network::Options;
use crate::outbox::Outbox;
use crate::remote::Remote;

/// What all tasks of a transport know. No lock in it is held over I/O.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) local: SocketAddr,
    pub(crate) credentials: Credentials,
    /// Drawn when this was started.
    pub(crate) process: u64,
    /// As whom this node sends.
    pub(crate) identity: watch::Sender<Option<Identity>>,
    pub(crate) counting: Counting,
    pub(crate) claims: Claims,
    pub(crate) hooks: OnceLock<Hooks>,
    /// Bytes that requests of others may still take, in KiB.
    pub(crate) request_memory: Semaphore,
    pub(crate) runtime: runtime::Handle,
    pub(crate) stop: CancellationToken,
    /// Until the network is closed: the socket goes with it, though somebody may still hold this.
    endpoint: Mutex<Option<Endpoint>>,
    remotes: Mutex<HashMap<NodeId, Arc<Remote>>>,
    joiners: Mutex<HashMap<u128, Arc<Outbox>>>,
    giver: Mutex<Option<Arc<Giver>>>,
}

/// What [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) endpoint: Endpoint,
    pub(crate) local: SocketAddr,
    pub(crate) credentials: Credentials,
    pub(crate) process: u64,
    pub(crate) runtime: runtime::Handle,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            options: parts.options,
            local: parts.local,
            credentials: parts.credentials,
            process: parts.process,
            identity: watch::Sender::new(None),
            counting: Counting::default(),
            claims: Claims::default(),
            hooks: OnceLock::new(),
            request_memory: Semaphore::new(parts.options.max_request_memory >> 10),
            runtime: parts.runtime,
            stop: CancellationToken::new(),
            endpoint: Mutex::new(Some(parts.endpoint)),
            remotes: Mutex::default(),
            joiners: Mutex::default(),
            giver: Mutex::default(),
        }
    }

    /// The socket, while the network is open.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        lock(&self.endpoint).clone()
    }

    /// Closes the network.
    pub(crate) fn end(&self) -> Option<Endpoint> {
        self.stop.cancel();
        let endpoint = lock(&self.endpoint).take();
        if let Some(endpoint) = &endpoint {
            endpoint.close(Code::Done.into(), b"the node stops");
        }
        endpoint
    }

    /// From now on this node sends as `identity`. A node is never a joiner again.
    pub(crate) fn set_identity(&self, identity: Identity) {
        self.identity.send_if_modified(|current| {
            let is_news = *current != Some(identity);
            let is_back =
                identity.node().is_none() && current.is_some_and(|current| current.node().is_some());
            let changes = is_news && !is_back;
            if changes {
                *current = Some(identity);
            }
            changes
        });
    }

    pub(crate) fn remote(&self, node: NodeId) -> Option<Arc<Remote>> {
        lock(&self.remotes).get(&node).cloned()
    }

    pub(crate) fn remotes(&self) -> Vec<Arc<Remote>> {
        let mut remotes: Vec<_> = lock(&self.remotes).values().cloned().collect();
        remotes.sort_by_key(|remote| remote.node);
        remotes
    }

    /// Notes where a node is; one that is known is told of its new address only if this is to be believed more.
    pub(crate) fn set_address(self: &Arc<Self>, node: NodeId, address: String, is_certain: bool) -> bool {
        if address.len() > MAX_LENGTH {
            return false;
        }
        let mut remotes = lock(&self.remotes);
        if let Some(remote) = remotes.get(&node) {
            if is_certain {
                remote.set_address(address);
            }
            return true;
        }
        let remote = Arc::new(Remote::new(
            node,
            address,
            self.options.bounds(),
            self.stop.child_token(),
        ));
        remotes.insert(node, Arc::clone(&remote));
        drop(remotes);
        self.runtime.spawn(dialling::keep(Arc::clone(self), remote));
        true
    }

    pub(crate) fn remove_address(&self, node: NodeId) {
        let removed = lock(&self.remotes).remove(&node);
        if let Some(removed) = removed {
            removed.stop.cancel();
        }
    }

    /// Where other nodes are, for one that wants to join.
    pub(crate) fn addresses(&self) -> Vec<(NodeId, String)> {
        let remotes = self.remotes();
        let addresses = remotes.iter().take(MAX_ADDRESSES);
        addresses.map(|remote| (remote.node, remote.address())).collect()
    }

    pub(crate) fn joiner(&self, token: u128) -> Option<Arc<Outbox>> {
        lock(&self.joiners).get(&token).cloned()
    }

    /// Answers to a joiner go over the connection by which it asked last.
    pub(crate) fn add_joiner(&self, token: u128, outbox: &Arc<Outbox>) {
        lock(&self.joiners).insert(token, Arc::clone(outbox));
    }

    pub(crate) fn remove_joiner(&self, token: u128, outbox: &Arc<Outbox>) {
        let mut joiners = lock(&self.joiners);
        if joiners.get(&token).is_some_and(|last| Arc::ptr_eq(last, outbox)) {
            joiners.remove(&token);
        }
    }

    pub(crate) fn giver(&self) -> Option<Arc<Giver>> {
        lock(&self.giver).clone()
    }

    pub(crate) fn set_giver(&self, giver: Option<Arc<Giver>>) {
        *lock(&self.giver) = giver;
    }

    pub(crate) fn receive(&self, envelope: Envelope, bytes: usize) {
        self.counting.received(bytes);
        if let Some(hooks) = self.hooks.get() {
            (hooks.receive)(envelope, bytes);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
