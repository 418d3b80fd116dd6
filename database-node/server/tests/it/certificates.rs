//! Certificates that change while clients are at work.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pliantdb_client::{
    Client, Collection, Connection, DocumentId, Error, Options, RemoteDatabase, StorageConnection, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::node::{Node, command};

#[derive(Debug, serde::Serialize, serde::Deserialize, Collection)]
#[collection(name = "counts")]
struct Count(u64);

/// An authority that clients trust, and where it writes certificates to.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(folder.join("authority.pem"), certificate.pem()).unwrap();
        Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(parameters, key),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes another certificate and its key over the last; gives the certificate.
    fn replace(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let parameters = CertificateParams::new(names).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        // One after the other, as an operator might do it: between them they do not belong together.
        std::fs::write(self.file("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }
}

/// A connection by HTTPS that is kept.
struct Https(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Https {
    fn connect(address: SocketAddr, authority: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(authority).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(StreamOwned::new(connection, stream)))
    }

    /// The status of a request's answer.
    fn put(&mut self, path: &str, body: &str) -> u16 {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        self.0.read_line(&mut status).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            assert!(!line.to_lowercase().starts_with("connection: close"));
            if line.trim().is_empty() {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        status.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// What the server showed.
    fn certificate(&mut self) -> CertificateDer<'static> {
        self.put("/v1/default/counts/https-new", "0");
        let shown = self.0.get_ref().conn.peer_certificates().unwrap();
        shown[0].clone().into_owned()
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trusting(trust: Trust) -> Options {
    Options {
        trust,
        connect_timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

/// Writes and reads until it is to stop; every request must succeed.
fn work(database: &RemoteDatabase, name: &DocumentId, stop: &AtomicBool, done: &AtomicUsize) {
    let counts = database.collection::<Count>();
    for n in 0.. {
        counts.overwrite(name, Count(n)).unwrap();
        assert_eq!(counts.get(name).unwrap().unwrap().contents.0, n);
        done.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// Waits until new connections by every door are shown this certificate.
fn is_shown(node: &Node, authority: &Authority, certificate: &CertificateDer<'static>) {
    let start = Instant::now();
    let pem = authority.file("authority.pem");
    while Https::connect(node.address, &pem).certificate() != *certificate {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let known = trusting(Trust::Fingerprint(fingerprint(certificate)));
    for url in urls(node) {
        Client::connect(&url, known.clone()).unwrap().databases().unwrap();
    }
}

/// QUIC and WebSocket with TLS.
fn urls(node: &Node) -> [String; 2] {
    [
        format!("pliant://localhost:{}", node.quic.port()),
        format!("wss://localhost:{}", node.address.port()),
    ]
}

#[test]
fn no_request_fails_while_certificates_change() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let mut last = authority.replace();
    let mut command = command();
    command
        .args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0"])
        .args([
            "--quic-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(folder.path().join("data"))
        .arg("--certificate-file")
        .arg(authority.file("certificate.pem"))
        .arg("--key-file")
        .arg(authority.file("key.pem"));
    let node = Node::spawn(command);
    is_shown(&node, &authority, &last);

    let (stop, done) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 3]);
    let pem = authority.file("authority.pem");
    std::thread::scope(|scope| {
        let (stop, done) = (&stop, &done);
        let mut working = Vec::new();
        for (url, done) in urls(&node).into_iter().zip(done) {
            let client = Client::connect(&url, trusting(Trust::Authorities(pem.clone()))).unwrap();
            let database = client.database::<Count>("default").unwrap();
            let name: DocumentId = url.split(':').next().unwrap().parse().unwrap();
            working.push(scope.spawn(move || work(&database, &name, stop, done)));
        }
        let mut https = Https::connect(node.address, &pem);
        working.push(scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                assert!(https.put("/v1/default/counts/https", "1") < 300);
                done[2].fetch_add(1, Ordering::Relaxed);
            }
        }));
        // Whatever becomes of this thread, the others end.
        let changes = scope.spawn(|| {
            for _ in 0..2 {
                let before = std::mem::replace(&mut last, authority.replace());
                is_shown(&node, &authority, &last);
                let gone = trusting(Trust::Fingerprint(fingerprint(&before)));
                for url in urls(&node) {
                    let refused = Client::connect(&url, gone.clone()).map(drop).unwrap_err();
                    assert!(matches!(refused, Error::Unreachable(_)), "{refused:?}");
                }
            }
            // A key of another certificate, and then none at all.
            let other = KeyPair::generate().unwrap();
            std::fs::write(authority.file("key.pem"), other.serialize_pem()).unwrap();
            node.wait_for_log("the last good certificate stays in use");
            is_shown(&node, &authority, &last);
            std::fs::remove_file(authority.file("key.pem")).unwrap();
            std::fs::write(authority.file("certificate.pem"), "nonsense").unwrap();
            std::thread::sleep(Duration::from_secs(6));
            is_shown(&node, &authority, &last);
            last = authority.replace();
            is_shown(&node, &authority, &last);
        });
        let changed = changes.join();
        stop.store(true, Ordering::Relaxed);
        for worker in working {
            worker.join().unwrap();
        }
        changed.unwrap();
        for done in done {
            assert!(done.load(Ordering::Relaxed) > 100, "{done:?}");
        }
    });
    let complaints = node.log().matches("the last good certificate stays").count();
    // Once for each time that it went wrong: with the pair that was half replaced when it was looked at, perhaps.
    assert!((1..=4).contains(&complaints), "{}", node.log());
}
