//! The master key: where it comes from, or who keeps it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::secret_key::{KEY, SecretKey};

/// What a wrapped secret is bound to, so that it cannot pass for anything else that a master key may wrap one day.
const CONTEXT: &[u8] = b"pliantdb directory key 1";

/// Wraps and unwraps small secrets with a master key that it keeps: a [`MasterKey`] in memory, or a vault
/// that never hands it out. It is asked when a data directory is created, opened, or given another master key.
pub trait KeyVault: Send + Sync {
    /// The name of the master key, which tells it from others and is no secret: one line of at most 200 printable
    /// characters. It stands in the data directory and in errors.
    fn key_id(&self) -> String;

    /// Encrypts `secret`, of some 32 bytes, with the master key.
    ///
    /// # Errors
    /// [`VaultError`] when the vault cannot or will not.
    fn wrap(&self, secret: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// What [`KeyVault::wrap`] encrypted.
    ///
    /// # Errors
    /// [`VaultError`] when the vault cannot or will not, or `wrapped` is not from it or damaged.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError>;
}

/// Why a [`KeyVault`] did not do what it was asked, in one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VaultError(pub String);

/// A master key in memory. It is wiped when dropped, and never printed.
pub struct MasterKey {
    key: SecretKey,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("MasterKey(…)")
    }
}

/// Why there is no [`MasterKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read.
    #[error("cannot read the master key in {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Others could read or replace the key.
    #[error(
        "the file of the master key, {}, has mode {mode:o}: others may use it; make it readable by its owner, and at \
         most its group, only (chmod 400)",
        .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the variable {0}, which is to hold the master key, is not set")]
    Unset(String),
    /// What is there is not a key.
    #[error(
        "{place} does not hold a master key: it must be 64 hexadecimal digits, such as `openssl rand -hex 32` prints"
    )]
    Malformed {
        /// The file or variable.
        place: String,
    },
}

impl MasterKey {
    /// The key in a file, of 64 hexadecimal digits on one line. Its mode must keep others out.
    ///
    /// # Errors
    /// [`MasterKeyError`], which names the file.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        let unreadable = |error: std::io::Error| MasterKeyError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        // The group may read: a secret mounted into a pod belongs to root and the pod's group.
        if mode & 0o037 != 0 {
            let path = path.to_owned();
            return Err(MasterKeyError::Exposed { path, mode });
        }
        // With room for all that is read, for a buffer that grows leaves copies.
        let mut text = Zeroizing::new(Vec::with_capacity(4 * KEY));
        file.take(3 * KEY as u64)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        Self::parse(&text, || path.display().to_string())
    }

    /// The key in an environment variable, of 64 hexadecimal digits. A file is better: the variables of a process
    /// can be read by others of the same user for as long as it runs.
    ///
    /// # Errors
    /// [`MasterKeyError`], which names the variable.
    pub fn from_variable(name: &str) -> Result<Self, MasterKeyError> {
        let value = std::env::var_os(name).ok_or_else(|| MasterKeyError::Unset(name.to_owned()))?;
        let text = Zeroizing::new(value.into_encoded_bytes());
        Self::parse(&text, || format!("the variable {name}"))
    }

    fn parse(text: &[u8], place: impl Fn() -> String) -> Result<Self, MasterKeyError> {
        let digits = text.trim_ascii();
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY));
        for pair in digits.chunks(2) {
            let pair = str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'));
            bytes.extend(pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        }
        match SecretKey::take(&mut bytes) {
            Some(key) if digits.len() == 2 * KEY => Ok(Self { key }),
            _ => Err(MasterKeyError::Malformed { place: place() }),
        }
    }
}

impl KeyVault for MasterKey {
    /// The beginning of a hash of the key, which tells nothing of its 256 random bits.
    fn key_id(&self) -> String {
        let mut hash = Context::new(&SHA256);
        hash.update(b"pliantdb master key 1");
        hash.update(self.key.bytes());
        let hash = hash.finish();
        let digits = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
        format!("local-{}", digits.collect::<String>())
    }

    fn wrap(&self, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut wrapped = Vec::new();
        self.key.seal(CONTEXT, secret, &mut wrapped).map_err(VaultError)?;
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut secret = Zeroizing::new(Vec::with_capacity(wrapped.len()));
        match self.key.unseal(CONTEXT, wrapped, &mut secret) {
            Ok(()) => Ok(secret),
            Err(_) => Err(VaultError(
                "it is damaged, or was wrapped with another key".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    fn file(text: &str, mode: u32) -> Result<MasterKey, MasterKeyError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        MasterKey::from_file(&path)
    }

    #[test]
    fn comes_from_a_file() {
        for text in [TEXT.to_owned(), format!("{TEXT}\n"), format!(" {TEXT}\r\n")] {
            let key = file(&text, 0o400).unwrap();
            assert_eq!(key.key.bytes().to_vec(), (0..32).collect::<Vec<u8>>());
            assert_eq!(format!("{key:?}"), "MasterKey(…)");
            assert_eq!(key.key_id(), "local-f4a89f2f0c847d5e");
        }
        assert!(file(TEXT, 0o440).is_ok(), "a secret mounted into a pod");
    }

    #[test]
    fn refuses_what_is_not_a_key_without_printing_it() {
        for text in [
            "",
            "0001",
            &TEXT[1..],
            &format!("{TEXT}00"),
            &TEXT.replace('A', "g"),
            &TEXT.replace("1A", "+A"),
        ] {
            let error = file(text, 0o600).unwrap_err();
            assert!(
                matches!(&error, MasterKeyError::Malformed { place } if place.ends_with("key")),
                "{error}"
            );
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
        let error = MasterKey::from_file(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
        assert_eq!(
            MasterKey::from_variable("PLIANT_NO_SUCH_VARIABLE").unwrap_err(),
            MasterKeyError::Unset("PLIANT_NO_SUCH_VARIABLE".to_owned())
        );
    }

    #[test]
    fn refuses_a_file_that_others_may_read() {
        for mode in [0o644, 0o604, 0o460, 0o602] {
            assert!(
                matches!(file(TEXT, mode), Err(MasterKeyError::Exposed { mode: found, .. }) if found == mode),
                "{mode:o}"
            );
        }
    }
}
