//! Names of databases, collections, schemas, views, key-value namespaces, APIs, users, roles and API keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::shorten;

/// The longest name, in bytes (and, as names are ASCII, in characters).
pub const MAX_NAME_LENGTH: usize = 63;

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} name {value:?} is not valid: it must be 1 to {MAX_NAME_LENGTH} characters long, start with an ASCII \
     letter or digit, and hold only ASCII letters, digits, '.', '_' and '-'"
)]
pub struct InvalidName {
    /// What was to be named, such as "database" or "collection".
    pub kind: &'static str,
    /// The text, shortened.
    pub value: String,
}

/// Checks the rule that all kinds of name share. It is part of [`crate::APPLY_VERSION`].
///
/// A name never starts with `_`, so routes such as `/v1/{db}/_kv` stay free, and never holds a zero byte,
/// so a key can end the name with one.
fn is_name(value: &str) -> bool {
    value.len() <= MAX_NAME_LENGTH
        && value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a text is what a name can begin with.
pub(crate) fn begins_name(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(SmolStr);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                if is_name(value) {
                    Ok(Self(SmolStr::new(value)))
                } else {
                    Err(InvalidName { kind: $kind, value: shorten(value).into_owned() })
                }
            }
        }

        impl fmt::Debug for $type {
            /// In quotes, for messages.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of a database: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    DatabaseName,
    "database"
);
name_type!(
    /// The name of a collection: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    CollectionName,
    "collection"
);
name_type!(
    /// The name of a schema: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    SchemaName,
    "schema"
);
name_type!(
    /// The name of a view, unique in its collection: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter
    /// or digit.
    ViewName,
    "view"
);
name_type!(
    /// The name of a key-value namespace: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    NamespaceName,
    "namespace"
);
name_type!(
    /// The name of a custom API: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    ApiName,
    "API"
);

name_type!(
    /// The name of a user: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    UserName,
    "user"
);
name_type!(
    /// The name of a role: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or digit.
    RoleName,
    "role"
);
name_type!(
    /// The name of an API key, which is no secret: 1 to 63 ASCII letters, digits, `.`, `_`, `-`; the first a letter or
    /// digit.
    ApiKeyName,
    "API key"
);

impl RoleName {
    /// A name that is known to be one.
    pub(crate) const fn new_static(name: &'static str) -> Self {
        Self(SmolStr::new_static(name))
    }
}

impl DatabaseName {
    /// `default`: the database that exists from the start.
    #[must_use]
    pub fn default_database() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::{CollectionName, DatabaseName};

    #[test]
    fn accepts_what_the_rule_allows() {
        for name in ["a", "0", "Orders", "v1.users-eu_west", "x".repeat(63).as_str()] {
            assert_eq!(name.parse::<CollectionName>().unwrap().as_str(), name);
        }
        assert_eq!("default".parse(), Ok(DatabaseName::default_database()));
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for name in [
            "",
            "_kv",
            ".a",
            "-a",
            "a b",
            "a/b",
            "ä",
            "a\0",
            "x".repeat(64).as_str(),
        ] {
            let error = name.parse::<DatabaseName>().unwrap_err();
            assert!(error.to_string().starts_with("database name "), "{error}");
        }
        let error = "é".repeat(1000).parse::<CollectionName>().unwrap_err();
        assert!(error.to_string().len() < 500, "{error}");
    }
}
