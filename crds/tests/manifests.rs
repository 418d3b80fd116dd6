//! The generated manifests are checked in; they must match the types.

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn the_checked_in_manifests_are_current() {
    let manifests = pliant_crds::manifests().expect("the manifests can be written");
    let expected: BTreeMap<_, _> = manifests
        .into_iter()
        .map(|manifest| (manifest.file_name, manifest.yaml))
        .collect();
    for folder in pliant_crds::MANIFEST_FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let present: BTreeMap<_, _> = std::fs::read_dir(&folder)
            .expect("the folder exists")
            .map(|entry| entry.expect("a readable entry"))
            .map(|entry| {
                let yaml = std::fs::read_to_string(entry.path()).expect("a readable file");
                (entry.file_name().to_string_lossy().into_owned(), yaml)
            })
            .collect();
        assert!(
            present == expected,
            "{} is stale: run `cargo run -p pliant-crds`",
            folder.display()
        );
    }
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
