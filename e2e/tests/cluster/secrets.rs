//! The administrator's token lets its holder in, nobody else, and is printed nowhere.

use std::process::Command;
use std::time::Duration;

use e2e::{Bed, CALM, Database, Namespace, run, wait_for};
use serde_json::json;

fn token(namespace: &Namespace) -> String {
    namespace
        .kubectl(&[
            "get",
            "secret",
            "db-admin",
            "-o",
            "go-template={{.data.token | base64decode}}",
        ])
        .ok()
}

#[test]
fn the_token_is_needed_and_never_printed() {
    let _calm = CALM.read();
    let namespace = Namespace::new("token");
    let database = Database::create(&namespace, "db", &json!({}));
    database.put("one", &json!(1));
    let address = namespace.get("service", "db")["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_string();
    let url = format!("http://{address}:6480/v1/default/things/one");
    for header in [
        "X-Nothing: 1",
        "Authorization: Bearer wrong-wrong-wrong-wrong-wrong-wrong",
    ] {
        let code = run(Command::new("curl").args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            header,
            &url,
        ]));
        assert_eq!(code.ok(), "401", "{header}");
    }
    let token = token(&namespace);
    assert_eq!(token.len(), 64);
    let selector = "app.kubernetes.io/component=operator";
    let everything = [
        Bed::kubectl(&["-n", Bed::OPERATOR_NAMESPACE, "logs", "-l", selector, "--tail=-1"]).ok(),
        namespace.kubectl(&["logs", "db-0"]).ok(),
        namespace
            .kubectl(&["get", "plc,pods,sts,configmaps,events", "-o", "yaml"])
            .ok(),
    ];
    for text in everything {
        assert!(!text.is_empty());
        assert!(!text.contains(&token), "the token is printed");
    }
}

#[test]
fn a_new_token_is_taken_up_without_a_restart() {
    let _calm = CALM.read();
    let namespace = Namespace::new("new-token");
    let database = Database::create(&namespace, "db", &json!({}));
    database.put("one", &json!(1));
    let before = (database.pod_uid(), token(&namespace));
    let new = "0123456789abcdef0123456789abcdef";
    let patch = json!({"stringData": {"token": new}}).to_string();
    namespace
        .kubectl(&["patch", "secret", "db-admin", "-p", &patch])
        .ok();
    // The kubelet brings a changed Secret into the pod about once a minute.
    wait_for(
        "the new token to be taken",
        Duration::from_secs(180),
        || database.curl(&[], "default/things/one"),
        |answer| answer.success,
    );
    assert_eq!(database.pod_uid(), before.0);
    assert_ne!(
        token(&namespace),
        before.1,
        "the operator leaves the owner's token as it is"
    );
}
