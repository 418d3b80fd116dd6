//! How a node that is to join finds the nodes that it is to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::NodeId;
use pliantdb_cluster::wire::Peer;
use tokio::task::JoinSet;

use crate::codes::Code;
use crate::dialling::connect;
use crate::hello::Identity;
use crate::shared::Shared;

/// How often the seeds are looked for.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks for nodes at addresses and tells of those that are found, until this one has joined.
pub(crate) async fn join(
    shared: &Arc<Shared>,
    token: u128,
    seeds: &[String],
    mut ask: impl FnMut(Vec<Peer>),
) {
    let us = Identity {
        cluster: 0,
        peer: Peer::Joiner(token),
    };
    shared.set_identity(us);
    let mut identity = shared.identity.subscribe();
    let looking = async {
        let (mut found, mut told) = (BTreeSet::new(), 0);
        let mut said = BTreeMap::new();
        for attempt in 0_usize.. {
            let mut asked = JoinSet::new();
            for seed in seeds {
                asked.spawn(look(Arc::clone(shared), us, seed.clone(), attempt));
            }
            // Those that are found need not wait for those that are not there.
            while let Some(looked) = asked.join_next().await {
                match looked {
                    Ok((_, Ok(nodes))) => found.extend(nodes),
                    Ok((seed, Err(reason))) => {
                        if said.get(&seed) != Some(&reason) {
                            tracing::info!(seed, reason, "no node of the cluster is found there yet");
                            said.insert(seed, reason);
                        }
                    }
                    Err(error) => tracing::error!(%error, "a seed has broken its task"),
                }
                if found.len() > told {
                    told = found.len();
                    ask(found.iter().copied().map(Peer::Node).collect());
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let is_member = |identity: &Option<Identity>| identity.is_some_and(|identity| identity.node().is_some());
    tokio::select! {
        () = looking => {}
        _ = identity.wait_for(is_member) => {}
    }
}

/// The nodes that are known at an address, or why there are none.
async fn look(
    shared: Arc<Shared>,
    us: Identity,
    seed: String,
    attempt: usize,
) -> (String, Result<Vec<NodeId>, String>) {
    let welcome = match connect(&shared, us, &seed, attempt).await {
        Ok((connection, welcome)) => {
            connection.close(Code::Done.into(), b"only the name was asked for");
            welcome
        }
        Err(reason) => return (seed, Err(reason)),
    };
    let Some(node) = welcome.identity.and_then(|identity| identity.node()) else {
        return (
            seed,
            Err("the node there is not part of a cluster yet".to_owned()),
        );
    };
    // What the cluster says itself later counts more.
    let known = welcome.addresses().chain([(node, seed.clone())]);
    let noted = known.filter_map(|(node, address)| shared.set_address(node, address, false).then_some(node));
    let noted = noted.collect();
    (seed, Ok(noted))
}
