//! CPU and memory of a node.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// The CPU, memory and ephemeral storage of each node's container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || !quantity(self.requests[name]).isGreaterThan(quantity(self.limits[name])))")
        .message("requests cannot be greater than limits")
)]
pub struct ComputeResources {
    /// What the scheduler sets aside for the node, by resource name: cpu, memory, ephemeral-storage,
    /// hugepages-SIZE or a device's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Quantity>,

    /// What the node may use at most, by resource name. The memory limit also sizes the node's block cache
    /// and write buffers; it must be at least 128Mi.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(
        validation = Rule::new("!('memory' in self) || !quantity(self['memory']).isLessThan(quantity('128Mi'))")
            .message("limits.memory must be at least 128Mi: below that a node cannot hold its write buffers and cache")
    )]
    pub limits: BTreeMap<String, Quantity>,
}
