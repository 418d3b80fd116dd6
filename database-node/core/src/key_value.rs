//! The key-value store: small values under names, with expiry, conditions and counting.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Body, shorten};

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_NAME_LENGTH: usize = 1024;

/// A text that cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key {value:?} is not valid: it must be 1 to {MAX_KEY_NAME_LENGTH} bytes of UTF-8 without control characters"
)]
pub struct InvalidKeyName {
    /// The text, shortened.
    pub value: String,
}

/// The name of a value in its namespace: 1 to 1,024 bytes of UTF-8 without control characters.
///
/// The rule is part of [`crate::APPLY_VERSION`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyName(String);

impl KeyName {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = InvalidKeyName;

    fn try_from(value: String) -> Result<Self, InvalidKeyName> {
        if (1..=MAX_KEY_NAME_LENGTH).contains(&value.len()) && !value.chars().any(char::is_control) {
            Ok(Self(value))
        } else {
            let value = shorten(&value).into_owned();
            Err(InvalidKeyName { value })
        }
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(value: &str) -> Result<Self, InvalidKeyName> {
        Self::try_from(value.to_owned())
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A number that can be counted with.
///
/// ```
/// use pliantdb_core::Number;
///
/// assert_eq!(Number::from(2).plus(3.into()), Some(Number::Integer(5)));
/// assert_eq!(Number::from(i64::MAX).plus(1.into()), None);
/// assert_eq!(Number::from_json("1.5"), Some(Number::Float(1.5)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Number {
    /// A whole number.
    Integer(i64),
    /// Any finite number.
    Float(f64),
}

impl Eq for Number {}

impl Number {
    /// The sum: of two integers an integer, else a float; `None` when it is out of range.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.checked_add(b).map(Self::Integer),
            (a, b) => Some(a.as_f64() + b.as_f64())
                .filter(|sum| sum.is_finite())
                .map(Self::Float),
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "that is what counting with floats means"
    )]
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    /// The number that a JSON text is, if it is one.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        let number: serde_json::Number = serde_json::from_str(json).ok()?;
        number
            .as_i64()
            .map(Self::Integer)
            .or_else(|| number.as_f64().map(Self::Float))
    }

    /// The number as JSON.
    #[must_use]
    pub fn to_json(self) -> Body {
        // A float with a fraction or exponent, so that it stays one.
        Body::from_checked(match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Float(float) => format!("{float:?}"),
        })
    }
}

impl From<i64> for Number {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for Number {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

/// What must hold for a key to be changed; if it does not, nothing is changed and that is no error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyCondition {
    /// Nothing.
    #[default]
    Always,
    /// There is a value.
    Present,
    /// There is none.
    Vacant,
    /// There is this value, byte for byte.
    Equals(Body),
}

/// When a value is to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// When the value before would have; never, if there was none.
    Keep,
    /// So long after it was written, to the millisecond.
    After(Duration),
}

/// What to do with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAction {
    /// Sets its value.
    Set {
        /// The value, as JSON.
        value: Body,
        /// When it is to expire.
        expiry: Expiry,
        /// What must hold.
        condition: KeyCondition,
    },
    /// Adds to the number it holds; nothing counts as 0. The expiry stays.
    Increment {
        /// How much; less than 0 to subtract.
        by: Number,
    },
    /// Sets when its value expires; the value stays.
    Expire {
        /// When.
        expiry: Expiry,
    },
    /// Removes it.
    Delete {
        /// What must hold.
        condition: KeyCondition,
    },
}

impl KeyAction {
    /// About how many bytes it adds to a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Set { value, .. } => value.as_str().len() + 32,
            _ => 64,
        }
    }
}

/// What came of a change of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOutcome {
    /// What was done.
    pub status: KeyStatus,
    /// The value before.
    pub previous: Option<Body>,
    /// The value now.
    pub current: Option<Body>,
}

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// It had no value and now has one.
    Created,
    /// It had a value and now has another, or another expiry.
    Updated,
    /// It had a value and has none now.
    Deleted,
    /// Nothing: the condition did not hold, or there was nothing to delete.
    Unchanged,
}

#[cfg(test)]
mod tests {
    use super::{KeyName, Number};

    #[test]
    fn counts_within_its_range() {
        assert_eq!(Number::from(1).plus(Number::from(2)), Some(Number::Integer(3)));
        assert_eq!(Number::from(1).plus(Number::from(0.5)), Some(Number::Float(1.5)));
        assert_eq!(Number::from(i64::MAX).plus(Number::from(1)), None);
        assert_eq!(Number::from(f64::MAX).plus(Number::from(f64::MAX)), None);
    }

    #[test]
    fn numbers_are_json_and_keep_their_kind() {
        for number in [
            Number::from(-7),
            Number::from(2.0),
            Number::from(1e300),
            Number::from(i64::MIN),
        ] {
            assert_eq!(Number::from_json(number.to_json().as_str()), Some(number));
        }
        assert_eq!(Number::from_json("\"1\""), None);
        assert_eq!(Number::from_json("1 2"), None);
    }

    #[test]
    fn keys_have_a_rule() {
        assert!("a/b é".parse::<KeyName>().is_ok());
        for key in ["", "a\n", "x".repeat(1025).as_str()] {
            assert!(
                key.parse::<KeyName>()
                    .unwrap_err()
                    .to_string()
                    .contains("1 to 1024 bytes")
            );
        }
    }
}
