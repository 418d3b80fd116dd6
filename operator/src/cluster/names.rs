//! What the objects of a cluster are called, and the labels that tell them apart.

use std::collections::BTreeMap;

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "pliant-operator";
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

/// What the names of the ConfigMaps with the nodes' configuration begin with.
pub fn config_prefix(cluster: &str) -> String {
    format!("{cluster}-config-")
}

/// The ConfigMap with a certain configuration.
pub fn config_map(cluster: &str, fingerprint: &str) -> String {
    format!(
        "{}{}",
        config_prefix(cluster),
        fingerprint.get(..8).unwrap_or(fingerprint)
    )
}

/// The ConfigMap in which the operator records what it last let the nodes run.
pub fn release(cluster: &str) -> String {
    format!("{cluster}-release")
}

/// The pod of a node.
pub fn pod(cluster: &str, ordinal: &str) -> String {
    format!("{cluster}-{ordinal}")
}

/// The claim of a node's volume.
pub fn claim(cluster: &str, ordinal: &str) -> String {
    format!("{DATA_VOLUME}-{}", pod(cluster, ordinal))
}

/// Whether `name` is what `of` makes of the cluster's name and an ordinal.
pub fn is_numbered(name: &str, cluster: &str, of: impl Fn(&str, &str) -> String) -> bool {
    let ordinal = name.rsplit('-').next().unwrap_or_default();
    ordinal
        .parse::<u16>()
        .is_ok_and(|number| number.to_string() == ordinal)
        && of(cluster, ordinal) == name
}

/// The Secret with the administrator's token.
pub fn admin_secret(cluster: &str) -> String {
    format!("{cluster}-admin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_are_told_from_similar_ones() {
        assert!(is_numbered("shop-0", "shop", pod));
        assert!(is_numbered("shop-12", "shop", pod));
        assert!(is_numbered("data-shop-0", "shop", claim));
        for other in [
            "shop-",
            "shop-x",
            "shop-00",
            "shop-1-0",
            "shop-+1",
            "workshop-0",
            "data-shop-0",
        ] {
            assert!(!is_numbered(other, "shop", pod), "{other}");
        }
    }
}
