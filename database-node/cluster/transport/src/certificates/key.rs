//! A node's key, and its request for a certificate.

use std::fmt;
use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::error::CertificateError;
use super::files;

/// A node's private key (ECDSA over P-256). It is made where it is used and leaves the machine in no form.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// The key in a file, which is made when there is none, with its folder.
    ///
    /// # Errors
    /// [`CertificateError`], which names the file and does not repeat what is in it.
    pub fn open_or_make(path: &Path) -> Result<Self, CertificateError> {
        if path.exists() {
            return Self::open(path);
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| CertificateError::file("create", folder, error))?;
        }
        let key = KeyPair::generate().map_err(CertificateError::making)?;
        write(path, &key)?;
        Ok(Self(key))
    }

    fn open(path: &Path) -> Result<Self, CertificateError> {
        read(path).map(Self)
    }

    /// Asks for a certificate: the public key, signed with the private one (PKCS #10, DER).
    ///
    /// # Errors
    /// [`CertificateError::Making`].
    pub fn signing_request(&self) -> Result<Vec<u8>, CertificateError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&self.0);
        let request = request.map_err(CertificateError::making)?;
        Ok(request.der().to_vec())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

/// Reads a key pair from PEM. What is read from a key file is not repeated in an error.
pub(super) fn read(path: &Path) -> Result<KeyPair, CertificateError> {
    let bytes = files::read(path).map_err(|error| CertificateError::file("read", path, error))?;
    let pem = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&pem).ok();
    let key = text.and_then(|pem| KeyPair::from_pem(pem).ok());
    key.ok_or_else(|| CertificateError::file("use", path, "there is no private key in PEM in it"))
}

/// Writes a key pair as PEM that only its owner may read.
pub(super) fn write(path: &Path, key: &KeyPair) -> Result<(), CertificateError> {
    let pem = zeroize::Zeroizing::new(key.serialize_pem());
    files::write(path, pem.as_bytes(), files::SECRET)
        .map_err(|error| CertificateError::file("write", path, error))
}
