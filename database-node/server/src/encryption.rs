//! Where a node has its master key from.

use std::path::Path;
use std::sync::Arc;

use pliantdb_storage::encryption::{KeyVault, MasterKey, MasterKeyError};

/// The variable that may hold the key itself.
pub const VARIABLE: &str = "PLIANT_MASTER_KEY";

/// Why there is no master key where there should be one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be used.
    #[error(transparent)]
    Invalid(#[from] MasterKeyError),
    /// Nobody can tell which of the two is meant.
    #[error("both masterKeyFile ({}) and the variable {VARIABLE} give a master key; leave one out", .0.display())]
    Twice(std::path::PathBuf),
}

/// The master key in `file`, else in [`VARIABLE`]; `None` without both.
///
/// # Errors
/// [`KeyError`], which names the file or variable.
pub fn master_key(file: Option<&Path>) -> Result<Option<Arc<dyn KeyVault>>, KeyError> {
    let key = match (file, std::env::var_os(VARIABLE)) {
        (None, None) => return Ok(None),
        (Some(file), Some(_)) => return Err(KeyError::Twice(file.to_owned())),
        (Some(file), None) => MasterKey::from_file(file)?,
        (None, Some(_)) => MasterKey::from_variable(VARIABLE)?,
    };
    Ok(Some(Arc::new(key)))
}
