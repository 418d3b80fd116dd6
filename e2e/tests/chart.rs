//! The Helm chart, without a Kubernetes. Run by `e2e/test chart`.

use std::collections::BTreeSet;

use e2e::{Bed, Output, run};
use serde_json::Value;

fn helm(command: &str, values: &[&str]) -> Output {
    let mut helm = Bed::command("helm");
    helm.arg(command);
    if command == "template" {
        helm.arg("release");
    }
    helm.arg(Bed::root().join("helm/pliant-operator"));
    for value in values {
        helm.args(["--set", value]);
    }
    run(&mut helm)
}

/// The rendered objects. Each template ends in plain YAML, which helm can also write as JSON for us through
/// its own engine; here it is enough to split and to look at lines.
fn objects(values: &[&str]) -> Vec<String> {
    helm("template", values)
        .ok()
        .split("\n---")
        .map(str::to_string)
        .collect()
}

fn of_kind<'a>(objects: &'a [String], kind: &str) -> Vec<&'a String> {
    let line = format!("\nkind: {kind}\n");
    objects.iter().filter(|object| object.contains(&line)).collect()
}

#[test]
fn the_chart_passes_helms_own_examination() {
    let mut lint = Bed::command("helm");
    lint.args(["lint", "--strict"])
        .arg(Bed::root().join("helm/pliant-operator"));
    run(&mut lint).ok();
}

#[test]
fn the_definitions_stay_when_the_chart_goes() {
    let objects = objects(&[]);
    let definitions = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 1);
    for definition in definitions {
        assert!(
            definition.contains("helm.sh/resource-policy: keep"),
            "{definition}"
        );
    }
    assert!(
        of_kind(
            &self::objects(&["crds.install=false"]),
            "CustomResourceDefinition"
        )
        .is_empty()
    );
}

#[test]
fn rights_in_one_namespace_are_rights_in_that_namespace_only() {
    let everywhere = objects(&[]);
    assert_eq!(of_kind(&everywhere, "ClusterRole").len(), 1);
    let one = objects(&["watchNamespace=shop"]);
    assert!(of_kind(&one, "ClusterRole").is_empty() && of_kind(&one, "ClusterRoleBinding").is_empty());
    let roles = of_kind(&one, "Role");
    assert!(
        roles.iter().any(|role| role.contains("namespace: \"shop\"")),
        "{roles:#?}"
    );
}

#[test]
fn the_operator_cannot_list_secrets_and_holds_no_wildcards() {
    let objects = objects(&[]);
    for role in of_kind(&objects, "ClusterRole")
        .into_iter()
        .chain(of_kind(&objects, "Role"))
    {
        assert!(!role.contains('*'), "{role}");
        let secrets = role.split("- apiGroups").find(|rule| rule.contains("secrets"));
        if let Some(rule) = secrets {
            let verbs: BTreeSet<&str> = rule
                .split_once("verbs: [")
                .and_then(|(_, rest)| rest.split_once(']'))
                .map(|(verbs, _)| verbs.split(", ").collect())
                .unwrap_or_default();
            assert_eq!(verbs, BTreeSet::from(["create", "get", "patch"]));
        }
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let cases = [
        ("replicas=many", "replicas"),
        ("replicas=-1", "replicas"),
        ("image.repository=", "repository"),
        ("image.repository=a b", "repository"),
        ("image.tag=a b", "tag"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("node.version=-1-", "version"),
        ("watchNamespace=Not_A_Name", "watchNamespace"),
        (
            "podLabels.app\\.kubernetes\\.io/name=mine",
            "app.kubernetes.io/name",
        ),
        ("resources.limit.memory=1Gi", "resources"),
        ("log.format=xml", "format"),
        ("replica=2", "replica"),
    ];
    for (value, named) in cases {
        let refused = helm("template", &[value]).refused();
        assert!(refused.contains(named), "{value}: {refused}");
    }
}

#[test]
fn chart_and_programs_carry_one_version() {
    let chart =
        std::fs::read_to_string(Bed::root().join("helm/pliant-operator/Chart.yaml")).expect("Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "{chart}");
    let schema = std::fs::read_to_string(Bed::root().join("helm/pliant-operator/values.schema.json"));
    serde_json::from_str::<Value>(&schema.expect("values.schema.json")).expect("JSON");
}
