//! Who is taken for a node, and by what certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use pliantdb_cluster_transport::{Authority, CertificateFiles, Credentials, NodeKey};

use pliantdb_cluster_driver::Transport;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::machines::{CLUSTER, DAY, Machines, beat, envelope, hear, id, peer, tell, until};
use crate::plain::{Like, NODE, connect};

#[test]
fn an_authority_is_kept_and_its_key_is_nobody_elses() {
    let machines = Machines::new();
    let folder = machines.path().join("authority");
    let opened = Authority::open(&folder).unwrap();
    assert_eq!(opened.fingerprint(), machines.authority.fingerprint());
    let key = fs::metadata(folder.join("authority-key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert!(!format!("{opened:?}").contains("PRIVATE"));
    // It is not made anew over what is there.
    let again = Authority::create(&folder, "test", SystemTime::now()).unwrap_err();
    assert!(again.to_string().contains("there already"), "{again}");
    // What one has issued that was opened is worth as much.
    let files = CertificateFiles::within(&machines.path().join("a"));
    let request = NodeKey::open_or_make(&files.key)
        .unwrap()
        .signing_request()
        .unwrap();
    fs::write(
        &files.certificate,
        opened.issue(&request, DAY, SystemTime::now()).unwrap(),
    )
    .unwrap();
    fs::write(&files.authority, machines.authority.certificate_pem()).unwrap();
    let credentials = Credentials::open(files.clone()).unwrap();
    let expires = credentials.expires().duration_since(SystemTime::now()).unwrap();
    assert!(
        expires <= DAY && expires > DAY - Duration::from_secs(60),
        "{expires:?}"
    );
    let key = fs::metadata(&files.key).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_authority_is_told_to_another_node_and_a_certificate_is_renewed_in_time() {
    let machines = Machines::new();
    let (certificate, key) = (machines.authority.certificate_pem(), machines.authority.key_pem());
    let told = Authority::from_pem(certificate, key).unwrap();
    assert_eq!(told.fingerprint(), machines.authority.fingerprint());
    let folder = machines.path().join("told");
    told.keep(&folder).unwrap();
    let mode = fs::metadata(folder.join("authority-key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = Authority::create(&machines.path().join("other"), "other", SystemTime::now()).unwrap();
    let mixed = Authority::from_pem(certificate, other.key_pem())
        .unwrap_err()
        .to_string();
    assert!(
        mixed.contains("does not belong to its key") && !mixed.contains("PRIVATE"),
        "{mixed}"
    );
    assert!(Authority::from_pem(certificate, "no key").is_err());

    let files = CertificateFiles::within(&machines.path().join("renewed"));
    let issuing = Authority::open(&folder).unwrap();
    let credentials = issuing.certify(files, 3 * DAY, SystemTime::now()).unwrap();
    assert_eq!(credentials.authority(), Some(told.fingerprint()));
    let due = credentials.renewal().duration_since(SystemTime::now()).unwrap();
    assert!(
        due <= 2 * DAY && due > 2 * DAY - Duration::from_secs(60),
        "{due:?}"
    );
}

#[test]
fn a_request_that_was_changed_is_refused() {
    let machines = Machines::new();
    let key = NodeKey::open_or_make(&machines.path().join("key.pem")).unwrap();
    let request = key.signing_request().unwrap();
    // Behind a header of three bytes is what was signed.
    let (_, parsed) = X509CertificationRequest::from_der(&request).unwrap();
    let signed = 3..3 + parsed.certification_request_info.raw.len();
    for at in 0..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        let issued = machines.authority.issue(&changed, DAY, SystemTime::now());
        assert!(issued.is_err() || !signed.contains(&at), "{at}");
        assert!(
            machines
                .authority
                .issue(&request[..at], DAY, SystemTime::now())
                .is_err(),
            "{at}"
        );
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let (machines, others) = (Machines::new(), Machines::new());
    machines.credentials(1);
    others.credentials(1);
    let files = |of: &Machines| CertificateFiles::within(&of.path().join("node-1"));
    let (ours, theirs) = (files(&machines), files(&others));
    let refused = |files: CertificateFiles| Credentials::open(files).unwrap_err().to_string();
    let error = refused(CertificateFiles {
        key: theirs.key.clone(),
        ..ours.clone()
    });
    assert!(
        error.contains("certificate.pem") && error.contains("key.pem"),
        "{error}"
    );
    let error = refused(CertificateFiles {
        authority: theirs.authority.clone(),
        ..ours.clone()
    });
    assert!(error.contains("was not issued by the authority"), "{error}");
    let error = refused(CertificateFiles {
        key: ours.certificate.clone(),
        ..ours.clone()
    });
    assert!(error.contains("no private key"), "{error}");
    // A secret in the wrong place is not shown.
    fs::write(&ours.key, "s3cret").unwrap();
    assert!(!refused(ours.clone()).contains("s3cret"));
    fs::write(&ours.authority, "").unwrap();
    fs::copy(&theirs.key, &ours.key).unwrap();
    let error = refused(ours);
    assert!(
        error.contains("authority.pem") && error.contains("no certificate"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_with_a_wrong_certificate_is_refused() {
    let (machines, others) = (Machines::new(), Machines::new());
    let network = machines.network(1);
    let heard = hear(&network);
    let wrong = [
        Some(others.show(&Like::default())),
        Some(machines.show(&Like::expired())),
        Some(machines.show(&Like::of_tomorrow())),
        Some(machines.show(&Like::of_a_client())),
        Some(machines.show(&Like {
            uri: None,
            ..Like::default()
        })),
        Some(machines.show(&Like {
            is_for_both: false,
            ..Like::default()
        })),
        None,
    ];
    for (number, shown) in wrong.iter().enumerate() {
        // That it is refused it hears after it has shown what it has.
        if let Ok(connection) = connect(shown.as_ref(), NODE, network.local_address()).await {
            assert!(connection.greet(CLUSTER, peer(2), 1).await.is_none(), "{number}");
        }
        let refused = u64::try_from(number).unwrap() + 1;
        until("refused", || network.counters().connections_refused == refused).await;
    }
    assert_eq!(network.counters().connections_taken, 0);
    // A right one is taken.
    let right = machines.show(&Like::default());
    let connection = connect(Some(&right), NODE, network.local_address())
        .await
        .unwrap();
    assert!(connection.greet(CLUSTER, peer(2), 1).await.is_some());
    assert_eq!(network.counters().connections_taken, 1);
    assert!(heard.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_connected_to_with_a_wrong_certificate_is_refused() {
    let (machines, others) = (Machines::new(), Machines::new());
    let network = machines.network(1);
    let wrong = [
        (
            others.show(&Like::default()),
            "was not issued by the authority of this cluster",
        ),
        (machines.show(&Like::expired()), "expired at"),
        (machines.show(&Like::of_tomorrow()), "is valid from"),
        (machines.show(&Like::of_a_client()), "is not a node's"),
    ];
    let mut sender = network.sender();
    for (node, (shown, reason)) in (2..).zip(&wrong) {
        let endpoint = shown.listen();
        assert!(network.set_address(id(node), &endpoint.local_addr().unwrap().to_string()));
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let _ = incoming.await;
            }
        });
        sender.send(peer(node), envelope(1, node, vec![beat(1)]));
        let status = || {
            network
                .peers()
                .into_iter()
                .find(|status| status.node == id(node))
                .unwrap()
        };
        until(reason, || status().failures > 0).await;
        assert!(status().reason.contains(reason), "{:?}", status());
        assert_eq!(status().connected_to, None);
        accepting.abort();
    }
    assert_eq!(network.counters().envelopes_sent, 0);
    assert_eq!(network.counters().connections_made, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_count_for_new_connections() {
    let machines = Machines::new();
    let credentials = machines.credentials(1);
    let (one, two) = (machines.network(1), machines.network(2));
    let heard = hear(&two);
    tell(&one, 2, &two);
    let mut sender = one.sender();
    let mut send = |number| sender.send(peer(2), envelope(1, 2, vec![beat(number)]));
    send(1);
    until("the first", || heard.try_recv().is_ok()).await;

    // Nothing has changed; then half of it has, which is not taken; then all has.
    assert_eq!(credentials.reload(), Ok(false));
    let before = credentials.fingerprint();
    let files = CertificateFiles::within(&machines.path().join("node-1"));
    let fresh = CertificateFiles::within(&machines.path().join("fresh"));
    machines.issue(&fresh);
    fs::copy(&fresh.certificate, &files.certificate).unwrap();
    assert!(credentials.reload().is_err());
    assert_eq!(credentials.fingerprint(), before);
    fs::copy(&fresh.key, &files.key).unwrap();
    assert_eq!(credentials.reload(), Ok(true));
    assert_ne!(credentials.fingerprint(), before);

    // The other side goes by another authority from now on, and this side still by the old one.
    let others = Machines::new();
    let theirs = CertificateFiles::within(&machines.path().join("node-2"));
    let trusting = machines.credentials(2);
    for path in [&theirs.authority, &theirs.certificate] {
        fs::remove_file(path).unwrap();
    }
    others.issue(&theirs);
    drop(two);
    let two = pliantdb_cluster_transport::Network::bind(
        crate::machines::any(),
        trusting.clone(),
        pliantdb_cluster_transport::Options::default(),
    );
    let two = two.unwrap();
    two.set_identity(CLUSTER, id(2));
    let heard = hear(&two);
    assert_eq!(trusting.reload(), Ok(true));
    tell(&one, 2, &two);
    until("refused", || {
        send(2);
        one.peers()[0].reason.contains("was not issued by the authority")
    })
    .await;
    assert!(heard.try_recv().is_err());
    // Until it has the old one again.
    machines.issue(&theirs);
    assert_eq!(trusting.reload(), Ok(true));
    until("taken again", || {
        send(3);
        heard.try_recv().is_ok()
    })
    .await;
}
