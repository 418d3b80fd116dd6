//! Who is taken for a node of the cluster.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError as Fault, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Fingerprint;
use super::credentials::Credentials;

/// The URI that a node's certificate has as an alternative name. A client's certificate of the same authority has it not.
pub const NODE_URI: &str = "pliantdb://node";

/// The cryptography of the workspace.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// As what a certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// By whoever connects.
    Dialler,
    /// By whoever is connected to.
    Listener,
}

/// Why a certificate is not taken, and what would be right.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As text: the TLS library shows the reason of an error like this.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for rustls::Error {
    fn from(refused: Refused) -> Self {
        let other = rustls::OtherError(Arc::new(refused));
        Self::InvalidCertificate(Fault::Other(other))
    }
}

/// The authorities of the cluster.
#[derive(Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
    diallers: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    fingerprints: String,
}

impl Trust {
    pub(crate) fn new(authorities: &[CertificateDer<'_>]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone().into_owned())
                .map_err(|error| error.to_string())?;
        }
        let roots = Arc::new(roots);
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let diallers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
        let fingerprints: Vec<_> = authorities
            .iter()
            .map(|authority| Fingerprint::of(authority).to_string())
            .collect();
        Ok(Self {
            roots,
            diallers: diallers.build().map_err(|error| error.to_string())?,
            algorithms,
            fingerprints: fingerprints.join(" or "),
        })
    }

    /// Whether a certificate is one of a node of this cluster, at this time.
    pub(crate) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let chain = match role {
            Role::Dialler => self
                .diallers
                .verify_client_cert(certificate, intermediates, now)
                .map(drop),
            Role::Listener => ParsedCertificate::try_from(certificate).and_then(|parsed| {
                verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    &self.roots,
                    intermediates,
                    now,
                    self.algorithms.all,
                )
            }),
        };
        chain.map_err(|error| self.explain(certificate, &error))?;
        if has_node_uri(certificate) {
            return Ok(());
        }
        Err(Refused(format!(
            "the certificate is not a node's: a node's has the URI {NODE_URI} among its alternative names, and a \
             client's certificate does not make a node"
        )))
    }

    fn explain(&self, certificate: &CertificateDer<'_>, error: &rustls::Error) -> Refused {
        let validity = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed.validity().clone());
        let validity = validity.ok();
        let when = |at: Option<x509_parser::time::ASN1Time>| at.map(|at| at.to_string()).unwrap_or_default();
        let rustls::Error::InvalidCertificate(fault) = error else {
            return Refused(error.to_string());
        };
        Refused(match fault {
            Fault::Expired | Fault::ExpiredContext { .. } => format!(
                "the certificate expired at {}: the node needs a new one, or the clock here is wrong",
                when(validity.map(|validity| validity.not_after))
            ),
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => format!(
                "the certificate is valid from {} on only: the clock of who issued it is fast, or the clock here is slow",
                when(validity.map(|validity| validity.not_before))
            ),
            Fault::UnknownIssuer | Fault::BadSignature => format!(
                "the certificate was not issued by the authority of this cluster (SHA-256 {}): the node needs one that was",
                self.fingerprints
            ),
            Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => {
                "the certificate may not be used so: a node's is for both sides (extended key usage serverAuth and \
                 clientAuth)"
                    .to_owned()
            }
            other => format!("the certificate cannot be used: {other}"),
        })
    }
}

fn has_node_uri(certificate: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    let mut names = names.value.general_names.iter();
    names.any(|name| matches!(name, GeneralName::URI(uri) if *uri == NODE_URI))
}

/// Takes nodes of the cluster, as its files name the authority now. The name by which a node was reached does not count:
/// which node it is, it says itself.
#[derive(Debug)]
pub(crate) struct NodesOnly(pub(crate) Credentials);

impl ServerCertVerifier for NodesOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let current = self.0.current();
        current
            .trust
            .check(end_entity, intermediates, Role::Listener, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for NodesOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The authority can change, and nodes have one certificate.
        &[]
    }

    /// Whoever has none may only ask to join: what each protocol wants is looked at when it is known which it is.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let current = self.0.current();
        current
            .trust
            .check(end_entity, intermediates, Role::Dialler, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Takes a node of the cluster whose authority has this fingerprint, and shows its authority's certificate.
#[derive(Debug)]
pub(crate) struct ByFingerprint(pub(crate) Fingerprint);

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut shown = intermediates.iter();
        let Some(authority) = shown.find(|shown| Fingerprint::of(shown) == self.0) else {
            return Err(Refused(format!(
                "its authority is not the one of the token (SHA-256 {}): this is another cluster, or somebody in between",
                self.0
            ))
            .into());
        };
        let trust = Trust::new(std::slice::from_ref(authority)).map_err(Refused)?;
        trust.check(end_entity, intermediates, Role::Listener, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}
