//! Request ids, by which a write is made once however often it is sent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128;

use crate::{DocumentId, shorten};

/// How long a database remembers what a write with a request id came to. A write whose id is older, or as much ahead, is
/// refused: nobody could tell any more whether it was made. It is part of [`crate::APPLY_VERSION`].
pub const REQUEST_MEMORY: Duration = Duration::from_secs(300);

/// The last millisecond that 48 bits hold.
const MAX_MILLIS: u64 = (1 << 48) - 1;
/// The bits of a UUID of version 7 that are neither time nor version nor variant.
const RANDOM_BITS: u128 = (1 << 74) - 1;
/// Those of them behind the variant.
const LOW_BITS: u128 = (1 << 62) - 1;
/// Version 7, and the variant of RFC 9562.
const MARKS: u128 = (7 << 76) | (2 << 62);

/// A text, or bytes, that are no request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a request id; a request id is a UUID of version 7, such as 0190f2a4-c1d3-7a5e-9c41-5be2f0a6d3c8"
)]
pub struct InvalidRequestId {
    /// The text, shortened; of bytes, their hexadecimal digits.
    pub value: String,
}

/// What a client calls a write, so that it can send it again when it has heard no answer: a UUID of version 7 (RFC 9562),
/// which is the time when it was made, and 74 random bits.
///
/// In text it is spelt as UUIDs are; in binary formats it is 16 bytes. Ids are ordered by their time.
///
/// ```
/// use pliantdb_core::RequestId;
///
/// let id = RequestId::new(1_700_000_000_000, 0x1234_5678_9abc_def0);
/// assert_eq!(id.to_string(), "018bcfe5-6800-7000-9234-56789abcdef0");
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert_eq!(id.millis(), 1_700_000_000_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// The id of a request that is made at `millis` milliseconds since the Unix epoch, with the last 74 bits of `random`:
    /// drawn anew for each request, and kept when it is sent again.
    #[must_use]
    pub const fn new(millis: u64, random: u128) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        let high = (random & RANDOM_BITS) >> 62;
        Self(((millis as u128) << 80) | MARKS | (high << 64) | (random & LOW_BITS))
    }

    /// The id with these bytes, in the order of their spelling.
    ///
    /// # Errors
    /// [`InvalidRequestId`] when they are not of version 7.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, InvalidRequestId> {
        let bits = u128::from_be_bytes(bytes);
        Self::from_bits(bits).ok_or_else(|| InvalidRequestId {
            value: format!("{bits:032x}"),
        })
    }

    fn from_bits(bits: u128) -> Option<Self> {
        let marks = (0xf << 76) | (3 << 62);
        (bits & marks == MARKS).then_some(Self(bits))
    }

    /// Its bytes, in the order of their spelling.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// When it was made, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The id of the document that the `number`-th change of the request inserts without saying its id: the same however
    /// often the request is sent. Those of a request are in the order of their numbers.
    #[must_use]
    pub fn document_id(self, number: u32) -> DocumentId {
        // Hashed, for some clients count their ids up within a millisecond.
        let random = xxh3_128(&self.to_bytes()).wrapping_add(number.into());
        DocumentId::from_u128(Self::new(self.millis(), random).0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DocumentId::from_u128(self.0).as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(value: &str) -> Result<Self, InvalidRequestId> {
        let is_spelt = value.split('-').map(str::len).eq([8, 4, 4, 4, 12])
            && value.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        let bits = is_spelt.then(|| u128::from_str_radix(&value.replace('-', ""), 16).ok());
        let id = bits.flatten().and_then(Self::from_bits);
        id.ok_or_else(|| InvalidRequestId {
            value: shorten(value).into_owned(),
        })
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_bytes(&self.to_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_str(Visitor),
            false => deserializer.deserialize_bytes(Visitor),
        }
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = RequestId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID of version 7")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RequestId, E> {
        value.parse().map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<RequestId, E> {
        let bytes = value
            .try_into()
            .map_err(|_| E::invalid_length(value.len(), &"16 bytes"))?;
        RequestId::from_bytes(bytes).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_uuid_of_version_7() {
        for text in [
            "",
            "018bcfe5-6800-4000-9234-56789abcdef0",
            "018bcfe5-6800-7000-c234-56789abcdef0",
            "018bcfe5-6800-7000-1234-56789abcdef0",
            "018bcfe568007000923456789abcdef0",
            "018bcfe5-6800-7000-9234-56789abcdeg0",
            "+18bcfe5-6800-7000-9234-56789abcdef0",
            "018bcfe5-6800-7000-9234-56789abcdef01",
        ] {
            let error = text.parse::<RequestId>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is not a request id")),
                "{error}"
            );
        }
        let error = RequestId::from_bytes([0xab; 16]).unwrap_err().to_string();
        assert!(error.contains(&"ab".repeat(16)), "{error}");
        assert!(postcard::from_bytes::<RequestId>(&[16; 17]).is_err());
        assert!(postcard::from_bytes::<RequestId>(&[1, 0]).is_err());
    }

    #[test]
    fn upper_case_is_the_same() {
        let id = RequestId::new(1, 0xabc);
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn names_documents_in_their_order_and_apart_from_those_of_the_next_request() {
        let (first, next) = (RequestId::new(5, 1), RequestId::new(5, 2));
        let ids = (0..1000)
            .map(|number| first.document_id(number))
            .collect::<Vec<_>>();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.as_str().parse::<RequestId>().is_ok()));
        assert!((0..1000).all(|number| !ids.contains(&next.document_id(number))));
        assert_eq!(first.document_id(0), first.document_id(0));
    }

    proptest! {
        #[test]
        fn text_and_bytes_and_back(millis: u64, other: u64, random: u128) {
            let (a, b) = (RequestId::new(millis, random), RequestId::new(other, random));
            prop_assert_eq!(a.millis(), millis.min(MAX_MILLIS));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(RequestId::from_bytes(a.to_bytes()), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.millis().cmp(&b.millis()));
            let bytes = postcard::to_stdvec(&a).unwrap();
            prop_assert_eq!(bytes.len(), 17);
            prop_assert_eq!(postcard::from_bytes::<RequestId>(&bytes), Ok(a));
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(&json, &format!("\"{a}\""));
            prop_assert_eq!(serde_json::from_str::<RequestId>(&json).unwrap(), a);
        }
    }
}
