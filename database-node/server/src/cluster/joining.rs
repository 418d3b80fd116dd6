//! Where a node has the token from that it joins with.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pliantdb_cluster_member::has_certificate;
use pliantdb_cluster_transport::{JoinToken, MalformedToken};

/// The variable that may hold the token itself.
pub const VARIABLE: &str = "PLIANT_JOIN_TOKEN";

/// More bytes than a token has.
const MAX_BYTES: u64 = 4096;

/// Why there is no token where there should be one. Says nothing of the token.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// The file cannot be read.
    #[error("cannot read the joinTokenFile {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// It holds something else.
    #[error("{place} cannot be used: {reason}")]
    Malformed {
        /// The file or the variable.
        place: String,
        /// What is wrong.
        reason: MalformedToken,
    },
    /// Nobody can tell which of the two is meant.
    #[error("both joinTokenFile ({}) and the variable {VARIABLE} give a token; leave one out", .0.display())]
    Twice(PathBuf),
}

/// The token in `file`, else in [`VARIABLE`]; `None` without both, and when the node has its certificate already: a token
/// is good once.
///
/// # Errors
/// [`JoinTokenError`], which names the file or variable.
pub(super) fn token(data: &Path, file: Option<&Path>) -> Result<Option<JoinToken>, JoinTokenError> {
    if has_certificate(data) {
        return Ok(None);
    }
    let variable = std::env::var_os(VARIABLE);
    let (place, text) = match (file, variable) {
        (None, None) => return Ok(None),
        (Some(file), Some(_)) => return Err(JoinTokenError::Twice(file.to_owned())),
        (Some(file), None) => (format!("the joinTokenFile {}", file.display()), read(file)?),
        (None, Some(text)) => (
            format!("the variable {VARIABLE}"),
            text.to_string_lossy().into_owned(),
        ),
    };
    let token = text.parse();
    token
        .map(Some)
        .map_err(|reason| JoinTokenError::Malformed { place, reason })
}

fn read(path: &Path) -> Result<String, JoinTokenError> {
    let unreadable = |reason| JoinTokenError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_that_has_no_token() {
        let data = tempfile::tempdir().unwrap();
        assert!(token(data.path(), None).unwrap().is_none());
        let file = data.path().join("token");
        let missing = token(data.path(), Some(&file)).unwrap_err().to_string();
        assert!(
            missing.contains("cannot read the joinTokenFile /") && missing.contains("/token"),
            "{missing}"
        );
        std::fs::write(&file, "secret-of-mine").unwrap();
        let malformed = token(data.path(), Some(&file)).unwrap_err().to_string();
        assert!(
            malformed.contains("/token") && malformed.contains("pliant-join-v1"),
            "{malformed}"
        );
        assert!(!malformed.contains("secret-of-mine"));
        std::fs::write(&file, format!("pliant-join-v1.{}\n", "A".repeat(86))).unwrap();
        assert!(token(data.path(), Some(&file)).unwrap().is_some());
    }
}
