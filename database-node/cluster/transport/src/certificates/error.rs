//! Why a certificate or a key cannot be used.

use std::path::{Path, PathBuf};

/// Why a certificate, a key or an authority cannot be used or made. It says nothing of what a key file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written, or is not what it is to be.
    #[error("cannot {action} {}: {reason}", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A signing request is refused.
    #[error("the signing request cannot be used: {0}")]
    Request(String),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Making(String),
}

impl CertificateError {
    pub(crate) fn file(action: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn making(error: impl ToString) -> Self {
        Self::Making(error.to_string())
    }
}
