//! The manifests of the custom resource definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::PliantCluster;

/// The first line of every generated file.
const HEADER: &str = "# Generated from the Rust types by `cargo run -p pliant-crds`. Do not edit.\n";

/// Where the manifests are kept, seen from this crate's folder: for people and tools, and for the Helm chart,
/// which can only read below its own folder.
pub const MANIFEST_FOLDERS: [&str; 2] = ["yaml", "../helm/pliant-operator/files/crds"];

/// One file of `crds/yaml/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file's name, made from the plural and the group.
    pub file_name: String,
    /// The file's text.
    pub yaml: String,
}

/// The manifest of every custom resource definition, ready to be written to `crds/yaml/`.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn manifests() -> anyhow::Result<Vec<Manifest>> {
    [PliantCluster::crd()].iter().map(manifest).collect()
}

fn manifest(definition: &CustomResourceDefinition) -> anyhow::Result<Manifest> {
    let names = &definition.spec.names;
    Ok(Manifest {
        file_name: format!("{}.{}.yaml", names.plural, definition.spec.group),
        yaml: format!("{HEADER}{}", serde_saphyr::to_string(definition)?),
    })
}
