//! What a member does when the cluster has changed: it knows where the others are, and the cluster knows where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::meta::MetaCommand;
use pliantdb_cluster::{Meta, NodeId};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::changes::{Asker, ChangeError, look};
use crate::options::ADDRESS;

/// How long after the cluster could not be told of new attributes it is told again.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the network in step with what the node knows, until the node stops. `joined` tells that it has become one of a
/// cluster: it hears nothing of that before others know it for who it is.
pub(crate) async fn follow_addresses(asker: Asker, joined: Arc<Notify>) {
    let mut known = asker.handle.known();
    let mut placed = BTreeSet::new();
    loop {
        let identity = look(&asker.handle, |node| node.id().zip(node.cluster())).await;
        let identity = identity.ok().flatten();
        if let Some((node, cluster)) = identity {
            asker.network.set_identity(cluster, node);
        }
        let meta = known.borrow_and_update().meta.clone();
        if let Some(meta) = meta {
            let own = identity.map(|(node, _)| node);
            placed = place(&asker, &meta, own, &placed);
        }
        let has_ended = tokio::select! {
            changed = known.changed() => changed.is_err(),
            () = joined.notified() => false,
        };
        if has_ended {
            return;
        }
    }
}

fn place(asker: &Asker, meta: &Meta, own: Option<NodeId>, before: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let others = meta.nodes().iter().filter(|(node, _)| Some(**node) != own);
    let mut placed = BTreeSet::new();
    for (node, record) in others {
        match record.attributes.get(ADDRESS) {
            Some(address) if asker.network.set_address(*node, address) => {
                placed.insert(*node);
            }
            Some(address) => tracing::error!(%node, address, "that is no address of a node"),
            None => {
                tracing::error!(%node, "where the node is, is not known: it has no attribute {ADDRESS:?}");
            }
        }
    }
    for node in before.difference(&placed) {
        asker.network.remove_address(*node);
    }
    placed
}

/// Tells the cluster of the attributes of this node when they are others than it knows, as after a move, until the node
/// stops.
pub(crate) async fn tell_attributes(asker: Asker, mut wanted: watch::Receiver<BTreeMap<String, String>>) {
    let mut known = asker.handle.known();
    loop {
        known.mark_unchanged();
        let attributes = wanted.borrow_and_update().clone();
        let own = look(&asker.handle, |node| node.id().zip(node.shared_meta())).await;
        let Ok(own) = own else {
            return;
        };
        let record = own
            .as_ref()
            .and_then(|(node, meta)| Some((*node, meta.nodes().get(node)?)));
        if let Some((node, record)) = record
            && record.attributes != attributes
        {
            let told = asker.change(MetaCommand::SetAttributes { node, attributes });
            if let Err(ChangeError::Rejected(reason)) = told.await {
                tracing::error!(reason, "the cluster does not take the attributes of this node");
            }
            sleep(PAUSE).await;
            continue;
        }
        let has_ended = tokio::select! {
            changed = known.changed() => changed.is_err(),
            changed = wanted.changed() => changed.is_err(),
        };
        if has_ended {
            return;
        }
    }
}
