//! The nodes, each with a volume of its own.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pliant_crds::{Quantity, Retention};

use super::{ValidCluster, metadata, names, selector};

/// Builds the nodes. `claim_size` is the size in the claim template, which is the cluster's unless the storage
/// class refuses to grow to it; `template` is what they run.
pub fn stateful_set(cluster: &ValidCluster, claim_size: &Quantity, template: PodTemplateSpec) -> StatefulSet {
    StatefulSet {
        metadata: metadata(cluster, names::main(&cluster.name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(cluster.nodes),
            service_name: Some(names::nodes_service(&cluster.name)),
            selector: selector(cluster),
            // A node does not need the one before it in order to start.
            pod_management_policy: Some("Parallel".into()),
            // The operator alone decides when a node restarts.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".into()),
                rolling_update: None,
            }),
            template,
            volume_claim_templates: Some(vec![claim_template(cluster, claim_size)]),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(
                    match cluster.retention {
                        Retention::Retain => "Retain",
                        Retention::Delete => "Delete",
                    }
                    .into(),
                ),
                when_scaled: Some("Retain".into()),
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn claim_template(cluster: &ValidCluster, size: &Quantity) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.into()),
            labels: Some(names::labels(&cluster.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: cluster.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_string(), size.clone().into())].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
