//! What runs in a node's pod.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{ADMIN_PORT, HTTP_PORT, QUIC_PORT, ValidCluster, config_map, names};

/// The node's container.
pub(super) const CONTAINER: &str = "node";

const VOLUME_FOLDER: &str = "/var/lib/pliantdb";
/// A folder below the volume's root: a file system keeps things of its own in its root.
pub(super) const DATA_FOLDER: &str = "/var/lib/pliantdb/data";
const CONFIG_VOLUME: &str = "config";
const CONFIG_FOLDER: &str = "/etc/pliantdb/config";
const ADMIN_VOLUME: &str = "admin";
const ADMIN_FOLDER: &str = "/etc/pliantdb/admin";
pub(super) const TOKEN_FILE: &str = "/etc/pliantdb/admin/token";

const TLS_VOLUME: &str = "tls";
const TLS_FOLDER: &str = "/etc/pliantdb/tls";
pub(super) const CERTIFICATE_FILE: &str = "/etc/pliantdb/tls/tls.crt";
pub(super) const KEY_FILE: &str = "/etc/pliantdb/tls/tls.key";

/// The user and group of the image.
const USER: i64 = 65_532;

/// The pods of a cluster, with the configuration in the ConfigMap `config`.
pub(super) fn template(cluster: &ValidCluster, config: &str) -> PodTemplateSpec {
    let additions = &cluster.pod_template;
    let mut labels = names::labels(&cluster.name);
    labels.extend(
        cluster
            .version
            .clone()
            .map(|version| (names::VERSION_LABEL.to_string(), version)),
    );
    labels.extend(additions.labels.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: some_unless_empty(&additions.annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::main(&cluster.name)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(cluster.termination_grace_period_seconds),
            containers: vec![container(cluster)],
            volumes: Some(volumes(cluster, config)),
            node_selector: some_unless_empty(&additions.node_selector),
            tolerations: some_unless_empty(&additions.tolerations),
            affinity: additions.affinity.clone(),
            topology_spread_constraints: some_unless_empty(&additions.topology_spread_constraints),
            priority_class_name: additions.priority_class_name.clone(),
            image_pull_secrets: some_unless_empty(&additions.image_pull_secrets),
            ..PodSpec::default()
        }),
    }
}

fn container(cluster: &ValidCluster) -> Container {
    Container {
        name: CONTAINER.into(),
        image: Some(cluster.image.clone()),
        args: Some(vec![
            "serve".into(),
            "--config".into(),
            format!("{CONFIG_FOLDER}/{}", config_map::FILE),
        ]),
        env: some_unless_empty(&cluster.pod_template.env),
        ports: Some(vec![
            port("http", HTTP_PORT, "TCP"),
            port("quic", QUIC_PORT, "UDP"),
            port("admin", ADMIN_PORT, "TCP"),
        ]),
        resources: Some(cluster.resources.clone()),
        security_context: Some(container_security()),
        // Replaying a long log after a crash takes its time: up to ten minutes before the kubelet gives up.
        startup_probe: Some(probe("/healthz", 2, 300)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        // A restart cures a process that hangs, not one that is busy: it has a minute.
        liveness_probe: Some(probe("/healthz", 10, 6)),
        // The last lines of the log reach the operator, and so the status, when a node fails.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts(cluster)),
        ..Container::default()
    }
}

fn mounts(cluster: &ValidCluster) -> Vec<VolumeMount> {
    let tls = cluster
        .tls_secret
        .as_ref()
        .map(|_| mount(TLS_VOLUME, TLS_FOLDER, true));
    let always = [
        mount(names::DATA_VOLUME, VOLUME_FOLDER, false),
        mount(CONFIG_VOLUME, CONFIG_FOLDER, true),
        mount(ADMIN_VOLUME, ADMIN_FOLDER, true),
    ];
    always.into_iter().chain(tls).collect()
}

fn volumes(cluster: &ValidCluster, config: &str) -> Vec<Volume> {
    let secret = |name: &str, secret: String| Volume {
        name: name.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            // Readable by the node's group alone.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let always = [
        Volume {
            name: CONFIG_VOLUME.into(),
            config_map: Some(ConfigMapVolumeSource {
                name: config.into(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        secret(ADMIN_VOLUME, names::admin_secret(&cluster.name)),
    ];
    let tls = cluster.tls_secret.clone().map(|name| secret(TLS_VOLUME, name));
    always.into_iter().chain(tls).collect()
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            // Not the port of the clients: at their connection limit, the kubelet would have to queue.
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn port(name: &str, port: i32, protocol: &str) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: port,
        protocol: Some(protocol.into()),
        ..ContainerPort::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// An absent field rather than an empty one: the API server drops empty ones, and what it drops would count
/// as a change each time.
fn some_unless_empty<T: Clone + Default + PartialEq>(value: &T) -> Option<T> {
    (*value != T::default()).then(|| value.clone())
}
