//! The objects that make up a cluster, built from a [`ValidCluster`]. Nothing here can fail or does I/O.

mod config_map;
mod pod;
mod pod_disruption_budget;
mod secret;
mod service_account;
mod services;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use pliant_crds::Quantity;

pub use secret::{TOKEN_KEY, admin_secret};
pub use services::endpoint;

use super::names;
use super::validate::ValidCluster;

/// The port of documents over HTTP.
const HTTP_PORT: i32 = 6480;
/// The port of administration and metrics.
const ADMIN_PORT: i32 = 6483;

/// The objects of a cluster that change nothing in a running node.
pub struct Surroundings {
    /// The identity of the pods.
    pub service_account: ServiceAccount,
    /// How clients and nodes find the nodes.
    pub services: [Service; 2],
    /// How many nodes may be down for maintenance of the Kubernetes nodes.
    pub pod_disruption_budget: PodDisruptionBudget,
}

/// The objects that decide what a node runs. They are applied together or not at all.
pub struct Release {
    /// The nodes' configuration.
    pub config_map: ConfigMap,
    /// The nodes.
    pub stateful_set: StatefulSet,
    /// A fingerprint of both.
    pub build: String,
}

/// Builds what surrounds the nodes.
pub fn surroundings(cluster: &ValidCluster) -> Surroundings {
    Surroundings {
        service_account: service_account::build(cluster),
        services: services::build(cluster),
        pod_disruption_budget: pod_disruption_budget::build(cluster),
    }
}

/// Builds the nodes and their configuration. `claim_size` is the size in the StatefulSet's claim template,
/// which is the cluster's unless the storage class refuses to grow to it.
pub fn release(cluster: &ValidCluster, claim_size: &Quantity) -> Release {
    let config_map = config_map::build(cluster);
    let mut stateful_set = stateful_set::build(cluster, claim_size);
    let build = fingerprint(&(&config_map.data, &stateful_set.spec));
    stateful_set.metadata.annotations = Some(
        [
            (names::SPEC_ANNOTATION, spec_mark(cluster)),
            (names::BUILD_ANNOTATION, build.clone()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into(),
    );
    Release {
        config_map,
        stateful_set,
        build,
    }
}

/// For which cluster, and which generation of its spec, a StatefulSet was built.
pub fn spec_mark(cluster: &ValidCluster) -> String {
    format!("{}/{}", cluster.uid, cluster.generation)
}

/// The image of the node in a StatefulSet.
pub fn node_image(stateful_set: &StatefulSet) -> Option<&str> {
    let pod = stateful_set.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers
        .iter()
        .find(|container| container.name == pod::CONTAINER)?
        .image
        .as_deref()
}

/// A short fingerprint of anything that can be written as JSON. It is compared between versions of the
/// operator, so it must not depend on how Rust hashes.
pub fn fingerprint(value: &impl serde::Serialize) -> String {
    // FNV-1a with 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/. It tells edits apart, not attackers.
    let text = serde_json::to_string(value).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Metadata of an object of a cluster: it goes when the cluster goes.
fn metadata(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(names::labels(&cluster.name)),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Selects the nodes' pods.
fn selector(cluster: &ValidCluster) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::labels(&cluster.name)),
        match_expressions: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn the_fingerprint_tells_what_a_node_runs() {
        let cluster = samples::valid_cluster();
        let build = |cluster: &ValidCluster| release(cluster, &cluster.volume_size).build;
        let mut other = cluster.clone();
        other.generation += 1;
        assert_eq!(
            build(&cluster),
            build(&other),
            "a generation alone changes nothing in a node"
        );
        other.image = "example.test/other:1".into();
        assert_ne!(build(&cluster), build(&other));
    }

    #[test]
    fn pods_meet_the_restricted_pod_security_level() {
        let release = release(&samples::valid_cluster(), &Quantity("1Gi".into()));
        let template = release.stateful_set.spec.expect("a spec").template;
        let pod = template.spec.expect("a pod");
        let security = pod.security_context.expect("a pod security context");
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(
            security.seccomp_profile.expect("a profile").type_,
            "RuntimeDefault"
        );
        assert_eq!(pod.automount_service_account_token, Some(false));
        for container in &pod.containers {
            let security = container.security_context.as_ref().expect("a security context");
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            let dropped = security.capabilities.as_ref().and_then(|caps| caps.drop.clone());
            assert_eq!(dropped, Some(vec!["ALL".to_string()]));
        }
    }
}
