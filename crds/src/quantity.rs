//! Kubernetes quantities, restricted to the notation that cannot be misread.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The suffixes that a quantity may carry, with the factor each stands for.
/// Milli is last and is handled apart: it divides.
const SUFFIXES: [(&str, u128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// What the API server checks by itself; the same language as [`Quantity::milli`] reads.
const PATTERN: &str = r"^[0-9]{1,15}(\.[0-9]{1,3})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// An amount such as `10Gi`, `500m` or `1.5`, written as a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Quantity {
    /// The amount in thousandths of the unit (bytes or CPUs), so that amounts can be compared.
    /// A fraction below a thousandth is rounded up, as Kubernetes does.
    ///
    /// # Errors
    /// When the text is not a quantity.
    pub fn milli(&self) -> Result<u128, InvalidQuantity> {
        self.parse().ok_or_else(|| InvalidQuantity(self.0.clone()))
    }

    fn parse(&self) -> Option<u128> {
        let digits = self.0.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &self.0[digits.len()..];
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction_given = digits.contains('.');
        if whole.is_empty()
            || whole.len() > 15
            || fraction.len() > 3
            || (fraction_given && fraction.is_empty())
        {
            return None;
        }
        if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let milli: u128 = format!("{whole}{fraction:0<3}").parse().ok()?;
        match suffix {
            "" => Some(milli),
            "m" => Some(milli.div_ceil(1_000)),
            _ => {
                let (_, factor) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
                milli.checked_mul(*factor)
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Quantity> for resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        resource::Quantity(quantity.0)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": 24})
    }
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidQuantity(pub String);

impl fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a quantity; write a number with an optional unit, such as 10Gi or 500m",
            self.0
        )
    }
}

impl std::error::Error for InvalidQuantity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_compare_across_units() {
        let milli = |text: &str| Quantity(text.into()).milli().ok();
        assert_eq!(milli("1"), Some(1_000));
        assert_eq!(milli("500m"), Some(500));
        assert_eq!(milli("1.5"), Some(1_500));
        assert_eq!(milli("0.0005"), None);
        assert_eq!(milli("1.5Ki"), Some(1_536_000));
        assert_eq!(milli("1Gi"), milli("1024Mi"));
        assert!(milli("1G") < milli("1Gi"));
        assert_eq!(milli("999999999999999Ei"), Some(999_999_999_999_999_000 << 60));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused_by_name() {
        for text in [
            "",
            "Gi",
            "1 Gi",
            "-1",
            "1.",
            ".5",
            "1e3",
            "1gb",
            "1KiB",
            "٣",
            "1234567890123456",
        ] {
            let error = Quantity(text.into()).milli().expect_err(text);
            assert!(error.to_string().contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
