//! The other end of a connection without this crate: it can say anything.

use std::sync::Arc;
use std::time::SystemTime;

use pliantdb_cluster::wire::Peer;
use pliantdb_core::protocol::framed;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, ServerConfig};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::machines::{DAY, Machines, any};

pub const NODE: &[u8] = b"pliantdb-node/1";
pub const JOIN: &[u8] = b"pliantdb-join/1";

/// A certificate as a test wants it.
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

/// What a certificate is like.
pub struct Like {
    pub uri: Option<&'static str>,
    pub is_for_both: bool,
    pub from: SystemTime,
    pub until: SystemTime,
}

impl Default for Like {
    /// That of a node.
    fn default() -> Self {
        Self {
            uri: Some("pliantdb://node"),
            is_for_both: true,
            from: SystemTime::now() - DAY,
            until: SystemTime::now() + DAY,
        }
    }
}

impl Like {
    pub fn expired() -> Self {
        Self {
            from: SystemTime::now() - 3 * DAY,
            until: SystemTime::now() - DAY,
            ..Self::default()
        }
    }

    pub fn of_tomorrow() -> Self {
        Self {
            from: SystemTime::now() + DAY,
            until: SystemTime::now() + 2 * DAY,
            ..Self::default()
        }
    }

    pub fn of_a_client() -> Self {
        Self {
            uri: Some("pliantdb://client"),
            ..Self::default()
        }
    }
}

impl Machines {
    /// A certificate of this authority.
    pub fn show(&self, like: &Like) -> Shown {
        let folder = self.path().join("authority");
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        let key = KeyPair::from_pem(&read("authority-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("authority.pem"), key).unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let uri = like.uri.map(|uri| SanType::URI(uri.try_into().unwrap()));
        parameters.subject_alt_names.extend(uri);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if like.is_for_both {
            parameters
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        (parameters.not_before, parameters.not_after) = (like.from.into(), like.until.into());
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        Shown {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        }
    }
}

impl Shown {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// An endpoint that others can connect to, where they are greeted as node 2.
    pub fn listen(&self) -> Endpoint {
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let mut config = config
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key())
            .unwrap();
        config.alpn_protocols = vec![NODE.to_vec(), JOIN.to_vec()];
        let config = QuicServerConfig::try_from(config).unwrap();
        Endpoint::server(ServerConfig::with_crypto(Arc::new(config)), any()).unwrap()
    }
}

/// Connects without a look at who is there.
pub async fn connect(
    shown: Option<&Shown>,
    protocol: &[u8],
    to: std::net::SocketAddr,
) -> Result<Plain, ConnectionError> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match shown {
        Some(shown) => config
            .with_client_auth_cert(shown.chain.clone(), shown.key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = Endpoint::client(any()).unwrap();
    let connection = endpoint.connect_with(config, to, "anybody").unwrap().await?;
    Ok(Plain {
        _endpoint: endpoint,
        connection,
    })
}

/// A connection.
pub struct Plain {
    _endpoint: Endpoint,
    pub connection: Connection,
}

impl Plain {
    /// Says who it is, and waits for the answer.
    pub async fn greet(&self, cluster: u128, peer: Peer, process: u64) -> Option<Vec<u8>> {
        let hello = postcard::to_extend(&(cluster, peer, process), vec![1]).unwrap();
        let (_, mut receive) = self.say(&hello).await?;
        let welcome = receive.read_to_end(1 << 20).await.ok()?;
        (!welcome.is_empty()).then_some(welcome)
    }

    /// Says something first.
    pub async fn say(&self, first: &[u8]) -> Option<(SendStream, RecvStream)> {
        let (mut send, receive) = self.connection.open_bi().await.ok()?;
        let mut bytes = Vec::new();
        framed(first, &mut bytes).unwrap();
        send.write_all(&bytes).await.ok()?;
        send.finish().ok()?;
        Some((send, receive))
    }

    /// Waits until it is closed, and says why.
    pub async fn closed(&self) -> (u64, String) {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => (
                close.error_code.into_inner(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            error => panic!("{error}"),
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
