//! What a node shows and what it goes by: certificate, key and authority, from files that are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::authority::{BEHIND, Fingerprint};
use super::error::CertificateError;
use super::files;
use super::trust::{Role, Trust, provider};

/// Where a node's certificate, its key and the certificate of the authority are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The node's certificate, and those between it and the authority if there are any.
    pub certificate: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
    /// The authority's certificate; several while one takes the place of another.
    pub authority: PathBuf,
}

impl CertificateFiles {
    /// `certificate.pem`, `key.pem` and `authority.pem` in a folder. It must not be the folder of the authority's key, or
    /// whoever wipes the one wipes the other.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            authority: folder.join("authority.pem"),
        }
    }

    /// Keeps a certificate that was issued for the key which is there, and that of the authority; both in PEM.
    ///
    /// # Errors
    /// [`CertificateError::File`].
    pub fn keep(&self, certificate: &str, authority: &str) -> Result<(), CertificateError> {
        // The certificate last: when it is there, so is everything.
        for (path, pem) in [(&self.authority, authority), (&self.certificate, certificate)] {
            files::write(path, pem.as_bytes(), files::PUBLIC)
                .map_err(|error| CertificateError::file("write", path, error))?;
        }
        Ok(())
    }
}

/// A node's certificate, key and authority as the files have them now. Clones share them.
#[derive(Debug, Clone)]
pub struct Credentials {
    files: CertificateFiles,
    current: Arc<RwLock<Arc<Loaded>>>,
}

/// What was read.
pub(crate) struct Loaded {
    /// The node's.
    pub(crate) key: Arc<CertifiedKey>,
    /// The same with the authority's certificate behind it, for those who know only its fingerprint.
    pub(crate) key_with_authority: Arc<CertifiedKey>,
    pub(crate) trust: Trust,
    authorities: Vec<Fingerprint>,
    /// Bytes that only who has the key knows, and that stay as long as the key does.
    pub(crate) secret: [u8; 32],
    begins: SystemTime,
    expires: SystemTime,
    fingerprint: Fingerprint,
    /// What the files held, to see whether that changes.
    held: [Fingerprint; 3],
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("fingerprint", &self.fingerprint)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the files for the first time. They must belong together, and be such that other nodes take them now.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file and what is wrong with it.
    pub fn open(files: CertificateFiles) -> Result<Self, CertificateError> {
        let loaded = load(&files)?;
        Ok(Self {
            files,
            current: Arc::new(RwLock::new(Arc::new(loaded))),
        })
    }

    /// Reads the files again, and says whether they have changed. Connections that are made from now on go by what was
    /// read; those that are there stay.
    ///
    /// # Errors
    /// [`CertificateError`]; what was read before then stays in use.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let loaded = load(&self.files)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = current.held != loaded.held;
        *current = Arc::new(loaded);
        Ok(has_changed)
    }

    /// Reads the files again every so often, until it is dropped. While they are missing or wrong, or only some of them
    /// were changed yet, the last good ones stay in use.
    pub async fn follow(self, every: Duration) {
        let mut last_error = None;
        loop {
            tokio::time::sleep(every).await;
            let credentials = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || credentials.reload()).await else {
                continue;
            };
            match reloaded {
                Ok(has_changed) => {
                    last_error = None;
                    if has_changed {
                        let fingerprint = self.fingerprint();
                        tracing::info!(%fingerprint, "the node's certificate has changed; new connections get the new one");
                    }
                }
                Err(error) => {
                    if last_error.as_ref() != Some(&error) {
                        tracing::error!(%error, "the last good certificate of the node stays in use");
                    }
                    last_error = Some(error);
                }
            }
        }
    }

    /// What the node's certificate is known by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.current().fingerprint
    }

    /// Until when the node's certificate is valid.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.current().expires
    }

    /// When it is time to have another certificate: two thirds of the time for which it was issued are over.
    #[must_use]
    pub fn renewal(&self) -> SystemTime {
        let current = self.current();
        // From when it was made: it is valid from a while before.
        let made = current.begins + BEHIND;
        let lifetime = current.expires.duration_since(made).unwrap_or_default();
        made + lifetime * 2 / 3
    }

    /// The certificate of the authority that the node goes by, if it is only one: what it is known by.
    #[must_use]
    pub fn authority(&self) -> Option<Fingerprint> {
        let current = self.current();
        match current.authorities.as_slice() {
            [authority] => Some(*authority),
            _ => None,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn load(paths: &CertificateFiles) -> Result<Loaded, CertificateError> {
    let read = |path: &Path| files::read(path).map_err(|error| CertificateError::file("read", path, error));
    let certificate_pem = read(&paths.certificate)?;
    let key_pem = zeroize::Zeroizing::new(read(&paths.key)?);
    let authority_pem = read(&paths.authority)?;
    let chain = certificates(&paths.certificate, &certificate_pem)?;
    let authorities = certificates(&paths.authority, &authority_pem)?;
    // The error of the library would not hold the key, and yet: what is read from a key file is not repeated.
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| CertificateError::file("use", &paths.key, "there is no private key in PEM in it"))?;
    let unusable =
        |reason: &dyn ToString| CertificateError::file("use", &paths.certificate, reason.to_string());
    let provider = provider();
    // It looks whether the two belong together.
    let certified = CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let reason = format!("it does not belong to the key {}", paths.key.display());
            unusable(&reason)
        }
        error => unusable(&error),
    })?;
    let trust =
        Trust::new(&authorities).map_err(|error| CertificateError::file("use", &paths.authority, error))?;
    let (first, between) = chain.split_first().ok_or_else(|| unusable(&NO_CERTIFICATE))?;
    for role in [Role::Dialler, Role::Listener] {
        trust
            .check(first, between, role, UnixTime::now())
            .map_err(|refused| unusable(&refused))?;
    }
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| unusable(&error))?;
    let moment = |time: ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let (begins, expires) = (
        moment(parsed.validity().not_before),
        moment(parsed.validity().not_after),
    );
    let known = authorities
        .iter()
        .map(|authority| Fingerprint::of(authority))
        .collect();
    let (fingerprint, mut with_authority) = (Fingerprint::of(first), chain.clone());
    with_authority.extend(authorities);
    let key_with_authority = CertifiedKey::new(with_authority, Arc::clone(&certified.key));
    let mut secret = [0; 32];
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key_pem), b"stateless reset");
    secret
        .iter_mut()
        .zip(tag.as_ref())
        .for_each(|(to, from)| *to = *from);
    Ok(Loaded {
        secret,
        key: Arc::new(certified),
        key_with_authority: Arc::new(key_with_authority),
        trust,
        begins,
        expires,
        authorities: known,
        fingerprint,
        held: [
            Fingerprint::of(&certificate_pem),
            Fingerprint::of(&key_pem),
            Fingerprint::of(&authority_pem),
        ],
    })
}

const NO_CERTIFICATE: &str = "there is no certificate in PEM in it";

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::file("use", path, error))?;
    match found.is_empty() {
        true => Err(CertificateError::file("use", path, NO_CERTIFICATE)),
        false => Ok(found),
    }
}
