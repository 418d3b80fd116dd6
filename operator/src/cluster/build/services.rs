//! How clients and nodes find the nodes.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use kube::ResourceExt;
use pliant_crds::PliantCluster;

use super::{ADMIN_PORT, HTTP_PORT, QUIC_PORT, ValidCluster, metadata, names};

pub(super) fn build(cluster: &ValidCluster) -> [Service; 2] {
    [any_node(cluster), each_node(cluster)]
}

/// Where applications inside the Kubernetes cluster reach any node.
pub fn endpoint(cluster: &PliantCluster, domain: &str) -> String {
    let (service, namespace) = (
        names::main(&cluster.name_any()),
        cluster.namespace().unwrap_or_default(),
    );
    let scheme = match cluster.spec.tls {
        Some(_) => "https",
        None => "http",
    };
    format!("{scheme}://{service}.{namespace}.svc.{domain}:{HTTP_PORT}")
}

/// Leads to any node that is ready.
fn any_node(cluster: &ValidCluster) -> Service {
    Service {
        metadata: metadata(cluster, names::main(&cluster.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(names::labels(&cluster.name)),
            ports: Some(vec![
                port("http", HTTP_PORT, "TCP"),
                port("quic", QUIC_PORT, "UDP"),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Gives each node a name of its own, ready or not.
fn each_node(cluster: &ValidCluster) -> Service {
    Service {
        metadata: metadata(cluster, names::nodes_service(&cluster.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::labels(&cluster.name)),
            ports: Some(vec![
                port("http", HTTP_PORT, "TCP"),
                port("quic", QUIC_PORT, "UDP"),
                port("admin", ADMIN_PORT, "TCP"),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, port: i32, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port,
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some(protocol.into()),
        ..ServicePort::default()
    }
}
