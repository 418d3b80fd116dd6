//! Document ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::shorten;

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_LENGTH: usize = 1024;

/// A text that cannot be a document id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocumentId {
    /// The empty text.
    #[error("the document id is empty; it must be 1 to {MAX_ID_LENGTH} bytes of UTF-8")]
    Empty,
    /// Too many bytes.
    #[error("the document id {value:?} has {length} bytes; {MAX_ID_LENGTH} is the most")]
    TooLong {
        /// The text, shortened.
        value: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A control character such as a newline or a zero byte.
    #[error("the document id {value:?} holds the control character {character:?}; leave it out")]
    ControlCharacter {
        /// The text, shortened.
        value: String,
        /// The first control character in it.
        character: char,
    },
    /// `.` or `..`.
    #[error("the document id {value:?} cannot be used: URLs give \".\" and \"..\" another meaning")]
    DotSegment {
        /// The text.
        value: String,
    },
    /// The id of a document that is in a collection of other ids.
    #[error("the document id {value:?} is not {expected}, as the ids of this collection are")]
    OtherType {
        /// The text, shortened.
        value: String,
        /// What ids there look like.
        expected: &'static str,
    },
}

/// The id of a document, unique in its collection: 1 to 1,024 bytes of UTF-8 without control characters.
///
/// `.` and `..` are refused: HTTP clients and proxies remove them from a path, percent-encoded or not, so
/// such a document could be written by one client and never be reached by another.
/// Ids are ordered by their bytes. The rules are part of [`crate::APPLY_VERSION`], and keys rely on there being no
/// control characters.
///
/// ```
/// use pliantdb_core::DocumentId;
///
/// let id: DocumentId = "orders/2026/1".parse().unwrap();
/// assert_eq!(id.as_str(), "orders/2026/1");
/// assert!("two\nlines".parse::<DocumentId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct DocumentId(SmolStr);

impl DocumentId {
    /// The id that spells a 128-bit number the way UUIDs are spelt, for generated ids.
    #[must_use]
    pub fn from_u128(bits: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // By hand, for every insert without an id makes one, and `format!` costs ten times as much.
        let mut text = [b'-'; 36];
        let mut places = text.iter_mut();
        for (at, byte) in bits.to_be_bytes().into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                places.next();
            }
            for digit in [byte >> 4, byte & 0xf] {
                if let (Some(place), Some(digit)) = (places.next(), DIGITS.get(usize::from(digit))) {
                    *place = *digit;
                }
            }
        }
        Self(SmolStr::new(str::from_utf8(&text).unwrap_or_default()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DocumentId {
    type Error = InvalidDocumentId;

    fn try_from(value: String) -> Result<Self, InvalidDocumentId> {
        value.parse()
    }
}

impl FromStr for DocumentId {
    type Err = InvalidDocumentId;

    fn from_str(value: &str) -> Result<Self, InvalidDocumentId> {
        let shown = || shorten(value).into_owned();
        if value.is_empty() {
            return Err(InvalidDocumentId::Empty);
        }
        if value.len() > MAX_ID_LENGTH {
            return Err(InvalidDocumentId::TooLong {
                value: shown(),
                length: value.len(),
            });
        }
        // Most are of these bytes alone, which can be looked at many at a time.
        let is_plain = value
            .bytes()
            .fold(true, |is, byte| is & matches!(byte, b' '..=b'~'));
        if !is_plain && let Some(character) = value.chars().find(|c| c.is_control()) {
            return Err(InvalidDocumentId::ControlCharacter {
                value: shown(),
                character,
            });
        }
        if value == "." || value == ".." {
            return Err(InvalidDocumentId::DotSegment {
                value: value.to_owned(),
            });
        }
        Ok(Self(SmolStr::new(value)))
    }
}

impl fmt::Debug for DocumentId {
    /// In quotes and shortened, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shorten(&self.0), f)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{DocumentId, InvalidDocumentId};

    #[test]
    fn accepts_any_text_without_control_characters() {
        for id in [
            "a",
            "a/b",
            "50 %",
            "Grüße",
            "日本",
            "...",
            "_x",
            "x".repeat(1024).as_str(),
        ] {
            assert_eq!(id.parse::<DocumentId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn spells_generated_ids_like_uuids() {
        let id = DocumentId::from_u128(0x018f_2a4c_1d30_7000_8000_0000_0000_00ff);
        assert_eq!(id.as_str(), "018f2a4c-1d30-7000-8000-0000000000ff");
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn refuses_the_rest_by_name() {
        assert_eq!("".parse::<DocumentId>(), Err(InvalidDocumentId::Empty));
        assert!(matches!(
            "é".repeat(513).parse::<DocumentId>(),
            Err(InvalidDocumentId::TooLong { length: 1026, .. })
        ));
        for (id, character) in [("a\nb", '\n'), ("\0", '\0'), ("\u{85}", '\u{85}')] {
            let error = id.parse::<DocumentId>().unwrap_err();
            assert_eq!(
                error,
                InvalidDocumentId::ControlCharacter {
                    value: id.to_owned(),
                    character
                }
            );
        }
        assert!(matches!(
            "..".parse::<DocumentId>(),
            Err(InvalidDocumentId::DotSegment { .. })
        ));
    }
}
