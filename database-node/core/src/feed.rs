//! Where a reader of the changes of a database stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, shorten};

/// A text that is not a place in a feed of changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a place in a feed of changes; use one that the feed gave, as it was")]
pub struct InvalidFeedCursor {
    /// The text, shortened.
    pub value: String,
}

/// A place in the changes of a database. As text it is to be kept and given back as it is; what is in it may change.
///
/// ```
/// use pliantdb_core::{FeedCursor, Timestamp};
///
/// let cursor = FeedCursor::new(1, Timestamp::at_millis(1_700_000_000_000));
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// assert!("yesterday".parse::<FeedCursor>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedCursor {
    database: u32,
    after: Timestamp,
}

impl FeedCursor {
    /// Behind everything that database number `database` committed up to `after`.
    #[must_use]
    pub fn new(database: u32, after: Timestamp) -> Self {
        Self { database, after }
    }

    /// The number of the database, which tells it from another that had its name before.
    #[must_use]
    pub fn database(self) -> u32 {
        self.database
    }

    /// The last commit before it.
    #[must_use]
    pub fn after(self) -> Timestamp {
        self.after
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1-{:08x}-{:016x}", self.database, self.after.bits())
    }
}

impl fmt::Debug for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedCursor({self})")
    }
}

impl FromStr for FeedCursor {
    type Err = InvalidFeedCursor;

    fn from_str(text: &str) -> Result<Self, InvalidFeedCursor> {
        let parse = || {
            let (database, after) = text.strip_prefix("1-")?.split_once('-')?;
            let cursor = Self {
                database: u32::from_str_radix(database, 16).ok()?,
                after: Timestamp::from_bits(u64::from_str_radix(after, 16).ok()?),
            };
            // One spelling only.
            (cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or_else(|| InvalidFeedCursor {
            value: shorten(text).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FeedCursor;
    use crate::Timestamp;

    #[test]
    fn text_and_back() {
        let cursor = FeedCursor::new(7, Timestamp::from_bits(0x0190_f2a4_c1d3_0001));
        assert_eq!(cursor.to_string(), "1-00000007-0190f2a4c1d30001");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "1-7-1",
            "2-00000007-0190f2a4c1d30001",
            "1-0000000G-0190f2a4c1d30001",
        ] {
            assert!(text.parse::<FeedCursor>().is_err(), "{text}");
        }
    }
}
