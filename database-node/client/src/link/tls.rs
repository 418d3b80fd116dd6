//! How a server shows that it is the one that is meant.

use std::sync::Arc;

use aws_lc_rs::digest;
use pliantdb_core::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::address::Address;
use crate::options::{Options, Trust};

/// What TLS is made with.
///
/// # Errors
/// [`Error::Invalid`] when the authorities cannot be read, or the fingerprint is none.
pub(super) fn config(address: &Address, options: &Options, alpn: &[u8]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::invalid)?;
    let fingerprint = match (&address.fingerprint, &options.trust) {
        (Some(fingerprint), _) | (None, Trust::Fingerprint(fingerprint)) => Some(fingerprint),
        (None, Trust::System | Trust::Authorities(_)) => None,
    };
    let mut config = match fingerprint {
        Some(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known {
                fingerprint: digest_of(fingerprint)?,
                provider,
            }))
            .with_no_client_auth(),
        None => builder
            .with_root_certificates(authorities(&options.trust)?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

fn authorities(trust: &Trust) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let Trust::Authorities(path) = trust else {
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        return match store.is_empty() {
            false => Ok(store),
            true => Err(Error::Invalid(
                "this system trusts no certificate authority: use Trust::Authorities or Trust::Fingerprint"
                    .to_owned(),
            )),
        };
    };
    let invalid = |reason: String| {
        Error::Invalid(format!(
            "the authorities in {} cannot be used: {reason}",
            path.display()
        ))
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| invalid(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        store
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
    }
    match store.is_empty() {
        false => Ok(store),
        true => Err(invalid("there is no certificate in PEM in it".to_owned())),
    }
}

fn digest_of(fingerprint: &str) -> Result<[u8; 32], Error> {
    let digits: Vec<_> = fingerprint
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect();
    let bytes = digits.chunks_exact(2).map(|pair| match pair {
        [Some(high), Some(low)] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    // A digit without another is none of a pair.
    let bytes = bytes.filter(|_| digits.len().is_multiple_of(2));
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        Error::Invalid(format!(
            "{:?} is not a fingerprint: it must be the 64 hexadecimal digits that the server shows when it starts",
            pliantdb_core::shorten(fingerprint)
        ))
    })
}

/// Trusts the one certificate that has the fingerprint. That the server has its key is checked as always.
#[derive(Debug)]
struct Known {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match digest::digest(&digest::SHA256, end_entity).as_ref() == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General(
                "the server's certificate has another fingerprint than the one that is trusted".to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
