//! What a user may add to the nodes' pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Label and annotation keys that begin so belong to the operator.
pub const RESERVED_LABEL_PREFIXES: [&str; 2] = ["app.kubernetes.io/", "pliantdb.dev/"];

/// Variables that would move the node's data, ports or credentials away from where the operator expects them.
pub const RESERVED_VARIABLES: [&str; 5] = [
    "PLIANT_ADMIN_LISTEN",
    "PLIANT_CONFIG",
    "PLIANT_DATA",
    "PLIANT_LISTEN",
    "PLIANT_TOKEN_FILE",
];

/// Additions to the pods that run the nodes. What is not listed here belongs to the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels to add to the pods. Keys that begin with app.kubernetes.io/ or pliantdb.dev/ belong to the
    /// operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('pliantdb.dev/'))")
            .message("labels that begin with app.kubernetes.io/ or pliantdb.dev/ belong to the operator")
    )]
    pub labels: BTreeMap<String, String>,

    /// Annotations to add to the pods. Keys that begin with app.kubernetes.io/ or pliantdb.dev/ belong to
    /// the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('pliantdb.dev/'))")
            .message("annotations that begin with app.kubernetes.io/ or pliantdb.dev/ belong to the operator")
    )]
    pub annotations: BTreeMap<String, String>,

    /// Labels that a Kubernetes node must carry to run a pod of this cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of Kubernetes nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,

    /// Scheduling preferences and requirements of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// How the pods are spread over zones and Kubernetes nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey", "whenUnsatisfiable"])
    )]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// The priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// Secrets with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// Environment variables to add to the node's container, such as PLIANT_LOG_LEVEL. Those that would move
    /// the data, the ports, the configuration or the token belong to the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    #[x_kube(
        validation = Rule::new("self.all(variable, !(variable.name in ['PLIANT_ADMIN_LISTEN', 'PLIANT_CONFIG', 'PLIANT_DATA', 'PLIANT_LISTEN', 'PLIANT_SHUTDOWN_TIMEOUT', 'PLIANT_TOKEN_FILE']))")
            .message("PLIANT_ADMIN_LISTEN, PLIANT_CONFIG, PLIANT_DATA, PLIANT_LISTEN, PLIANT_SHUTDOWN_TIMEOUT and PLIANT_TOKEN_FILE belong to the operator")
    )]
    pub env: Vec<EnvVar>,

    /// Seconds that a node has to finish the requests it took when it is stopped. 30 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
}
