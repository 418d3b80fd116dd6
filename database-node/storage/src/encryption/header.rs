//! The file `ENCRYPTION` of a data directory: by which master key it is encrypted, and its own key, wrapped.
//!
//! ```text
//! pliantdb encryption 1
//! cipher XAES-256-GCM
//! master-key local-f4a89f2f0c847d5e
//! directory-key 8c0f…
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pliantdb_core::shorten;
use zeroize::Zeroizing;

use super::{KeyVault, SecretKey, VaultError};
use crate::directory::{DataDirectory, sync_directory};
use crate::error::StorageError;

/// Its name.
pub(crate) const FILE: &str = "ENCRYPTION";
/// What it is called while it is written.
pub(crate) const NEW_FILE: &str = "ENCRYPTION.new";
/// More than it can have.
const MAX_SIZE: u64 = 64 << 10;
const FIRST_LINES: &str = "pliantdb encryption 1\ncipher XAES-256-GCM\n";

/// Why an encrypted directory cannot be opened. Nothing in it was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    /// The directory is encrypted, and no master key was given.
    #[error("the data directory {} is encrypted: open it with its master key, {needed}", .path.display())]
    KeyMissing {
        /// The data directory.
        path: PathBuf,
        /// The name of the key.
        needed: String,
    },
    /// The directory is encrypted with another master key.
    #[error(
        "the data directory {} is encrypted with the master key {needed}, and {given} was given",
        .path.display()
    )]
    WrongKey {
        /// The data directory.
        path: PathBuf,
        /// The name of the key.
        needed: String,
        /// The name of the one given.
        given: String,
    },
    /// A master key was given, and the directory is not encrypted.
    #[error(
        "the data directory {} is not encrypted, and a master key was given: open it without one; to encrypt it, dump \
         it and load it into a new directory",
        .path.display()
    )]
    NotEncrypted {
        /// The data directory.
        path: PathBuf,
    },
    /// The vault did not wrap or unwrap the directory's key.
    #[error("the master key {key} cannot {action} the key of the data directory {}: {reason}", .path.display())]
    Vault {
        /// The data directory.
        path: PathBuf,
        /// The name of the master key.
        key: String,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the vault said.
        reason: VaultError,
    },
    /// The file `ENCRYPTION` is not one of ours, or is of a later version.
    #[error(
        "{} cannot be read: {reason}; without it nothing in the directory can be decrypted: put it back from a copy \
         or a backup, or run the version that wrote it",
        .path.display()
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The key of a directory that is open: made when the directory is new, else unwrapped. `None` when it is not encrypted.
pub(crate) fn directory_key(
    directory: &DataDirectory,
    vault: Option<&dyn KeyVault>,
) -> Result<Option<SecretKey>, StorageError> {
    let path = directory.path();
    match (directory.is_new(), directory.is_encrypted(), vault) {
        (_, false, None) => Ok(None),
        (true, true, Some(vault)) => {
            let key =
                SecretKey::generate().map_err(|reason| failed(path, vault, "make", VaultError(reason)))?;
            write(path, vault, &key)?;
            Ok(Some(key))
        }
        (false, true, Some(vault)) => read(path, vault).map(Some),
        (_, true, None) => Err(EncryptionError::KeyMissing {
            path: path.to_owned(),
            needed: Header::read(path)?.master_key,
        }
        .into()),
        (_, false, Some(_)) => Err(EncryptionError::NotEncrypted {
            path: path.to_owned(),
        }
        .into()),
    }
}

/// The name of the master key of the directory at `path`; `None` when it is not encrypted.
pub(crate) fn master_key_of(path: &Path) -> Result<Option<String>, StorageError> {
    match path.join(FILE).exists() {
        true => Ok(Some(Header::read(path)?.master_key)),
        false => Ok(None),
    }
}

/// Wraps the key of the data directory at `path` with the master key `new` instead of `old`. Nothing else is written
/// anew: what was encrypted stays as it is, and so do backups, which need the key that they were made with. The
/// directory must not be in use. A crash leaves one or the other.
///
/// # Errors
/// [`StorageError::DirectoryInUse`], [`StorageError::Encryption`], and those of opening a directory.
pub fn rotate_master_key(path: &Path, old: &dyn KeyVault, new: &dyn KeyVault) -> Result<(), StorageError> {
    let directory = DataDirectory::open_any(path)?;
    if let Some(key) = directory_key(&directory, Some(old))? {
        write(path, new, &key)?;
    }
    Ok(())
}

fn failed(path: &Path, vault: &dyn KeyVault, action: &'static str, reason: VaultError) -> EncryptionError {
    EncryptionError::Vault {
        path: path.to_owned(),
        key: vault.key_id(),
        action,
        reason,
    }
}

fn read(path: &Path, vault: &dyn KeyVault) -> Result<SecretKey, StorageError> {
    let header = Header::read(path)?;
    let given = vault.key_id();
    if header.master_key != given {
        return Err(EncryptionError::WrongKey {
            path: path.to_owned(),
            needed: header.master_key,
            given,
        }
        .into());
    }
    let unwrapped = vault.unwrap(&header.directory_key);
    let mut bytes = unwrapped.map_err(|reason| failed(path, vault, "unwrap", reason))?;
    SecretKey::take(&mut bytes).ok_or_else(|| {
        let reason = VaultError("what it gave back is not a key".to_owned());
        failed(path, vault, "unwrap", reason).into()
    })
}

/// Replaces the file as a whole.
fn write(path: &Path, vault: &dyn KeyVault, key: &SecretKey) -> Result<(), StorageError> {
    let id = vault.key_id();
    if id.is_empty() || id.len() > 200 || id.chars().any(char::is_control) || id.trim() != id {
        let reason = VaultError("its name is not one line of 1 to 200 printable characters".to_owned());
        return Err(failed(path, vault, "wrap", reason).into());
    }
    let secret = Zeroizing::new(key.bytes().to_vec());
    let wrapped = vault
        .wrap(&secret)
        .map_err(|reason| failed(path, vault, "wrap", reason))?;
    // Before the old one is replaced: with what the vault cannot undo, everything would be lost.
    match vault.unwrap(&wrapped) {
        Ok(unwrapped) if unwrapped == secret => {}
        Ok(_) => {
            let reason = VaultError("what it unwraps is not what it wrapped".to_owned());
            return Err(failed(path, vault, "unwrap", reason).into());
        }
        Err(reason) => return Err(failed(path, vault, "unwrap", reason).into()),
    }
    let header = Header {
        master_key: id,
        directory_key: wrapped,
    };
    let (new, file) = (path.join(NEW_FILE), path.join(FILE));
    let replace = || {
        let mut writing = File::create(&new)?;
        writing.write_all(header.text().as_bytes())?;
        writing.sync_all()?;
        fs::rename(&new, &file)?;
        sync_directory(path)
    };
    replace().map_err(|error| StorageError::io("write", &file, error))
}

/// What the file says.
struct Header {
    master_key: String,
    directory_key: Vec<u8>,
}

impl Header {
    fn read(path: &Path) -> Result<Self, StorageError> {
        let file = path.join(FILE);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&file)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| StorageError::io("read", &file, error))?;
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|reason| {
            let path = file.clone();
            EncryptionError::Header { path, reason }.into()
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix(FIRST_LINES).ok_or_else(|| {
            let found: Vec<_> = text.lines().take(2).map(shorten).collect();
            format!("it begins with {found:?}, and this version knows {FIRST_LINES:?}")
        })?;
        let mut lines = rest.lines();
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name));
            value
                .filter(|value| !value.is_empty())
                .ok_or(format!("it has no {name}"))
        };
        let (master_key, hex) = (field("master-key ")?.to_owned(), field("directory-key ")?);
        let digits = hex.as_bytes().chunks(2).map(|pair| match pair {
            [_, _] => u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        });
        let directory_key = digits.collect::<Option<Vec<u8>>>();
        Ok(Self {
            master_key,
            directory_key: directory_key.ok_or("the directory-key is not hexadecimal")?,
        })
    }

    fn text(&self) -> String {
        let hex: String = self
            .directory_key
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!(
            "{FIRST_LINES}master-key {}\ndirectory-key {hex}\n",
            self.master_key
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FIRST_LINES, Header};

    #[test]
    fn is_what_it_always_was() {
        let text = "pliantdb encryption 1\ncipher XAES-256-GCM\nmaster-key a key\ndirectory-key 00ff\n";
        let header = Header::parse(text).unwrap();
        assert_eq!(
            (header.master_key.as_str(), header.directory_key.as_slice()),
            ("a key", &[0, 0xff][..])
        );
        assert_eq!(header.text(), text);
    }

    proptest! {
        #[test]
        fn nothing_makes_reading_panic(text in ".{0,100}", rest in "(master-key |directory-key |[0-9a-fé\n]){0,20}") {
            let _ = Header::parse(&text);
            let _ = Header::parse(&format!("{FIRST_LINES}{rest}"));
        }
    }
}
