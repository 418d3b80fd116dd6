//! What must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password or token. It is never printed.
///
/// ```
/// use pliantdb_core::protocol::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A text, to be kept secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. What compares it must take the same time wherever it differs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
