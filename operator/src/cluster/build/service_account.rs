//! The identity of the pods. A node never talks to the API server, so it gets no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{ValidCluster, metadata, names};

pub(super) fn build(cluster: &ValidCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, names::main(&cluster.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
