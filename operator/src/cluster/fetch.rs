//! Everything that a reconciliation reads before it decides.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;

use super::build::RECORD_KEY;
use super::context::Context;
use super::error::Error;
use super::names;
use super::release::Record;

/// What there is of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The StatefulSet of the cluster's name, whoever owns it.
    pub stateful_set: Option<StatefulSet>,
    /// The nodes' pods.
    pub pods: Vec<Pod>,
    /// The claims of the nodes' volumes, whoever made them: a volume that was restored from elsewhere counts.
    pub claims: Vec<PersistentVolumeClaim>,
    /// What the operator last let the nodes run.
    pub record: Option<Record>,
}

impl Observed {
    /// Whether the StatefulSet was removed to be made anew, and its pods go on without it.
    pub fn is_being_remade(&self) -> bool {
        self.stateful_set.is_none() && !self.pods.is_empty()
    }
}

/// Reads what there is of the cluster `name`.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn fetch(context: &Context, namespace: &str, name: &str) -> Result<Observed, Error> {
    let labelled = ListParams::default().labels(&names::cluster_selector(name));
    let stateful_sets = context.api::<StatefulSet>(namespace);
    let pods = context.api::<Pod>(namespace);
    let claims = context.api::<PersistentVolumeClaim>(namespace);
    let config_maps = context.api::<ConfigMap>(namespace);
    let (main, release, all) = (names::main(name), names::release(name), ListParams::default());
    let (stateful_set, pods, claims, record) = tokio::join!(
        stateful_sets.get_opt(&main),
        pods.list(&labelled),
        claims.list(&all),
        config_maps.get_opt(&release)
    );
    let stateful_set = stateful_set.map_err(Error::api(format!("read the StatefulSet {main}")))?;
    let pods = pods.map_err(Error::api("list the pods"))?.items;
    let claims = claims.map_err(Error::api("list the volume claims"))?.items;
    let record = record.map_err(Error::api(format!("read the ConfigMap {release}")))?;
    Ok(Observed {
        pods: pods
            .into_iter()
            .filter(|pod| is_node(pod, name, stateful_set.as_ref()))
            .collect(),
        claims: claims
            .into_iter()
            .filter(|claim| names::is_numbered(&claim.name_any(), name, names::claim))
            .collect(),
        record: record.and_then(read_record),
        stateful_set,
    })
}

/// Whether a pod is a node of the cluster. Labels alone prove nothing: anybody may set them. A pod without an
/// owner counts by its name: it has one while its StatefulSet is made anew.
fn is_node(pod: &Pod, cluster: &str, stateful_set: Option<&StatefulSet>) -> bool {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    match (owner, stateful_set) {
        (Some(owner), Some(set)) => Some(&owner.uid) == set.metadata.uid.as_ref(),
        (Some(_), None) => false,
        (None, _) => names::is_numbered(&pod.name_any(), cluster, names::pod),
    }
}

/// The record, unless somebody has made something else of it.
fn read_record(config_map: ConfigMap) -> Option<Record> {
    let record = serde_json::from_str(config_map.data?.get(RECORD_KEY)?);
    record
        .inspect_err(|error| tracing::warn!("the record of a release cannot be read: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, owner: Option<&str>) -> Pod {
        let owners: Vec<Value> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop", "uid": uid, "controller": true}))
            .collect();
        serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}})).expect("a Pod")
    }

    #[test]
    fn labels_do_not_make_a_node() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "shop", "uid": "s-1"}}))
            .expect("a StatefulSet");
        assert!(is_node(&pod("shop-0", Some("s-1")), "shop", Some(&set)));
        assert!(
            !is_node(&pod("shop-0", Some("s-0")), "shop", Some(&set)),
            "of an earlier StatefulSet"
        );
        assert!(!is_node(&pod("stray", None), "shop", Some(&set)));
        assert!(
            is_node(&pod("shop-0", None), "shop", None),
            "while the StatefulSet is made anew"
        );
        assert!(
            !is_node(&pod("shop-0", Some("s-1")), "shop", None),
            "of a StatefulSet that is gone"
        );
    }
}
