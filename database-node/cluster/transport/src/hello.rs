//! The first that two nodes say to each other on a connection: who they are.

use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::Peer;
use serde::{Deserialize, Serialize};

use crate::address::MAX_LENGTH;

/// The most bytes of a [`Hello`].
pub(crate) const MAX_HELLO: usize = 256;
/// The most bytes of a [`Welcome`].
pub(crate) const MAX_WELCOME: usize = 1 << 20;
/// So many addresses a [`Welcome`] tells at most.
pub(crate) const MAX_ADDRESSES: usize = 2048;

/// Who a node is: what it says of itself, and what its envelopes must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The cluster; 0 when it has none yet.
    pub(crate) cluster: u128,
    /// The node.
    pub(crate) peer: Peer,
}

impl Identity {
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self.peer {
            Peer::Node(node) => Some(node),
            Peer::Joiner(_) => None,
        }
    }
}

/// What whoever has made a connection says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Who it is.
    pub(crate) from: Identity,
    /// Drawn when its process was started.
    pub(crate) process: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// Who answers, if it is part of a cluster.
    pub(crate) identity: Option<Identity>,
    /// Drawn when its process was started.
    pub(crate) process: u64,
    /// To one that wants to join: where the other nodes are, for any of them may be the one to ask.
    pub(crate) nodes: Vec<(NodeId, String)>,
}

impl Welcome {
    /// Those addresses that can be some.
    pub(crate) fn addresses(self) -> impl Iterator<Item = (NodeId, String)> {
        let nodes = self.nodes.into_iter().take(MAX_ADDRESSES);
        nodes.filter(|(_, address)| address.len() <= MAX_LENGTH)
    }
}
