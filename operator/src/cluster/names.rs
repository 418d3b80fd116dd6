//! What the objects of a cluster are called, and the labels that tell them apart.

use std::collections::BTreeMap;

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "pliant-operator";
/// Annotation of the StatefulSet: for which cluster, and which generation of its spec, it was built.
pub const SPEC_ANNOTATION: &str = "pliantdb.dev/spec";
/// Annotation of the StatefulSet: a fingerprint of what was built.
pub const BUILD_ANNOTATION: &str = "pliantdb.dev/build";

const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The label that names the cluster an object belongs to.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The label that names the version a pod runs.
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// The volume of a node, and the prefix of its claim's name.
pub const DATA_VOLUME: &str = "data";

/// Selects every object that the operator manages, of all clusters.
pub fn managed_selector() -> String {
    format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}")
}

/// Selects the objects of one cluster.
pub fn cluster_selector(cluster: &str) -> String {
    format!("{MANAGED_BY_LABEL}={FIELD_MANAGER},{INSTANCE_LABEL}={cluster}")
}

/// The labels of every object of a cluster.
pub fn labels(cluster: &str) -> BTreeMap<String, String> {
    [
        (NAME_LABEL, "pliantdb"),
        (INSTANCE_LABEL, cluster),
        (COMPONENT_LABEL, "node"),
        (MANAGED_BY_LABEL, FIELD_MANAGER),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .into()
}

/// The Service that leads to any node, the StatefulSet, the ServiceAccount and the PodDisruptionBudget carry
/// the cluster's own name.
pub fn main(cluster: &str) -> String {
    cluster.to_string()
}

/// The headless Service that gives each node a name of its own.
pub fn nodes_service(cluster: &str) -> String {
    format!("{cluster}-nodes")
}

/// The ConfigMap with the nodes' configuration.
pub fn config_map(cluster: &str) -> String {
    format!("{cluster}-config")
}

/// The Secret with the administrator's token.
pub fn admin_secret(cluster: &str) -> String {
    format!("{cluster}-admin")
}
