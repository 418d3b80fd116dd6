//! Everything that a reconciliation reads before it decides.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;

use super::context::Context;
use super::error::Error;
use super::names;

/// What there is of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The StatefulSet of the cluster's name, whoever owns it.
    pub stateful_set: Option<StatefulSet>,
    /// The nodes' pods.
    pub pods: Vec<Pod>,
    /// The claims of the nodes' volumes.
    pub claims: Vec<PersistentVolumeClaim>,
}

/// Reads what there is of a cluster.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn fetch(context: &Context, namespace: &str, name: &str) -> Result<Observed, Error> {
    let selected = ListParams::default().labels(&names::cluster_selector(name));
    let (stateful_sets, pods, claims) = (
        context.api::<StatefulSet>(namespace),
        context.api::<Pod>(namespace),
        context.api::<PersistentVolumeClaim>(namespace),
    );
    let main = names::main(name);
    let (stateful_set, pods, claims) = tokio::join!(
        stateful_sets.get_opt(&main),
        pods.list(&selected),
        claims.list(&selected)
    );
    Ok(Observed {
        stateful_set: stateful_set.map_err(Error::api(format!("read the StatefulSet {main}")))?,
        pods: pods.map_err(Error::api("list the pods"))?.items,
        claims: claims.map_err(Error::api("list the volume claims"))?.items,
    })
}
