//! Sizes such as `16Mi`.

use std::fmt;
use std::str::FromStr;

use pliantdb_core::shorten;
use serde::de::{Deserialize, Deserializer, Visitor};

/// The suffixes that Kubernetes quantities have for sizes.
const SUFFIXES: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a size in bytes; write a whole number, alone or with Ki, Mi, Gi, Ti, k, M, G or T, as in 16Mi"
)]
pub struct InvalidQuantity {
    /// The text, shortened.
    pub value: String,
}

/// A number of bytes, written as Kubernetes does: `512`, `16Mi`, `2G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(u64);

impl Quantity {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(value: &str) -> Result<Self, InvalidQuantity> {
        let suffixed = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((value.strip_suffix(suffix)?, *factor)));
        let (digits, factor) = suffixed.unwrap_or((value, 1));
        let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let bytes = digits
            .parse::<u64>()
            .ok()
            .filter(|_| only_digits)
            .and_then(|number| number.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| InvalidQuantity {
            value: shorten(value).into_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// From a number or a text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes such as 16Mi")
            }

            fn visit_u64<E>(self, bytes: u64) -> Result<Quantity, E> {
                Ok(Quantity(bytes))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("16Mi", 16 << 20),
            ("2k", 2000),
            ("1Ti", 1 << 40),
            ("3G", 3_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Quantity(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "Mi",
            "16MB",
            "16mi",
            "-1",
            "+1",
            "1.5Gi",
            "1 Mi",
            "99999999999Ti",
            "m",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
