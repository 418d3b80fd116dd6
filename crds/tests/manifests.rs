//! The generated manifests are checked in; they must match the types.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_checked_in_manifests_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let manifests = pliant_crds::manifests().expect("the manifests can be written");
    for manifest in &manifests {
        let written = std::fs::read_to_string(folder.join(&manifest.file_name)).unwrap_or_default();
        assert!(
            written == manifest.yaml,
            "{} is stale: run `cargo run -p pliant-crds`",
            manifest.file_name
        );
    }
    let expected: BTreeSet<_> = manifests.into_iter().map(|manifest| manifest.file_name).collect();
    let present: BTreeSet<_> = std::fs::read_dir(&folder)
        .expect("crds/yaml exists")
        .map(|entry| {
            entry
                .expect("a readable entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(present, expected, "crds/yaml/ holds exactly the generated files");
}

#[test]
fn every_field_has_a_description() {
    for manifest in pliant_crds::manifests().expect("the manifests can be written") {
        let definition: serde_json::Value = serde_saphyr::from_str(&manifest.yaml).expect("YAML");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut missing = Vec::new();
        collect_undescribed(schema, "", &mut missing);
        assert!(missing.is_empty(), "fields without a description: {missing:?}");
    }
}

fn collect_undescribed(schema: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) && path != ".metadata" {
            missing.push(path.clone());
        }
        collect_undescribed(property, &path, missing);
        collect_undescribed(&property["items"], &path, missing);
    }
}
