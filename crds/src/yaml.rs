//! The manifests of the custom resource definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

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
    let mut value = serde_json::to_value(definition)?;
    join_lines(&mut value);
    Ok(Manifest {
        file_name: format!("{}.{}.yaml", names.plural, definition.spec.group),
        yaml: format!("{HEADER}{}", serde_saphyr::to_string(&value)?),
    })
}

/// Makes one line of each paragraph in the descriptions: `kubectl explain` breaks lines by itself, and would
/// keep those of the source as well.
fn join_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = joined(description);
            }
            fields.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}

fn joined(text: &str) -> String {
    let mut result = String::new();
    let mut paragraph_began = false;
    for line in text.lines() {
        let continues = line.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '(' | '"' | '`'));
        if !result.is_empty() {
            result.push(if continues && paragraph_began { ' ' } else { '\n' });
        }
        result.push_str(line);
        paragraph_began = !line.is_empty();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn paragraphs_become_lines_and_lists_stay() {
        assert_eq!(joined("one\ntwo"), "one two");
        assert_eq!(joined("one\n\ntwo\nthree"), "one\n\ntwo three");
        assert_eq!(joined("a list:\n- one\n- two"), "a list:\n- one\n- two");
    }
}
