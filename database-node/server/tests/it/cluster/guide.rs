//! The chapter of the guide on clusters, run as it stands there.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

const GUIDE: &str = include_str!("../../../../../docs/guide/cluster.md");

/// All commands that are to be run, in their order.
fn commands() -> String {
    let marked = GUIDE.split("<!-- run: ").skip(1).map(|part| {
        let (_, commands) = part.split_once("```sh\n").unwrap();
        commands.split_once("```").unwrap().0
    });
    marked.collect()
}

/// Ports that nobody listens at, by TCP or UDP.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address) {
            held.push((tcp, udp));
        }
    }
    held.iter()
        .map(|(tcp, _)| tcp.local_addr().unwrap().port())
        .collect()
}

#[test]
fn works_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut script, mut replaced) = (commands(), Vec::new());
    let shown = (64..67).flat_map(|node| (80..84).map(move |door| format!("{node}{door}")));
    for (shown, free) in shown.zip(free_ports(12)) {
        // In two steps, for a free one may look as one that is shown.
        script = script.replace(&format!("127.0.0.1:{shown}"), &format!("127.0.0.1:@{free}@"));
        replaced.push((format!("@{free}@"), free.to_string(), shown));
    }
    let mut admin = String::new();
    for (mark, free, shown) in replaced {
        script = script.replace(&mark, &free);
        if shown == "6483" {
            admin = format!("http://127.0.0.1:{free}");
        }
    }
    let script = script.replace("curl --fail ", "CURL --fail ");
    let script = script.replace("curl ", "curl --silent --show-error --fail-with-body ");
    let script = script.replace("CURL ", "curl ");
    let program = Path::new(env!("CARGO_BIN_EXE_pliant-node")).parent().unwrap();
    let ended = "trap 'kill -9 $(jobs -p) 2>/dev/null; wait' EXIT";
    let output = Command::new("bash")
        .args(["-euxc", &format!("{ended}\n{script}")])
        .env(
            "PATH",
            format!("{}:{}", program.display(), std::env::var("PATH").unwrap()),
        )
        .env("PLIANT_ADMIN", &admin)
        .env("PLIANT_LOG_LEVEL", "error")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!said.contains("lost\n"), "a write was lost: {said}\n{errors}");
    for part in [
        r#"{"name":"Ada"}"#,
        r#"{"name": "Alan"}"#,
        r#"{"name": "Grace"}"#,
        "the mode is Quorum",
        "survives the loss of any minority",
        "promoted db-3",
        "db-3\tLeader",
    ] {
        let spaceless = |text: &str| text.replace(' ', "");
        assert!(
            spaceless(&said).contains(&spaceless(part)),
            "{part}: {said}\n{errors}"
        );
    }
}
