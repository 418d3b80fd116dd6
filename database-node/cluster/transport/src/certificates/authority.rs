//! The authority that issues the certificates of a cluster's nodes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::credentials::{CertificateFiles, Credentials};
use super::error::CertificateError;
use super::trust::NODE_URI;
use super::{NodeKey, files, key};

/// How long an authority is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// By how much the clock of whoever looks at a new certificate may be behind.
pub(super) const BEHIND: Duration = Duration::from_secs(10 * 60);

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = digest::digest(&digest::SHA256, certificate);
        bytes
            .iter_mut()
            .zip(digest.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A cluster's own certificate authority, with its private key (ECDSA over P-256). Whoever has the key says who is a node
/// of the cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: Zeroizing<String>,
}

impl Authority {
    /// Makes an authority with a new key, and keeps both in a folder.
    ///
    /// # Errors
    /// [`CertificateError`]; also when there is one already: what it has issued would be worth nothing any more.
    pub fn create(folder: &Path, cluster: &str, now: SystemTime) -> Result<Self, CertificateError> {
        let (certificate_file, key_file) = paths(folder);
        for path in [&certificate_file, &key_file] {
            if path.exists() {
                let reason = "it is there already; remove it if the cluster is to have another authority";
                return Err(CertificateError::file("create", path, reason));
            }
        }
        fs::create_dir_all(folder).map_err(|error| CertificateError::file("create", folder, error))?;
        let key_pair = KeyPair::generate().map_err(CertificateError::making)?;
        let mut parameters = valid(now, AUTHORITY_LIFETIME)?;
        parameters.distinguished_name = named(&format!("PliantDB cluster {cluster}"));
        // It issues certificates of nodes, and of no other authority.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = parameters
            .self_signed(&key_pair)
            .map_err(CertificateError::making)?;
        let authority = Self {
            certificate: made.der().clone(),
            pem: made.pem(),
            key_pem: Zeroizing::new(key_pair.serialize_pem()),
            issuer: Issuer::new(parameters, key_pair),
        };
        authority.keep(folder)?;
        Ok(authority)
    }

    /// The authority whose certificate and key another node has, both in PEM. It is kept nowhere: [`Authority::keep`].
    ///
    /// # Errors
    /// [`CertificateError::Making`], which does not repeat the key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let key_pair = KeyPair::from_pem(key)
            .map_err(|_| CertificateError::making("there is no private key in PEM in it"))?;
        Self::assemble(certificate, key_pair).map_err(CertificateError::Making)
    }

    fn assemble(pem: &str, key_pair: KeyPair) -> Result<Self, String> {
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        if *parsed.public_key().subject_public_key.data != *key_pair.der_bytes() {
            return Err("it does not belong to its key".to_owned());
        }
        if !parsed.is_ca() {
            return Err("it is not the certificate of an authority".to_owned());
        }
        let key_pem = Zeroizing::new(key_pair.serialize_pem());
        let issuer = Issuer::from_ca_cert_der(&certificate, key_pair).map_err(|error| error.to_string())?;
        Ok(Self {
            issuer,
            certificate,
            pem: pem.to_owned(),
            key_pem,
        })
    }

    /// Keeps both in a folder, the key readable by its owner only.
    ///
    /// # Errors
    /// [`CertificateError::File`].
    pub fn keep(&self, folder: &Path) -> Result<(), CertificateError> {
        let (certificate_file, key_file) = paths(folder);
        fs::create_dir_all(folder).map_err(|error| CertificateError::file("create", folder, error))?;
        // The certificate last: when it is there, so is the key.
        files::write(&key_file, self.key_pem.as_bytes(), files::SECRET)
            .map_err(|error| CertificateError::file("write", &key_file, error))?;
        files::write(&certificate_file, self.pem.as_bytes(), files::PUBLIC)
            .map_err(|error| CertificateError::file("write", &certificate_file, error))
    }

    /// The authority in a folder.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub fn open(folder: &Path) -> Result<Self, CertificateError> {
        let (certificate_file, key_file) = paths(folder);
        let unusable =
            |reason: &dyn ToString| CertificateError::file("use", &certificate_file, reason.to_string());
        let bytes = files::read(&certificate_file)
            .map_err(|error| CertificateError::file("read", &certificate_file, error))?;
        let pem = String::from_utf8(bytes).map_err(|_| unusable(&"it is not PEM"))?;
        Self::assemble(&pem, key::read(&key_file)?).map_err(|reason| unusable(&reason))
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Its private key, in PEM: for another node of the cluster that is to issue certificates too.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// What its certificate is known by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Issues the certificate of a node (PEM), to whoever has shown to have the key ([`super::NodeKey::signing_request`]).
    /// Of the request only the public key counts: what a node's certificate says is said here.
    ///
    /// # Errors
    /// [`CertificateError::Request`] when it is none or is not signed with its key.
    pub fn issue(
        &self,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, CertificateError> {
        let request = CertificateSigningRequestDer::from(request);
        // It looks at the signature.
        let mut request = CertificateSigningRequestParams::from_der(&request)
            .map_err(|error| CertificateError::Request(error.to_string()))?;
        let mut parameters = valid(now, lifetime)?;
        parameters.distinguished_name = named("PliantDB node");
        let uri = NODE_URI.try_into().map_err(CertificateError::making)?;
        parameters.subject_alt_names = vec![SanType::URI(uri)];
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;
        request.params = parameters;
        let issued = request
            .signed_by(&self.issuer)
            .map_err(CertificateError::making)?;
        Ok(issued.pem())
    }
}

impl Authority {
    /// Issues the certificate of the node on this machine, with the key that is there or a new one, and keeps it in files.
    /// A later certificate takes the place of one that is there.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn certify(
        &self,
        files: CertificateFiles,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Credentials, CertificateError> {
        let request = NodeKey::open_or_make(&files.key)?.signing_request()?;
        files.keep(&self.issue(&request, lifetime, now)?, &self.pem)?;
        Credentials::open(files)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn paths(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("authority.pem"), folder.join("authority-key.pem"))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid(now: SystemTime, lifetime: Duration) -> Result<CertificateParams, CertificateError> {
    let after = now.checked_sub(BEHIND).unwrap_or(now);
    let until = now
        .checked_add(lifetime)
        .ok_or_else(|| CertificateError::making("it would be valid for too long"))?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| CertificateError::making("no randomness"))?;
    // A serial number is positive.
    serial
        .iter_mut()
        .take(1)
        .for_each(|byte| *byte = *byte & 0x7f | 0x40);
    let mut parameters = CertificateParams::default();
    parameters.not_before = after.into();
    parameters.not_after = until.into();
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}
