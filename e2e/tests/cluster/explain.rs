//! `kubectl explain` reads well.

use e2e::Bed;

#[test]
fn every_field_is_explained() {
    let whole = Bed::kubectl(&["explain", "pliantcluster"]).ok();
    assert!(whole.contains("A PliantDB database."), "{whole}");
    let spec = Bed::kubectl(&["explain", "pliantcluster.spec"]).ok();
    for field in [
        "nodes",
        "version",
        "image",
        "storage",
        "resources",
        "podTemplate",
        "paused",
    ] {
        let heading = format!("\n  {field}\t<");
        let at = spec
            .find(&heading)
            .unwrap_or_else(|| panic!("no field {field}:\n{spec}"));
        let after = spec[at + 1..].lines().nth(1).unwrap_or_default();
        assert!(after.trim().len() > 20, "{field} is not explained:\n{spec}");
    }
    let size = Bed::kubectl(&["explain", "pliantcluster.spec.storage.size"]).ok();
    assert!(size.contains("such as 10Gi"), "{size}");
    let retention = Bed::kubectl(&["explain", "pliantcluster.spec.storage.retention"]).ok();
    assert!(
        retention.contains("ENUM:\n    Retain\n    Delete\n"),
        "{retention}"
    );
}
