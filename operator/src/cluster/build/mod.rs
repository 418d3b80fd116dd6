//! The objects that make up a cluster, built from a [`ValidCluster`]. Nothing here can fail or does I/O.

mod config_map;
mod pod;
mod pod_disruption_budget;
mod secret;
mod service_account;
mod services;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub use config_map::{RECORD_KEY, config_map, record};
pub use secret::{TOKEN_KEY, admin_secret};
pub use services::endpoint;
pub use stateful_set::stateful_set;

use super::names;
use super::release::Release;
use super::validate::ValidCluster;

/// The port of HTTP and WebSocket.
const HTTP_PORT: i32 = 6480;
/// The port of QUIC.
const QUIC_PORT: i32 = 6481;
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

/// Builds what surrounds the nodes.
pub fn surroundings(cluster: &ValidCluster) -> Surroundings {
    Surroundings {
        service_account: service_account::build(cluster),
        services: services::build(cluster),
        pod_disruption_budget: pod_disruption_budget::build(cluster),
    }
}

/// Builds what the nodes run.
pub fn release(cluster: &ValidCluster) -> Release {
    let config = config_map::text(cluster);
    let template = pod::template(cluster, &config_map::name(&cluster.name, &config));
    Release { config, template }
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
    fn pods_meet_the_restricted_pod_security_level() {
        let pod = release(&samples::valid_cluster()).template.spec.expect("a pod");
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
