//! Resources for the unit tests of the controller.

use clap::Parser;
use pliant_crds::PliantCluster;
use serde_json::json;

use super::validate::{ValidCluster, validate};
use crate::settings::Settings;

pub fn settings() -> Settings {
    Settings::parse_from(["pliant-operator", "--node-version", "1.2.3"])
}

pub fn cluster() -> PliantCluster {
    serde_json::from_value(json!({
        "apiVersion": "pliantdb.dev/v1alpha1",
        "kind": "PliantCluster",
        "metadata": {"name": "shop", "namespace": "store", "uid": "u-1", "generation": 4},
        "spec": {"storage": {"size": "1Gi"}}
    }))
    .expect("a PliantCluster")
}

pub fn valid_cluster() -> ValidCluster {
    validate(&cluster(), &settings()).expect("valid")
}
