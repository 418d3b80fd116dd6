//! The certificate of a database.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The certificate that the nodes show their clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret of type kubernetes.io/tls in the cluster's namespace, with the keys tls.crt and tls.key, as cert-manager
    /// makes them. Clients are served by TLS with it, over HTTP, WebSocket and QUIC; when it changes, the nodes take it
    /// up within two minutes, without a restart.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub secret_name: String,
}
