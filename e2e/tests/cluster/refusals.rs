//! What is wrong is refused by `kubectl apply`, with the rule's message.

use e2e::{Database, Namespace};
use serde_json::{Value, json};

#[test]
fn every_rule_refuses_with_its_message() {
    let namespace = Namespace::new("refusals");
    let cases: [(&str, Value, &str); 18] = [
        (
            "three nodes",
            json!({"nodes": 3}),
            "nodes must be 1: this version of PliantDB runs databases of a single node",
        ),
        ("no nodes", json!({"nodes": 0}), "nodes must be 1"),
        (
            "version and image",
            json!({"version": "0.1.0", "image": "a:1"}),
            "set version or image, not both",
        ),
        (
            "a version with a space",
            json!({"version": "0 1"}),
            "spec.version",
        ),
        ("an empty image", json!({"image": ""}), "spec.image"),
        (
            "a Secret that cannot be",
            json!({"tls": {"secretName": "Shop TLS"}}),
            "spec.tls.secretName",
        ),
        ("no storage", json!({"storage": null}), "spec.storage"),
        (
            "no size",
            json!({"storage": {}}),
            "spec.storage.size: Required value",
        ),
        (
            "a size of nothing",
            json!({"storage": {"size": "200Mi"}}),
            "size must be at least 256Mi",
        ),
        (
            "a size in words",
            json!({"storage": {"size": "ten gigabytes"}}),
            "spec.storage.size",
        ),
        (
            "an unknown retention",
            json!({"storage": {"size": "1Gi", "retention": "Keep"}}),
            "supported values: \"Retain\", \"Delete\"",
        ),
        (
            "too little memory",
            json!({"resources": {"limits": {"memory": "64Mi"}}}),
            "limits.memory must be at least 128Mi",
        ),
        (
            "requests above limits",
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}),
            "requests cannot be greater than limits",
        ),
        (
            "a reserved label",
            json!({"podTemplate": {"labels": {"app.kubernetes.io/name": "x"}}}),
            "belong to the operator",
        ),
        (
            "a reserved annotation",
            json!({"podTemplate": {"annotations": {"pliantdb.dev/build": "x"}}}),
            "belong to the operator",
        ),
        (
            "a reserved variable",
            json!({"podTemplate": {"env": [{"name": "PLIANT_DATA", "value": "/tmp"}]}}),
            "belong to the operator",
        ),
        (
            "no time to stop",
            json!({"podTemplate": {"terminationGracePeriodSeconds": 1}}),
            "spec.podTemplate.terminationGracePeriodSeconds",
        ),
        (
            "an unknown field",
            json!({"mode": "Quorum"}),
            "unknown field \"spec.mode\"",
        ),
    ];
    for (what, spec, expected) in cases {
        let refused = namespace.apply(&Database::manifest("db", &spec)).refused();
        assert!(refused.contains(expected), "{what}: {refused}");
    }
    for name in ["a.b", "9lives", &"a".repeat(41)] {
        let refused = namespace.apply(&Database::manifest(name, &json!({}))).refused();
        assert!(
            refused.contains("metadata.name must be at most 40"),
            "{name}: {refused}"
        );
    }
    assert_eq!(namespace.names("pliantclusters"), Vec::<String>::new());
}

#[test]
fn scaling_goes_through_the_same_rule() {
    let namespace = Namespace::new("scale");
    namespace.apply(&Database::manifest("db", &json!({}))).ok();
    let refused = namespace
        .kubectl(&["scale", "pliantcluster/db", "--replicas=3"])
        .refused();
    assert!(refused.contains("nodes must be 1"), "{refused}");
}
