//! Document revisions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, shorten};

/// A text that is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a revision; a revision is 16 lower-case hexadecimal digits, such as 0190f2a4c1d30000"
)]
pub struct InvalidRevision {
    /// The text, shortened.
    pub value: String,
}

/// The commit timestamp of the write that produced a document; as text, 16 hexadecimal digits.
///
/// Every command has its own timestamp, so a revision never comes back, not even after the document was
/// deleted and inserted again.
///
/// ```
/// use pliantdb_core::{Revision, Timestamp};
///
/// let revision = Revision::at(Timestamp::at_millis(1_700_000_000_000));
/// assert_eq!(revision.to_string(), "018bcfe568000000");
/// assert_eq!("018bcfe568000000".parse(), Ok(revision));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(Timestamp);

impl Revision {
    /// The revision of what was written at `timestamp`.
    #[must_use]
    pub const fn at(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }

    /// The commit timestamp.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.bits())
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({self})")
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(value: &str) -> Result<Self, InvalidRevision> {
        let well_formed = value.len() == 16 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(value, 16) {
            Ok(bits) if well_formed => Ok(Self(Timestamp::from_bits(bits))),
            _ => Err(InvalidRevision {
                value: shorten(value).into_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Revision;
    use crate::Timestamp;

    #[test]
    fn has_one_spelling() {
        for text in [
            "",
            "1",
            "0190F2A4C1D30000",
            "+190f2a4c1d30000",
            "0190f2a4c1d300001",
            "0190f2a4c1d3000g",
        ] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(bits: u64, other: u64) {
            let (a, b) = (Revision::at(Timestamp::from_bits(bits)), Revision::at(Timestamp::from_bits(other)));
            prop_assert_eq!(a.to_string().parse::<Revision>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()), "text sorts like time");
        }
    }
}
