//! A connection by QUIC that says what it is told to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pliantdb_core::protocol::{
    ALPN, Greeting, Hello, Lane, MAX_HELLO, PROTOCOL_VERSION, decode, encode, framed,
};
use pliantdb_server::certificate::own_files;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// One that the server has welcomed.
pub(crate) struct RawQuic {
    connection: Connection,
    _lane: (SendStream, RecvStream),
    _endpoint: Endpoint,
}

impl RawQuic {
    /// Connects to a server with its own certificate.
    pub(crate) async fn welcomed(address: SocketAddr, data: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(own_files(data).certificate).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        let connection = connecting.await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let hello = Hello {
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            credentials: None,
            agent: "a test".to_owned(),
        };
        let mut bytes = Vec::new();
        framed(&encode(&hello).unwrap(), &mut bytes).unwrap();
        send.write_all(&bytes).await.unwrap();
        let mut lane = Lane::new(MAX_HELLO);
        let greeting = loop {
            if let Some(message) = lane.message().unwrap() {
                break decode::<Greeting>(message).unwrap();
            }
            let chunk = receive.read_chunk(MAX_HELLO, true).await.unwrap().unwrap();
            lane.arrived(&chunk.bytes);
        };
        assert!(matches!(greeting, Greeting::Welcome(_)), "{greeting:?}");
        Self {
            connection,
            _lane: (send, receive),
            _endpoint: endpoint,
        }
    }

    /// Begins a message of that length that has a stream of its own, and goes no further.
    pub(crate) async fn begin_large(&self, length: u32) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        stream.write_all(&[0; 100]).await.unwrap();
        stream
    }
}
