//! Certificates are renewed in time, by whichever node has the authority, and nobody notices.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_cluster_member::{Certificates, Formation, Member};
use tokio::time::{Instant, sleep};

use crate::machines::{Machines, founding, node, until};

/// How long certificates are good here.
const LIFETIME: Duration = Duration::from_secs(6);

async fn start(machines: &Machines, name: &str, formation: Formation) -> Member {
    let mut options = machines.options(name, formation);
    options.certificates = Certificates::Own { lifetime: LIFETIME };
    let member = Member::start(options).await.unwrap();
    member.joined().await.unwrap();
    member
}

async fn join(machines: &Machines, name: &str, by: &Member) -> Member {
    let (token, maker) = by.make_join_token(Duration::from_secs(60)).await.unwrap();
    let meta = by.meta().unwrap();
    let seeds = vec![meta.nodes()[&maker].attributes["address"].clone()];
    let token = Some(token);
    start(machines, name, Formation::Join { seeds, token }).await
}

fn certificate(machines: &Machines, name: &str) -> Vec<u8> {
    std::fs::read(machines.directory(name).join("certificates/certificate.pem")).unwrap()
}

/// Waits until the certificates of these nodes have been renewed so often.
async fn renewed(machines: &Machines, names: &[&str], times: usize) {
    let began = Instant::now();
    for name in names {
        let (mut last, mut seen) = (certificate(machines, name), 0);
        while seen < times {
            assert!(began.elapsed() < Duration::from_secs(60), "{name} is not renewed");
            sleep(Duration::from_millis(50)).await;
            let now = certificate(machines, name);
            seen += usize::from(now != last);
            last = now;
        }
    }
}

async fn has_authority(machines: &Machines, name: &str) {
    let key = machines.directory(name).join("authority/authority-key.pem");
    let began = Instant::now();
    while !machines.directory(name).join("authority/authority.pem").exists() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{name} has no authority"
        );
        sleep(Duration::from_millis(50)).await;
    }
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = std::fs::read(machines.directory("first").join("authority/authority-key.pem")).unwrap();
    assert_eq!(std::fs::read(&key).unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_also_when_the_founder_is_gone() {
    let machines = Machines::new();
    let first = start(&machines, "first", founding()).await;
    let second = join(&machines, "second", &first).await;
    has_authority(&machines, "second").await;
    let third = Arc::new(join(&machines, "third", &second).await);
    until(&third, |status| status.nodes.len() == 3).await;
    has_authority(&machines, "third").await;

    // Meanwhile nothing that is asked of another node fails.
    let stop = Arc::new(AtomicBool::new(false));
    let (asking, ended) = (Arc::clone(&third), Arc::clone(&stop));
    let asked = tokio::spawn(async move {
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            let status = asking.status().await.unwrap();
            assert!(status.is_supervised, "{status:?}");
            count += 1;
            sleep(Duration::from_millis(20)).await;
        }
        count
    });
    renewed(&machines, &["first", "second", "third"], 2).await;
    stop.store(true, Ordering::Relaxed);
    assert!(asked.await.unwrap() > 50);

    // The founder is gone. One that joins now learns of no other authority.
    first.stop().await.unwrap();
    until(&third, |status| status.is_supervised).await;
    let fourth = join(&machines, "fourth", &third).await;
    until(&fourth, |status| status.nodes.len() == 4).await;
    renewed(&machines, &["second", "third", "fourth"], 2).await;
    assert_eq!(fourth.node(), Some(node(4)));
    assert!(
        !machines
            .directory("fourth")
            .join("authority/authority-key.pem")
            .exists(),
        "it does not vote on the cluster"
    );
    // It issued its own certificate at another node, by which it is known after a restart.
    fourth.stop().await.unwrap();
    drop(fourth);
    let fourth = start(&machines, "fourth", founding()).await;
    until(&fourth, |status| status.is_supervised).await;
    for member in [&second, &fourth, &*third] {
        member.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_needs_another_token() {
    let machines = Machines::new();
    let first = start(&machines, "first", founding()).await;
    let second = join(&machines, "second", &first).await;
    has_authority(&machines, "second").await;
    let third = join(&machines, "third", &first).await;
    has_authority(&machines, "third").await;
    let fourth = join(&machines, "fourth", &first).await;
    fourth.stop().await.unwrap();
    drop(fourth);
    assert!(pliantdb_cluster_member::has_certificate(
        &machines.directory("fourth")
    ));
    sleep(LIFETIME + Duration::from_secs(2)).await;
    assert!(!pliantdb_cluster_member::has_certificate(
        &machines.directory("fourth")
    ));
    let mut options = machines.options("fourth", founding());
    options.certificates = Certificates::Own { lifetime: LIFETIME };
    let expired = Member::start(options).await.err().unwrap().to_string();
    assert!(
        expired.contains("certificate.pem") && expired.contains("expired"),
        "{expired}"
    );
    let fourth = join(&machines, "fourth", &second).await;
    assert_eq!(fourth.node(), Some(node(4)));
    for member in [first, second, third, fourth] {
        member.stop().await.unwrap();
    }
}
