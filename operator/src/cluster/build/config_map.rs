//! The nodes' configuration file.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::pod::{DATA_FOLDER, TOKEN_FILE};
use super::{ADMIN_PORT, HTTP_PORT, ValidCluster, metadata, names};

/// The key of the configuration file.
pub(super) const FILE: &str = "config.yaml";

/// Seconds between the end of a node's own patience and the kubelet's: time to close the store.
const CLOSING_SECONDS: i64 = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeConfig {
    data: String,
    listen: String,
    admin_listen: String,
    token_file: String,
    log_format: &'static str,
    shutdown_timeout: String,
}

pub(super) fn build(cluster: &ValidCluster) -> ConfigMap {
    let config = NodeConfig {
        data: DATA_FOLDER.into(),
        listen: format!("0.0.0.0:{HTTP_PORT}"),
        admin_listen: format!("0.0.0.0:{ADMIN_PORT}"),
        token_file: TOKEN_FILE.into(),
        log_format: "json",
        shutdown_timeout: format!("{}s", cluster.termination_grace_period_seconds - CLOSING_SECONDS),
    };
    ConfigMap {
        metadata: metadata(cluster, names::config_map(&cluster.name)),
        data: Some([(FILE.to_string(), yaml(&config))].into()),
        ..ConfigMap::default()
    }
}

fn yaml(config: &NodeConfig) -> String {
    // Strings under fixed keys can always be written.
    serde_saphyr::to_string(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn the_configuration_names_files_ports_and_patience() {
        let data = build(&samples::valid_cluster()).data.expect("data");
        let config: serde_json::Value = serde_saphyr::from_str(&data[FILE]).expect("YAML");
        assert_eq!(
            config,
            serde_json::json!({
                "data": "/var/lib/pliantdb/data",
                "listen": "0.0.0.0:6480",
                "adminListen": "0.0.0.0:6483",
                "tokenFile": "/etc/pliantdb/admin/token",
                "logFormat": "json",
                "shutdownTimeout": "26s"
            })
        );
    }
}
