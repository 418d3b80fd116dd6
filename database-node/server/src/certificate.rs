//! The certificate that the server shows: from files that are read again when they change, or one of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::CertificateFiles;

/// How often the files are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Where a certificate of the server's own is kept, in the data directory.
const FOLDER: &str = "tls";

/// Why a certificate cannot be used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {reason}", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The two do not belong together, or are of a kind that cannot be used.
    #[error("the certificate {} with the key {} cannot be used: {reason}", .certificate.display(), .key.display())]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Making(String),
}

/// The certificate as the files have it now. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    current: Arc<RwLock<Loaded>>,
}

#[derive(Debug, Clone)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// What the files held.
    pem: Arc<(Vec<u8>, Vec<u8>)>,
}

impl Certificate {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub(crate) fn open(files: CertificateFiles) -> Result<Self, CertificateError> {
        let loaded = load(&files)?;
        Ok(Self {
            files,
            current: Arc::new(RwLock::new(loaded)),
        })
    }

    /// The certificate that the server has made for itself, in its data directory; it is made when there is none.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file.
    pub(crate) fn own(data: &Path) -> Result<Self, CertificateError> {
        let files = own_files(data);
        if !files.certificate.exists() {
            make(&data.join(FOLDER), &files)?;
        }
        Self::open(files)
    }

    /// What clients can know it by: the SHA-256 of the certificate, in hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> String {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .key
            .cert
            .first()
            .map(|certificate| fingerprint(certificate))
            .unwrap_or_default()
    }

    /// Bytes that only who has the key knows, and that stay as long as the key does.
    pub(crate) fn secret(&self, purpose: &str) -> [u8; 32] {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &current.pem.1);
        let tag = aws_lc_rs::hmac::sign(&key, purpose.as_bytes());
        let mut secret = [0; 32];
        secret
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        secret
    }

    /// Reads the files again every few seconds, for ever. While they are missing or wrong, or only one of them was
    /// changed yet, the last good certificate stays.
    pub(crate) async fn follow(self) {
        let mut was_wrong = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let files = self.files.clone();
            match tokio::task::spawn_blocking(move || load(&files)).await {
                Ok(Ok(loaded)) => {
                    was_wrong = false;
                    let changed = {
                        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                        let changed = current.pem != loaded.pem;
                        *current = loaded;
                        changed
                    };
                    if changed {
                        let fingerprint = self.fingerprint();
                        tracing::info!(
                            fingerprint,
                            "the certificate has changed; new connections get the new one"
                        );
                    }
                }
                Ok(Err(error)) if !was_wrong => {
                    was_wrong = true;
                    tracing::error!(%error, "the last good certificate stays in use");
                }
                _ => {}
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.key))
    }
}

/// Where a node keeps the certificate that it makes for itself.
#[must_use]
pub fn own_files(data: &Path) -> CertificateFiles {
    let folder = data.join(FOLDER);
    CertificateFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    }
}

/// Makes a new certificate with a new key in place of the one that the node has made for itself. A node that runs takes
/// it within seconds.
///
/// # Errors
/// [`CertificateError`], which names the file. It is also one if there is no such directory.
pub fn renew(data: &Path) -> Result<(), CertificateError> {
    fs::metadata(data).map_err(|error| failed("use the data directory", data, error))?;
    make(&data.join(FOLDER), &own_files(data))
}

/// The SHA-256 of the certificate in a PEM file, in hexadecimal digits.
///
/// # Errors
/// [`CertificateError::File`] when there is none in it.
pub fn fingerprint_of(file: &Path) -> Result<String, CertificateError> {
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| failed("use", file, error))?;
    Ok(fingerprint(&certificate))
}

/// What `alpn` is to be agreed on with, and this certificate. TLS 1.3, and 1.2 where `old` clients are to be served too.
///
/// # Errors
/// [`CertificateError::Making`], which the versions named here do not come to.
pub(crate) fn tls(
    certificate: &Certificate,
    alpn: &[&[u8]],
    old: bool,
) -> Result<rustls::ServerConfig, CertificateError> {
    let versions: &[_] = match old {
        true => &[&rustls::version::TLS13, &rustls::version::TLS12],
        false => &[&rustls::version::TLS13],
    };
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| CertificateError::Making(error.to_string()))?;
    let mut config = config
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // What is sent in the first flight could be sent again by somebody else.
    config.max_early_data_size = 0;
    Ok(config)
}

/// The SHA-256 of a certificate, in hexadecimal digits.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load(files: &CertificateFiles) -> Result<Loaded, CertificateError> {
    let CertificateFiles { certificate, key } = files;
    let read = |path: &Path| fs::read(path).map_err(|error| failed("read", path, error));
    let pem = (read(certificate)?, read(key)?);
    let unusable = |reason: String| CertificateError::Unusable {
        certificate: certificate.clone(),
        key: key.clone(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.0)
        .collect::<Result<_, _>>()
        .map_err(|error| failed("use", certificate, error))?;
    if chain.is_empty() {
        return Err(failed("use", certificate, "there is no certificate in PEM in it"));
    }
    // The error of the library would not hold the key, and yet: what is read from a key file is not repeated.
    let private = PrivateKeyDer::from_pem_slice(&pem.1)
        .map_err(|_| failed("use", key, "there is no private key in PEM in it"))?;
    let certified = CertifiedKey::from_der(chain, private, &provider::default_provider())
        .map_err(|error| unusable(error.to_string()))?;
    certified
        .keys_match()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Loaded {
        key: Arc::new(certified),
        pem: Arc::new(pem),
    })
}

/// Makes a certificate for this machine's names, and a key that nobody else may read.
fn make(folder: &Path, files: &CertificateFiles) -> Result<(), CertificateError> {
    let making = |error: rcgen::Error| CertificateError::Making(error.to_string());
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    if !host.is_empty() && !names.contains(&host.to_string()) {
        names.push(host.into_owned());
    }
    let key = rcgen::KeyPair::generate().map_err(making)?;
    let mut parameters = rcgen::CertificateParams::new(names).map_err(making)?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "PliantDB node");
    parameters.distinguished_name = name;
    let certificate = parameters.self_signed(&key).map_err(making)?;
    fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
    // The certificate last: when it is there, so is the key.
    write(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    write(&files.certificate, certificate.pem().as_bytes(), 0o644)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("sync", folder, error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    // Under another name first: it is there whole or not at all.
    let whole = path.with_extension("new");
    let written = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&whole)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&whole, path)
    };
    written().map_err(|error: io::Error| failed("write", path, error))
}

fn failed(action: &'static str, path: &Path, reason: impl ToString) -> CertificateError {
    CertificateError::File {
        action,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_one_once() {
        let data = tempfile::tempdir().unwrap();
        let first = Certificate::own(data.path()).unwrap();
        let again = Certificate::own(data.path()).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);
        assert_eq!(first.secret("a"), again.secret("a"));
        assert_ne!(first.secret("a"), first.secret("b"));
        let key = fs::metadata(data.path().join("tls/key.pem")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn refuses_what_does_not_belong_together() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Certificate::own(a.path()).unwrap();
        Certificate::own(b.path()).unwrap();
        let mixed = CertificateFiles {
            certificate: a.path().join("tls/certificate.pem"),
            key: b.path().join("tls/key.pem"),
        };
        let error = Certificate::open(mixed.clone()).unwrap_err().to_string();
        assert!(
            error.contains("certificate.pem") && error.contains("key.pem"),
            "{error}"
        );
        fs::write(&mixed.key, "not a key").unwrap();
        let error = Certificate::open(mixed.clone()).unwrap_err().to_string();
        assert!(
            error.contains("no private key") && !error.contains("not a key"),
            "{error}"
        );
        fs::write(&mixed.certificate, "").unwrap();
        assert!(
            Certificate::open(mixed)
                .unwrap_err()
                .to_string()
                .contains("no certificate")
        );
    }
}
