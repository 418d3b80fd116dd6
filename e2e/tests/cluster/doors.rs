//! A database with a certificate, as programs meet it: HTTP with TLS, WebSocket and QUIC.

use std::process::Command;
use std::time::Duration;

use e2e::{CALM, Database, Namespace, run, wait_for};
use pliantdb_client::{
    AsyncClient, Collection, Connection, Credentials, Options, Secret, StorageConnection, Subscriber, Trust,
};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[derive(Debug, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "things")]
struct Thing {
    name: String,
}

#[test]
fn all_doors_are_open_with_the_certificate_of_the_secret() {
    let _calm = CALM.read().expect("calm");
    Runtime::new().expect("a runtime").block_on(every_door());
}

async fn every_door() {
    let namespace = Namespace::new("doors");
    let tls = json!({"tls": {"secretName": "shop-tls"}});
    namespace.apply(&Database::manifest("shop", &tls)).ok();
    // The certificate is for the address, which is known when there is a Service; the node waits for it.
    let address = wait_for(
        "the Service",
        Duration::from_secs(60),
        || {
            namespace.get("service", "shop")["spec"]["clusterIP"]
                .as_str()
                .map(str::to_owned)
        },
        Option::is_some,
    );
    let address = address.expect("an address");
    let key = KeyPair::generate().expect("a key");
    let names = vec![address.clone(), "shop".to_owned()];
    let certificate = CertificateParams::new(names).and_then(|parameters| parameters.self_signed(&key));
    let folder = tempfile::tempdir().expect("a folder");
    let (cert_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&cert_file, certificate.expect("a certificate").pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let (cert, key) = (
        format!("--cert={}", cert_file.display()),
        format!("--key={}", key_file.display()),
    );
    namespace
        .kubectl(&["create", "secret", "tls", "shop-tls", &cert, &key])
        .ok();
    namespace.await_condition("shop", "Ready", "True", "NodesReady");
    let endpoint = namespace.get("pliantcluster", "shop")["status"]["endpoint"].clone();
    assert!(
        endpoint
            .as_str()
            .is_some_and(|endpoint| endpoint.starts_with("https://")),
        "{endpoint}"
    );

    let template = "go-template={{.data.token | base64decode}}";
    let token = namespace
        .kubectl(&["get", "secret", "shop-admin", "-o", template])
        .ok();
    let curl = |certificate: &str| {
        run(Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail-with-body",
                "--max-time",
                "5",
                "--cacert",
                certificate,
            ])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["-X", "PUT", "--json", r#"{"name":"by HTTP"}"#])
            .arg(format!("https://{address}:6480/v1/default/things/http")))
    };
    let cert_path = cert_file.to_str().expect("a path");
    wait_for(
        "HTTP with TLS",
        Duration::from_secs(30),
        || curl(cert_path),
        |answer| answer.success,
    );
    assert!(
        !curl("/etc/ssl/certs/ca-certificates.crt").success,
        "nobody else's certificate is trusted"
    );

    let options = Options {
        credentials: Some(Credentials::Token(Secret::new(token.clone()))),
        trust: Trust::Authorities(cert_file),
        ..Options::default()
    };
    let quic = AsyncClient::connect(&format!("pliant://{address}"), options.clone())
        .await
        .expect("QUIC");
    let websocket = AsyncClient::connect(&format!("wss://{address}:6480"), options.clone())
        .await
        .expect("WebSocket");
    let (quic, websocket) = (
        quic.database::<Thing>("default").await.expect("a database"),
        websocket.database::<Thing>("default").await.expect("a database"),
    );
    let messages = websocket.subscribe(&["things.*"]).await.expect("a subscription");
    let written = quic
        .collection::<Thing>()
        .insert(Thing {
            name: "by QUIC".to_owned(),
        })
        .await
        .expect("a document");
    assert_eq!(quic.publish("things.new", &1).await, Ok(1));
    assert_eq!(messages.receive().await.expect("a message").payload.as_str(), "1");
    assert_eq!(
        websocket.collection::<Thing>().get(&written.id).await,
        Ok(Some(written))
    );
    let by_http = quic
        .collection::<Thing>()
        .get(&"http".parse().expect("an id"))
        .await;
    assert_eq!(
        by_http
            .expect("an answer")
            .map(|thing| thing.contents.name)
            .as_deref(),
        Some("by HTTP")
    );

    // A program in a pod, which knows the database by the name of its Service.
    let image = namespace.get("pliantcluster", "shop")["status"]["image"].clone();
    namespace.apply(&client_pod(&image)).ok();
    wait_for(
        "the program in a pod",
        Duration::from_secs(90),
        || namespace.get("pod", "client")["status"]["phase"].clone(),
        |phase| phase == "Succeeded" || phase == "Failed",
    );
    let said = namespace.kubectl(&["logs", "client"]).ok();
    assert_eq!(
        namespace.get("pod", "client")["status"]["phase"],
        "Succeeded",
        "{said}"
    );
    assert!(said.contains("by HTTP") && !said.contains(&token), "{said}");
    let by_pod = quic
        .collection::<Thing>()
        .get(&"pod".parse().expect("an id"))
        .await;
    assert_eq!(
        by_pod
            .expect("an answer")
            .map(|thing| thing.contents.name)
            .as_deref(),
        Some("by a pod")
    );

    let strangers = Options {
        credentials: None,
        ..options
    };
    let refused = AsyncClient::connect(&format!("pliant://{address}"), strangers)
        .await
        .map(drop);
    assert!(
        matches!(refused, Err(pliantdb_client::Error::Unauthenticated(_))),
        "{refused:?}"
    );
}

/// A pod that writes and reads by the shell of the node's image.
fn client_pod(image: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "client", "image": image,
                "args": [
                    "shell", "--server", "pliant://shop", "--ca-file", "/tls/tls.crt",
                    "-c", "put things pod {\"name\": \"by a pod\"}", "-c", "get things http"
                ],
                "env": [{
                    "name": "PLIANT_TOKEN",
                    "valueFrom": {"secretKeyRef": {"name": "shop-admin", "key": "token"}}
                }],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
                }
            }],
            "volumes": [{"name": "tls", "secret": {"secretName": "shop-tls", "defaultMode": 288}}]
        }
    })
}
