//! How connections are secured, and what they carry.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificates::trust::{ByFingerprint, NodesOnly, provider};
use crate::certificates::{CertificateError, Credentials};

/// What nodes speak.
pub(crate) const NODE_ALPN: &[u8] = b"pliantdb-node/1";
/// What a node speaks that has no certificate yet.
pub(crate) const JOIN_ALPN: &[u8] = b"pliantdb-join/1";

/// The name that is asked for; nobody goes by it.
pub(crate) const SERVER_NAME: &str = "pliantdb-node";

/// After so long without a sign of the other side a connection is given up.
pub(crate) const IDLE: Duration = Duration::from_secs(2);
/// So often whoever has made a connection shows that it is there.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// What a round trip is taken for before it was measured: the first packets are repeated after about three of them.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// So many requests may be under way on a connection.
pub(crate) const REQUESTS_AT_ONCE: u32 = 64;
/// So many requests that are urgent may be besides.
pub(crate) const URGENT_AT_ONCE: u32 = 32;
/// So many answers that are streams may be under way on a connection.
pub(crate) const STREAMS_AT_ONCE: u32 = 256;
/// Streams with questions of any kind on a connection; the first is the greeting.
pub(crate) const ASKED_AT_ONCE: u32 = REQUESTS_AT_ONCE + URGENT_AT_ONCE + STREAMS_AT_ONCE + 1;
/// Streams with envelopes on a connection.
pub(crate) const ENVELOPE_STREAMS: u32 = 3;
/// What may be on its way on one stream, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// What may be on its way on all streams: so much that no stream that is not read, or whose bytes are not acknowledged, ever
/// keeps another from sending.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (ASKED_AT_ONCE + ENVELOPE_STREAMS + 1);

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        // The first of them is the greeting. More are allowed when it is known who the other is.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None)
        .initial_rtt(FIRST_ROUND_TRIP)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok());
    transport
}

/// For connections that others make.
pub(crate) fn server(credentials: &Credentials) -> Result<ServerConfig, CertificateError> {
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::making)?;
    let mut config = config
        .with_client_cert_verifier(Arc::new(NodesOnly(credentials.clone())))
        .with_cert_resolver(Arc::new(Shown(credentials.clone())));
    config.alpn_protocols = vec![NODE_ALPN.to_vec(), JOIN_ALPN.to_vec()];
    // Whoever comes back shows its certificate again: it may have expired, or the authority may be another.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(config).map_err(CertificateError::making)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// For a connection to another node, with what the files have now.
pub(crate) fn client(credentials: &Credentials) -> Result<ClientConfig, CertificateError> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::making)?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodesOnly(credentials.clone())))
        .with_client_cert_resolver(Arc::new(Own(Arc::clone(&credentials.current().key))));
    config.alpn_protocols = vec![NODE_ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    quic_client(config)
}

/// For a connection without a certificate, to a node that is known by its authority's fingerprint.
pub(crate) fn joiner(verifier: ByFingerprint) -> Result<ClientConfig, CertificateError> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::making)?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    quic_client(config)
}

fn quic_client(config: rustls::ClientConfig) -> Result<ClientConfig, CertificateError> {
    let tls = QuicClientConfig::try_from(config).map_err(CertificateError::making)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    let mut transport = transport();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// What a node shows to those who connect: to one that joins also the authority, of which it knows the fingerprint.
#[derive(Debug)]
struct Shown(Credentials);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.current();
        let joins = hello
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|protocol| protocol == JOIN_ALPN));
        Some(Arc::clone(match joins {
            true => &current.key_with_authority,
            false => &current.key,
        }))
    }
}

/// What a node shows to those to whom it connects.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
