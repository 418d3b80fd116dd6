//! Writes `crds/yaml/`, and the copies that the Helm chart installs, from the Rust types.

use std::path::Path;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for manifest in pliant_crds::manifests()? {
        for folder in pliant_crds::MANIFEST_FOLDERS {
            let path = crate_folder.join(folder).join(&manifest.file_name);
            std::fs::write(&path, &manifest.yaml)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
