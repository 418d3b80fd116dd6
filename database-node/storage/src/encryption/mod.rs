//! Encryption at rest: docs/decisions/0005-encryption.md says what it protects.
//!
//! ```text
//! master key       of the user: a file, a variable, or a vault that never hands it out
//!   └ wraps the directory key, in the file ENCRYPTION
//!       └ wraps the data key of each database, in the store
//!           └ encrypts the values
//! ```

mod header;
mod master_key;
mod secret_key;

pub use header::{EncryptionError, rotate_master_key};
pub(crate) use header::{FILE as HEADER_FILE, NEW_FILE as NEW_HEADER_FILE, directory_key, master_key_of};
pub use master_key::{KeyVault, MasterKey, MasterKeyError, VaultError};
pub(crate) use secret_key::OVERHEAD;
pub use secret_key::SecretKey;
