//! The administrator's token.

use k8s_openapi::api::core::v1::Secret;

use super::{ValidCluster, metadata, names};

/// The key of the token.
pub const TOKEN_KEY: &str = "token";

/// The Secret with a token that was made once and stays.
pub fn admin_secret(cluster: &ValidCluster, token: String) -> Secret {
    Secret {
        metadata: metadata(cluster, names::admin_secret(&cluster.name)),
        type_: Some("Opaque".into()),
        string_data: Some([(TOKEN_KEY.to_string(), token)].into()),
        ..Secret::default()
    }
}
