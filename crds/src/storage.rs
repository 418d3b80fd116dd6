//! Where a node keeps its data.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// The volume of each node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot be changed: a volume keeps the class it was made with. Create a PliantCluster with the new class and copy the documents over")
        .reason(Reason::FieldValueForbidden)
)]
pub struct Storage {
    /// The size of each node's volume, such as 10Gi. It can grow later where the storage class allows
    /// expansion (allowVolumeExpansion); it cannot become smaller than the volumes already are.
    #[x_kube(
        validation = Rule::new("!quantity(self).isLessThan(quantity('256Mi'))").message("size must be at least 256Mi: the node keeps 64Mi and more of it free")
    )]
    pub size: Quantity,

    /// The storage class of the volumes. Left out: the default class of the Kubernetes cluster.
    /// It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What happens to the volumes when this PliantCluster is deleted. Retain keeps them: a PliantCluster
    /// of the same name finds its data again. Delete removes them, and the data with them.
    #[serde(default)]
    pub retention: Retention,
}

/// What happens to the volumes of a cluster that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// The volumes, and so the data, stay.
    #[default]
    Retain,
    /// The volumes are deleted, and the data with them.
    Delete,
}
