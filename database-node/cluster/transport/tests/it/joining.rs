//! Tokens, and the certificates that they are good for.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pliantdb_cluster_driver::Transport;
use pliantdb_cluster_transport::{
    CertificateFiles, Giver, JoinError, JoinToken, JoinTokens, Network, Options, obtain,
};

use crate::machines::{CLUSTER, DAY, Machines, any, beat, envelope, hear, id, network_at, peer, tell, until};
use crate::plain::{JOIN, connect};

const HOUR: Duration = Duration::from_secs(3600);

fn tomorrow() -> SystemTime {
    SystemTime::now() + DAY
}

fn tokens(machines: &Machines) -> Arc<JoinTokens> {
    Arc::new(JoinTokens::open(&machines.path().join("tokens.json")).unwrap())
}

/// A node that gives certificates.
fn giving(machines: &Machines, tokens: &Arc<JoinTokens>) -> Network {
    let network = machines.network(1);
    let giver = Giver::new(Arc::clone(&machines.authority), Arc::clone(tokens), DAY);
    network.set_giver(Some(giver));
    network
}

async fn ask(network: &Network, token: &JoinToken, files: &CertificateFiles) -> Result<(), JoinError> {
    let addresses = [network.local_address().to_string()];
    obtain(&addresses, token, files.clone()).await.map(drop)
}

/// They wait for seconds, so they do it at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_its_time() {
    tokio::join!(
        a_token_is_good_for_one_certificate(),
        tokens_that_are_not_good_are_refused(),
        who_asks_nonsense_is_left_alone(),
    );
}

async fn a_token_is_good_for_one_certificate() {
    let machines = Machines::new();
    let authority = machines.authority.fingerprint();
    let made = tokens(&machines);
    let network = giving(&machines, &made);
    let heard = hear(&network);
    let text = made.make(authority, HOUR, SystemTime::now()).unwrap().reveal();
    let token: JoinToken = text.parse().unwrap();
    let files = |name: &str| CertificateFiles::within(&machines.path().join(name));
    ask(&network, &token, &files("a")).await.unwrap();
    // Again with the same key, as after a lost answer; not with another.
    ask(&network, &token, &files("a")).await.unwrap();
    let refused = ask(&network, &token, &files("b")).await.unwrap_err().to_string();
    assert!(refused.contains("was used already"), "{refused}");
    assert!(!files("b").certificate.exists());

    // With it, the node is one.
    let credentials = pliantdb_cluster_transport::Credentials::open(files("a")).unwrap();
    let joined = Network::bind(any(), credentials, Options::default()).unwrap();
    joined.set_identity(CLUSTER, id(2));
    tell(&joined, 1, &network);
    joined.sender().send(peer(1), envelope(2, 1, vec![beat(1)]));
    until("heard", || heard.try_recv().is_ok()).await;

    // A restart does not make it good again.
    let address = network.local_address();
    network.close().await;
    let network = network_at(address, &machines.credentials(1)).await;
    network.set_giver(Some(Giver::new(
        Arc::clone(&machines.authority),
        tokens(&machines),
        DAY,
    )));
    hear(&network);
    let refused = ask(&network, &token, &files("b")).await.unwrap_err().to_string();
    assert!(refused.contains("was used already"), "{refused}");
}

async fn tokens_that_are_not_good_are_refused() {
    let (machines, others) = (Machines::new(), Machines::new());
    let authority = machines.authority.fingerprint();
    let made = tokens(&machines);
    let network = giving(&machines, &made);
    hear(&network);
    let files = CertificateFiles::within(&machines.path().join("a"));
    let good = made.make(authority, HOUR, SystemTime::now()).unwrap();

    // Nobody made it; of an authority that this is not; of one with this secret that is not this authority.
    let unknown = tokens(&others).make(authority, HOUR, SystemTime::now()).unwrap();
    let began = Instant::now();
    let refused = ask(&network, &unknown, &files).await.unwrap_err();
    assert!(
        matches!(&refused, JoinError::Refused(_)) && refused.to_string().contains("not known"),
        "{refused}"
    );
    // Trying takes its time.
    assert!(began.elapsed() >= Duration::from_millis(500));
    let foreign = made
        .make(others.authority.fingerprint(), HOUR, SystemTime::now())
        .unwrap();
    let refused = ask(&network, &foreign, &files).await.unwrap_err();
    assert!(
        matches!(&refused, JoinError::Unreachable(_))
            && refused.to_string().contains("not the one of the token"),
        "{refused}"
    );
    // Time is over.
    let giver = Giver::new(Arc::clone(&machines.authority), Arc::clone(&made), DAY);
    network.set_giver(Some(giver.with_clock(tomorrow)));
    let refused = ask(&network, &good, &files).await.unwrap_err().to_string();
    assert!(refused.contains("has expired"), "{refused}");
    // Nobody here has the authority's key.
    network.set_giver(None);
    let refused = ask(&network, &good, &files).await.unwrap_err().to_string();
    assert!(refused.contains("does not give certificates"), "{refused}");
    assert!(!files.certificate.exists());
    // The good one is good yet, also when the first address does not answer.
    network.set_giver(Some(Giver::new(Arc::clone(&machines.authority), made, DAY)));
    let addresses = [
        "no.such.host.invalid:6482".to_owned(),
        network.local_address().to_string(),
    ];
    obtain(&addresses, &good, files.clone()).await.unwrap();
    assert!(files.certificate.exists());
}

async fn who_asks_nonsense_is_left_alone() {
    let machines = Machines::new();
    let made = tokens(&machines);
    let network = giving(&machines, &made);
    let heard = hear(&network);
    for first in [&b""[..], b"\x01", b"\x02rest", &[1; 100]] {
        let plain = connect(None, JOIN, network.local_address()).await.unwrap();
        let (_, mut receive) = plain.say(first).await.unwrap();
        let answer = receive.read_to_end(1 << 20).await;
        // A secret that is not known, at most; and nothing is open to it but this.
        assert!(answer.is_err() || !first.is_empty(), "{answer:?}");
        assert!(plain.connection.open_uni().await.is_err());
    }
    // Without a certificate nobody is a node.
    let plain = connect(None, crate::plain::NODE, network.local_address())
        .await
        .unwrap();
    assert_eq!(plain.greet(CLUSTER, peer(2), 1).await, None);
    assert_eq!(plain.closed().await.0, 3);
    assert!(heard.try_recv().is_err());
    // Not too many at once, and nodes have room all the same.
    let mut asking = Vec::new();
    for _ in 0..5 {
        asking.push(connect(None, JOIN, network.local_address()).await.unwrap());
    }
    until("one is sent away", || {
        asking
            .iter()
            .any(|plain| plain.connection.close_reason().is_some())
    })
    .await;
    let sent_away = asking
        .iter()
        .find(|plain| plain.connection.close_reason().is_some());
    assert_eq!(sent_away.unwrap().closed().await.0, 6);
    let two = machines.network(2);
    tell(&two, 1, &network);
    two.sender().send(peer(1), envelope(2, 1, vec![beat(1)]));
    until("a node is heard", || heard.try_recv().is_ok()).await;
}
