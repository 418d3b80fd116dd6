//! `PliantCluster`: a database that the operator runs.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{ComputeResources, PliantClusterStatus, PodTemplate, Storage, Tls};

/// The longest name of a cluster. Its objects and the labels of its pods add up to 23 characters, and
/// Kubernetes allows 63.
pub const MAX_NAME_LENGTH: usize = 40;

/// What the database should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "pliantdb.dev",
    version = "v1alpha1",
    kind = "PliantCluster",
    namespaced,
    derive = "PartialEq",
    doc = "A PliantDB database. The operator turns it into a StatefulSet of database nodes with their volumes, Services, configuration and administrator token.",
    status = "PliantClusterStatus",
    shortname = "plc",
    category = "pliant",
    scale(
        spec_replicas_path = ".spec.nodes",
        status_replicas_path = ".status.nodes",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".spec.nodes", description = "How many nodes the spec asks for"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether every node serves requests"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "The reason of the condition Ready"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", description = "The image of the nodes", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", description = "Where applications inside the Kubernetes cluster reach the database", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: Services and pod names are made from it"),
    validation = Rule::new("!has(self.status) || !has(self.status.volumeSize) || !quantity(self.spec.storage.size).isLessThan(quantity(self.status.volumeSize))")
        .message("spec.storage.size cannot be smaller than the volumes already are (status.volumeSize): a volume only grows")
)]
#[x_kube(
    validation = Rule::new("!(has(self.version) && has(self.image))").message("set version or image, not both: an image already names its version")
)]
pub struct PliantClusterSpec {
    /// How many nodes the database has. This version runs one node.
    #[serde(default = "default_nodes")]
    #[x_kube(
        validation = Rule::new("self == 1").message("nodes must be 1: this version of PliantDB runs databases of a single node")
    )]
    pub nodes: i32,

    /// The version of PliantDB that the nodes run, such as 0.1.0. Left out, and without an image: the version
    /// that came with the operator when this spec was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"))]
    pub version: Option<String>,

    /// The image that the nodes run, instead of the one that the version stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,

    /// The volume of each node.
    pub storage: Storage,

    /// The CPU and memory of each node. Left out: requests of 100m CPU and 256Mi memory, and a memory limit of
    /// 512Mi. A change restarts the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ComputeResources>,

    /// The certificate that the nodes show their clients. Left out: HTTP and WebSocket without TLS, and QUIC with a
    /// certificate that the node makes itself and whose fingerprint it logs. A change restarts the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// Additions to the pods that run the nodes. A change restarts the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,

    /// True: the operator changes nothing of this cluster and only reports its status. The nodes go on.
    #[serde(default)]
    pub paused: bool,
}

fn default_nodes() -> i32 {
    1
}
