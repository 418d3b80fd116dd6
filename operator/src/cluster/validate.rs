//! From the resource as it was written to a cluster that can be built without failing.
//!
//! The CRD refuses the same mistakes at `kubectl apply`. They are checked again here because an older CRD may
//! still be installed, and because the Rust types are what the builders rest on.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use pliant_crds::{
    ComputeResources, MAX_NAME_LENGTH, PliantCluster, PliantClusterSpec, PodTemplate, Quantity,
    RESERVED_LABEL_PREFIXES, RESERVED_VARIABLES, Retention,
};

use super::fingerprint::fingerprint;
use crate::settings::Settings;

/// Seconds that a node has to finish the requests it took, when the spec does not say.
const DEFAULT_TERMINATION_GRACE_PERIOD_SECONDS: i64 = 30;
/// The smallest memory limit of a node, in bytes.
const SMALLEST_MEMORY_LIMIT: u128 = 128 << 20;
/// The smallest volume, in bytes.
const SMALLEST_VOLUME: u128 = 256 << 20;

/// A cluster of which every part is known to be right.
#[derive(Clone, Debug)]
pub struct ValidCluster {
    /// The cluster's name, from which the names of its objects are made.
    pub name: String,
    /// The namespace of the cluster and of its objects.
    pub namespace: String,
    /// The cluster's identity: another cluster of the same name has another.
    pub uid: String,
    /// What makes the cluster the owner of its objects.
    pub owner: OwnerReference,
    /// How many nodes there are to be.
    pub nodes: i32,
    /// The image of the nodes.
    pub image: String,
    /// The version of the nodes; unknown when the spec names an image.
    pub version: Option<String>,
    /// The size of each volume.
    pub volume_size: Quantity,
    /// The storage class of the volumes; none: the default class.
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes of a deleted cluster.
    pub retention: Retention,
    /// CPU and memory of each node.
    pub resources: ResourceRequirements,
    /// The Secret with the certificate that clients are shown.
    pub tls_secret: Option<String>,
    /// Additions to the pods.
    pub pod_template: PodTemplate,
    /// Seconds that a node has to finish the requests it took.
    pub termination_grace_period_seconds: i64,
    /// A mark of what the owner asks the nodes to run: another one is asked for, and only then, when it differs.
    pub request: String,
}

/// One thing that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field.
    pub field: String,
    /// What is wrong with its value, and what would be right.
    pub problem: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Checks a resource as a whole.
///
/// # Errors
/// Everything that is wrong with it, not only the first.
pub fn validate(cluster: &PliantCluster, settings: &Settings) -> Result<ValidCluster, Vec<FieldError>> {
    let mut errors = Errors::default();
    let spec = &cluster.spec;
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let pod_template = spec.pod_template.clone().unwrap_or_default();

    errors.check("metadata.name", is_name(&name), || {
        format!("\"{name}\" must be at most {MAX_NAME_LENGTH} lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen")
    });
    errors.check("spec.nodes", spec.nodes == 1, || {
        format!(
            "{} must be 1: this version of PliantDB runs databases of a single node",
            spec.nodes
        )
    });
    errors.check(
        "spec.version",
        spec.version.is_none() || spec.image.is_none(),
        || "set version or image, not both: an image already names its version".into(),
    );
    match spec.storage.size.milli() {
        Ok(milli) => errors.check("spec.storage.size", milli >= SMALLEST_VOLUME * 1_000, || {
            format!(
                "{} must be at least 256Mi: the node keeps 64Mi and more of it free",
                spec.storage.size
            )
        }),
        Err(error) => errors.add("spec.storage.size", error.to_string()),
    }
    let resources = resources(spec.resources.as_ref(), &mut errors);
    let tls_secret = spec.tls.as_ref().map(|tls| tls.secret_name.clone());
    if let Some(name) = &tls_secret {
        errors.check("spec.tls.secretName", is_secret_name(name), || {
            format!("\"{name}\" must be the name of a Secret: at most 253 lower-case letters, digits, hyphens and dots, that begins and ends with a letter or digit")
        });
    }
    check_pod_template(&pod_template, &mut errors);

    let (Some(owner), Some(uid)) = (cluster.controller_owner_ref(&()), cluster.metadata.uid.clone()) else {
        errors.add(
            "metadata.uid",
            "is missing; the resource was not read from an API server".into(),
        );
        return Err(errors.0);
    };
    if !errors.0.is_empty() {
        return Err(errors.0);
    }
    let version = match &spec.image {
        Some(_) => None,
        None => Some(
            spec.version
                .clone()
                .unwrap_or_else(|| settings.node_version.clone()),
        ),
    };
    let image = match (&spec.image, &version) {
        (Some(image), _) => image.clone(),
        (None, version) => {
            format!(
                "{}:{}",
                settings.node_image,
                version.as_deref().unwrap_or(&settings.node_version)
            )
        }
    };
    Ok(ValidCluster {
        namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        name,
        owner,
        nodes: spec.nodes,
        image,
        version,
        volume_size: spec.storage.size.clone(),
        storage_class_name: spec.storage.storage_class_name.clone(),
        retention: spec.storage.retention,
        resources,
        tls_secret,
        termination_grace_period_seconds: pod_template
            .termination_grace_period_seconds
            .unwrap_or(DEFAULT_TERMINATION_GRACE_PERIOD_SECONDS),
        pod_template,
        request: request(&uid, spec),
        uid,
    })
}

/// What of a spec restarts nodes. A field that came later counts only where it is set, so that an operator that knows
/// it restarts nothing.
fn request(uid: &str, spec: &PliantClusterSpec) -> String {
    let parts = (
        uid,
        &spec.version,
        &spec.image,
        &spec.resources,
        &spec.pod_template,
    );
    match &spec.tls {
        None => fingerprint(&parts),
        Some(tls) => fingerprint(&(parts, tls)),
    }
}

fn is_secret_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
        && name.chars().all(|c| is_plain(c) || c == '-' || c == '.')
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: &str, problem: String) {
        self.0.push(FieldError {
            field: field.into(),
            problem,
        });
    }

    fn check(&mut self, field: &str, right: bool, problem: impl FnOnce() -> String) {
        if !right {
            self.add(field, problem());
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let inner = |byte: u8| letter(byte) || byte.is_ascii_digit() || byte == b'-';
    name.len() <= MAX_NAME_LENGTH
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(inner)
        && !name.ends_with('-')
}

fn resources(given: Option<&ComputeResources>, errors: &mut Errors) -> ResourceRequirements {
    let Some(given) = given else {
        let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            pairs
                .iter()
                .map(|(name, amount)| ((*name).into(), Quantity((*amount).into())))
                .collect()
        };
        return requirements(
            quantities(&[("cpu", "100m"), ("memory", "256Mi")]),
            quantities(&[("memory", "512Mi")]),
        );
    };
    let mut milli = |field: &str, amounts: &BTreeMap<String, Quantity>| -> BTreeMap<String, u128> {
        let mut read = BTreeMap::new();
        for (name, amount) in amounts {
            match amount.milli() {
                Ok(value) => drop(read.insert(name.clone(), value)),
                Err(error) => errors.add(&format!("{field}.{name}"), error.to_string()),
            }
        }
        read
    };
    let requests = milli("spec.resources.requests", &given.requests);
    let limits = milli("spec.resources.limits", &given.limits);
    for (name, request) in &requests {
        errors.check(
            &format!("spec.resources.requests.{name}"),
            limits.get(name).is_none_or(|limit| request <= limit),
            || {
                format!(
                    "{} is greater than the limit {}",
                    given.requests[name], given.limits[name]
                )
            },
        );
    }
    if let Some(limit) = limits.get("memory") {
        errors.check(
            "spec.resources.limits.memory",
            *limit >= SMALLEST_MEMORY_LIMIT * 1_000,
            || {
                format!(
                    "{} must be at least 128Mi: below that a node cannot hold its write buffers and cache",
                    given.limits["memory"]
                )
            },
        );
    }
    requirements(given.requests.clone(), given.limits.clone())
}

fn requirements(
    requests: BTreeMap<String, Quantity>,
    limits: BTreeMap<String, Quantity>,
) -> ResourceRequirements {
    let convert = |amounts: BTreeMap<String, Quantity>| {
        (!amounts.is_empty()).then(|| {
            amounts
                .into_iter()
                .map(|(name, amount)| (name, amount.into()))
                .collect()
        })
    };
    ResourceRequirements {
        requests: convert(requests),
        limits: convert(limits),
        claims: None,
    }
}

fn check_pod_template(template: &PodTemplate, errors: &mut Errors) {
    for (field, map) in [
        ("labels", &template.labels),
        ("annotations", &template.annotations),
    ] {
        for key in map.keys() {
            let reserved = RESERVED_LABEL_PREFIXES
                .iter()
                .any(|prefix| key.starts_with(prefix));
            errors.check(&format!("spec.podTemplate.{field}"), !reserved, || {
                format!("\"{key}\" belongs to the operator, as all keys that begin with app.kubernetes.io/ or pliantdb.dev/")
            });
        }
    }
    for (index, variable) in template.env.iter().enumerate() {
        let reserved = RESERVED_VARIABLES.contains(&variable.name.as_str());
        errors.check(&format!("spec.podTemplate.env[{index}].name"), !reserved, || {
            format!(
                "{} belongs to the operator, as {}",
                variable.name,
                RESERVED_VARIABLES.join(", ")
            )
        });
    }
    if let Some(seconds) = template.termination_grace_period_seconds {
        errors.check(
            "spec.podTemplate.terminationGracePeriodSeconds",
            (5..=3600).contains(&seconds),
            || format!("{seconds} must be from 5 to 3600"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn a_minimal_resource_gets_the_defaults() {
        let valid = validate(&samples::cluster(), &samples::settings()).expect("valid");
        assert_eq!(valid.image, "docker.io/pliantdb/pliant-node:1.2.3");
        assert_eq!(valid.version.as_deref(), Some("1.2.3"));
        assert_eq!(valid.termination_grace_period_seconds, 30);
        assert_eq!(valid.retention, Retention::Retain);
        let limits = valid.resources.limits.expect("a memory limit");
        assert_eq!(limits["memory"].0, "512Mi");
    }

    #[test]
    fn an_image_replaces_the_version() {
        let mut cluster = samples::cluster();
        cluster.spec.image = Some("example.test/own:7".into());
        let valid = validate(&cluster, &samples::settings()).expect("valid");
        assert_eq!(
            (valid.image.as_str(), valid.version),
            ("example.test/own:7", None)
        );
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut cluster = samples::cluster();
        cluster.metadata.name = Some("Not-a-name-".into());
        cluster.spec = serde_json::from_value(serde_json::json!({
            "nodes": 3,
            "version": "1", "image": "x:1",
            "storage": {"size": "ten"},
            "resources": {"requests": {"cpu": "2", "memory": "lots"}, "limits": {"cpu": "1500m", "memory": "64Mi"}},
            "podTemplate": {
                "labels": {"app.kubernetes.io/name": "mine"},
                "annotations": {"pliantdb.dev/build": "x"},
                "env": [{"name": "A"}, {"name": "PLIANT_DATA", "value": "/tmp"}],
                "terminationGracePeriodSeconds": 1
            }
        }))
        .expect("a spec");
        let errors = validate(&cluster, &samples::settings()).expect_err("invalid");
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "metadata.name",
                "spec.nodes",
                "spec.version",
                "spec.storage.size",
                "spec.resources.requests.memory",
                "spec.resources.requests.cpu",
                "spec.resources.limits.memory",
                "spec.podTemplate.labels",
                "spec.podTemplate.annotations",
                "spec.podTemplate.env[1].name",
                "spec.podTemplate.terminationGracePeriodSeconds",
            ]
        );
        assert!(errors[1].problem.starts_with("3 must be 1"), "{}", errors[1]);
        assert!(
            errors[3].problem.contains("\"ten\" is not a quantity"),
            "{}",
            errors[3]
        );
    }

    #[test]
    fn names_that_kubernetes_cannot_take_are_refused() {
        for name in ["", "9lives", "-a", "a-", "a.b", "a_b", &"a".repeat(41)] {
            assert!(!is_name(name), "{name}");
        }
        for name in ["a", "a9", "quick-start", &"a".repeat(40)] {
            assert!(is_name(name), "{name}");
        }
    }
}
