//! Patterns of names.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::name::begins_name;
use crate::shorten;

/// Which names are meant: one (`orders`), those that begin with something (`tenant-*`), or all (`*`).
///
/// ```
/// use pliantdb_core::access::NamePattern;
///
/// let tenants: NamePattern = "tenant-*".parse().unwrap();
/// assert!(tenants.matches("tenant-7") && tenants.matches("tenant-"));
/// assert!(!tenants.matches("tenants"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern(SmolStr);

/// A text that is not a pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name or a pattern of names: write a name, the beginning of one followed by '*', or '*' for all"
)]
pub struct InvalidPattern(pub String);

impl NamePattern {
    /// Whether a name is one of them.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.0 == name,
        }
    }
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let name = text.strip_suffix('*').unwrap_or(text);
        match !text.is_empty() && begins_name(name) {
            true => Ok(Self(SmolStr::new(text))),
            false => Err(InvalidPattern(shorten(text).into_owned())),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
