//! What the operator reports of a cluster.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// What the operator last saw of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PliantClusterStatus {
    /// The generation of the spec that this status speaks of. Smaller than metadata.generation: the operator
    /// has not yet seen the newest spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Progressing and Degraded, each with a reason and a message. docs/conditions.md lists them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// How many nodes there are, ready or not.
    #[serde(default)]
    pub nodes: i32,

    /// How many nodes serve requests.
    #[serde(default)]
    pub ready_nodes: i32,

    /// The image that the nodes run, or will run after their next restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The size that every volume has at least been asked for. The spec's size cannot go below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<Quantity>,

    /// Where applications inside the Kubernetes cluster reach the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// The label selector of the nodes' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// The conditions that every cluster carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// True: every node serves requests.
    Ready,
    /// True: the operator is on its way to what the spec says, or waits for Kubernetes to get there.
    Progressing,
    /// True: something keeps the cluster from what the spec says and needs a person.
    Degraded,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
        })
    }
}
