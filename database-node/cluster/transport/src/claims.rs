//! Who says to be which node, over the connections that are there: two processes must not be the same.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pliantdb_cluster::NodeId;

use crate::hooks::TransportEvent;
use crate::shared::Shared;
use crate::tls::IDLE;

/// How long two may be there before it is told: the connection of a process that is gone is given up before.
const GRACE: Duration = Duration::from_secs(IDLE.as_secs() + 1);

/// Who says to be which node.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    by_node: HashMap<NodeId, Vec<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    number: u64,
    process: u64,
    address: SocketAddr,
}

/// That a connection says to be of a node, as long as it is kept.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    node: NodeId,
    number: u64,
}

impl Claim {
    /// Notes one. If another process says the same from another address, and both are there for a while, that is told.
    pub(crate) fn note(shared: &Arc<Shared>, node: NodeId, process: u64, address: SocketAddr) -> Self {
        let mut state = shared.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let number = state.last;
        let claim = Held {
            number,
            process,
            address,
        };
        let held = state.by_node.entry(node).or_default();
        let others = held
            .iter()
            .filter(|other| other.process != process && other.address != address);
        let other = others.copied().last();
        held.push(claim);
        drop(state);
        if let Some(other) = other {
            shared
                .runtime
                .spawn(tell(Arc::clone(shared), node, [other, claim]));
        }
        Self {
            shared: Arc::clone(shared),
            node,
            number,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self
            .shared
            .claims
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = state.by_node.get_mut(&self.node) {
            held.retain(|held| held.number != self.number);
            if held.is_empty() {
                state.by_node.remove(&self.node);
            }
        }
    }
}

async fn tell(shared: Arc<Shared>, node: NodeId, two: [Held; 2]) {
    tokio::select! {
        () = tokio::time::sleep(GRACE) => {}
        () = shared.stop.cancelled() => return,
    }
    let are_there = {
        let state = shared.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.by_node.get(&node);
        held.is_some_and(|held| two.iter().all(|one| held.contains(one)))
    };
    if !are_there {
        return;
    }
    let addresses = two.map(|held| held.address);
    tracing::error!(
        %node,
        addresses = ?addresses,
        "two processes say that they are the same node; stop the one that runs on a copy of the other's directory"
    );
    if let Some(hooks) = shared.hooks.get() {
        (hooks.tell)(TransportEvent::TwoProcesses { node, addresses });
    }
}
