//! The nodes' configuration file, and the record of what they run.
//!
//! A ConfigMap with a configuration never changes: its name says what is in it, so that another configuration
//! is another ConfigMap and a node that runs keeps its own. A node refuses a key that it does not know, so a
//! new key may be written only for versions that know it.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::super::fingerprint::fingerprint;
use super::super::release::{Record, Release};
use super::pod::{CERTIFICATE_FILE, DATA_FOLDER, KEY_FILE, TOKEN_FILE};
use super::{ADMIN_PORT, HTTP_PORT, QUIC_PORT, ValidCluster, metadata, names};

/// The key of the configuration file.
pub(super) const FILE: &str = "config.yaml";

/// The key of the record.
pub const RECORD_KEY: &str = "release.json";

/// Seconds between the end of a node's own patience and the kubelet's: time to close the store.
const CLOSING_SECONDS: i64 = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeConfig {
    data: String,
    listen: String,
    quic_listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_file: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<&'static str>,
    admin_listen: String,
    token_file: String,
    log_format: &'static str,
    shutdown_timeout: String,
}

/// The text of the configuration file.
pub(super) fn text(cluster: &ValidCluster) -> String {
    let config = NodeConfig {
        data: DATA_FOLDER.into(),
        listen: format!("0.0.0.0:{HTTP_PORT}"),
        quic_listen: format!("0.0.0.0:{QUIC_PORT}"),
        certificate_file: cluster.tls_secret.as_ref().map(|_| CERTIFICATE_FILE),
        key_file: cluster.tls_secret.as_ref().map(|_| KEY_FILE),
        admin_listen: format!("0.0.0.0:{ADMIN_PORT}"),
        token_file: TOKEN_FILE.into(),
        log_format: "json",
        shutdown_timeout: format!("{}s", cluster.termination_grace_period_seconds - CLOSING_SECONDS),
    };
    // Strings under fixed keys can always be written.
    serde_saphyr::to_string(&config).unwrap_or_default()
}

/// The name of the ConfigMap with a certain text.
pub(super) fn name(cluster: &str, text: &str) -> String {
    names::config_map(cluster, &fingerprint(&text))
}

/// The ConfigMap with the configuration of a release.
pub fn config_map(cluster: &ValidCluster, release: &Release) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, name(&cluster.name, &release.config)),
        data: Some([(FILE.to_string(), release.config.clone())].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The ConfigMap with the record of what the nodes run.
pub fn record(cluster: &ValidCluster, record: &Record) -> ConfigMap {
    // A record is made of parts that came from JSON or go there.
    let text = serde_json::to_string(record).unwrap_or_default();
    ConfigMap {
        metadata: metadata(cluster, names::release(&cluster.name)),
        data: Some([(RECORD_KEY.to_string(), text)].into()),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn the_configuration_names_files_ports_and_patience() {
        let text = text(&samples::valid_cluster());
        let config: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(
            config,
            serde_json::json!({
                "data": "/var/lib/pliantdb/data",
                "listen": "0.0.0.0:6480",
                "quicListen": "0.0.0.0:6481",
                "adminListen": "0.0.0.0:6483",
                "tokenFile": "/etc/pliantdb/admin/token",
                "logFormat": "json",
                "shutdownTimeout": "26s"
            })
        );
    }

    #[test]
    fn a_certificate_is_where_the_pod_has_it() {
        let mut cluster = samples::valid_cluster();
        cluster.tls_secret = Some("shop-tls".into());
        let config: serde_json::Value = serde_saphyr::from_str(&text(&cluster)).expect("YAML");
        assert_eq!(config["certificateFile"], "/etc/pliantdb/tls/tls.crt");
        assert_eq!(config["keyFile"], "/etc/pliantdb/tls/tls.key");
    }
}
