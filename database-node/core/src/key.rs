//! Keys of views: values of several types as bytes that sort as the values do.
//!
//! ```text
//! 05                          None
//! 06 / 07                     false / true
//! 0c … 13, 14, 15 … 1c        an integer: negative, of 8 … 1 bytes; zero; positive, of 1 … 8 bytes; then its bytes,
//!                             big-endian (of a negative one, those of the magnitude inverted)
//! 21                          a float: 8 bytes, big-endian; the sign bit flipped, or all bits when it is set
//! 30 / 31                     a text / bytes: each 00 in it as 00 ff, then 00 01
//! 40                          a tuple: its parts, then 00
//! ```
//! After the tuple layer of FoundationDB: every key ends by itself, none is the beginning of another, and all can be
//! read without knowing their type. Stored views depend on every line.

use crate::DocumentId;

/// The longest encoded key, in bytes.
pub const MAX_KEY_LENGTH: usize = 4096;

/// How deep tuples can be nested.
pub const MAX_NESTING: usize = 8;

pub(crate) const END: u8 = 0x00;
/// What follows a 00 that is part of a text, and one that is its end. With a single byte at the end, "a" would be the
/// beginning of "a\0", and its entries could not be told from that one's by a range.
const ESCAPED: u8 = 0xff;
const ENDED: u8 = 0x01;
pub(crate) const NONE: u8 = 0x05;
pub(crate) const FALSE: u8 = 0x06;
pub(crate) const TRUE: u8 = 0x07;
const ZERO: u8 = 0x14;
pub(crate) const FLOAT: u8 = 0x21;
pub(crate) const TEXT: u8 = 0x30;
pub(crate) const BYTES: u8 = 0x31;
pub(crate) const TUPLE: u8 = 0x40;

/// Bytes that are not a key of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored key is not {expected}")]
pub struct InvalidKey {
    /// The type that was wanted.
    pub expected: &'static str,
}

/// A type that views can have as their key: it is ordered by its encoded bytes as by its value.
///
/// There is one for booleans, integers of up to 64 bits, floats, texts, bytes, document ids, options (of which `None`
/// comes first) and tuples, nested at most 8 deep. Implement it for another type by encoding that as one of these. An option of an option is read back as `None` when the inner one is.
///
/// ```
/// use pliantdb_core::Key;
///
/// let key = ("Berlin".to_owned(), -3i64);
/// assert_eq!(<(String, i64)>::decode(&mut key.encoded().as_slice()), Ok(key.clone()));
/// assert!(key.encoded() < ("Berlin".to_owned(), 2i64).encoded());
/// assert!(None::<u8>.encoded() < Some(0u8).encoded());
/// ```
pub trait Key: Sized + Send + 'static {
    /// Appends the encoded key.
    fn encode(&self, to: &mut Vec<u8>);

    /// Takes a key from the front of `from`.
    ///
    /// # Errors
    /// [`InvalidKey`] when the bytes are of another type, cut short, or out of the type's range.
    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey>;

    /// The encoded key by itself.
    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        self.encode(&mut bytes);
        bytes
    }
}

/// Bytes whose order is that of the texts which begin with `prefix`: from the first result to the second, exclusive.
#[must_use]
pub fn text_prefix(prefix: &str) -> (Vec<u8>, Vec<u8>) {
    let mut start = Vec::with_capacity(prefix.len() + 2);
    start.push(TEXT);
    escape(prefix.as_bytes(), &mut start);
    let mut end = start.clone();
    // UTF-8 has no byte ff, and an escaped zero's ff follows its 00.
    end.push(0xff);
    (start, end)
}

/// The first bytes behind everything that begins with this key; `None` when nothing is.
#[must_use]
pub fn behind(mut key: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = key.pop() {
        if last < 0xff {
            key.push(last + 1);
            return Some(key);
        }
    }
    None
}

/// How many bytes of `bytes` the key at its front has; `None` when there is no whole one.
#[must_use]
pub fn encoded_length(bytes: &[u8]) -> Option<usize> {
    encoded_length_within(bytes, MAX_NESTING)
}

fn encoded_length_within(bytes: &[u8], depth: usize) -> Option<usize> {
    let (tag, rest) = bytes.split_first()?;
    let length = match *tag {
        NONE | FALSE | TRUE => 1,
        tag @ 0x0c..=0x1c => 1 + usize::from(tag.abs_diff(ZERO)),
        FLOAT => 9,
        TEXT | BYTES => {
            let mut at = 0;
            loop {
                let zero = at + rest.get(at..)?.iter().position(|byte| *byte == END)?;
                at = zero + 2;
                match rest.get(zero + 1) {
                    Some(&ESCAPED) => {}
                    Some(&ENDED) => break 1 + at,
                    _ => return None,
                }
            }
        }
        TUPLE => {
            let depth = depth.checked_sub(1)?;
            let mut at = 0;
            while *rest.get(at)? != END {
                at += encoded_length_within(rest.get(at..)?, depth)?;
            }
            1 + at + 1
        }
        _ => return None,
    };
    (length <= bytes.len()).then_some(length)
}

fn escape(bytes: &[u8], to: &mut Vec<u8>) {
    for byte in bytes {
        to.push(*byte);
        if *byte == END {
            to.push(ESCAPED);
        }
    }
}

fn unescape(from: &mut &[u8], tag: u8, expected: &'static str) -> Result<Vec<u8>, InvalidKey> {
    let invalid = InvalidKey { expected };
    let length = encoded_length(from)
        .filter(|_| from.first() == Some(&tag))
        .ok_or(invalid)?;
    let (key, rest) = from.split_at(length);
    *from = rest;
    let mut bytes = Vec::with_capacity(length);
    let mut inner = key.get(1..length - 2).unwrap_or_default().iter();
    while let Some(byte) = inner.next() {
        bytes.push(*byte);
        if *byte == END {
            inner.next();
        }
    }
    Ok(bytes)
}

/// Encodes an integer given as sign and magnitude.
pub(crate) fn encode_integer(is_negative: bool, magnitude: u64, to: &mut Vec<u8>) {
    let bytes = if is_negative {
        (!magnitude).to_be_bytes()
    } else {
        magnitude.to_be_bytes()
    };
    let skipped = magnitude.leading_zeros() / 8;
    // At most 8.
    let length = 8 - u8::try_from(skipped).unwrap_or(8);
    to.push(if is_negative { ZERO - length } else { ZERO + length });
    to.extend(bytes.iter().skip(8 - usize::from(length)));
}

pub(crate) fn decode_integer(from: &mut &[u8]) -> Option<(bool, u64)> {
    let tag = *from.first()?;
    let length = usize::from(tag.abs_diff(ZERO));
    if length > 8 {
        return None;
    }
    let digits = from.get(1..=length)?;
    let is_negative = tag < ZERO;
    let magnitude = digits.iter().fold(0u64, |sum, byte| {
        sum << 8 | u64::from(if is_negative { !*byte } else { *byte })
    });
    *from = from.get(1 + length..)?;
    Some((is_negative, magnitude))
}

macro_rules! integer_keys {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn encode(&self, to: &mut Vec<u8>) {
                let value = i128::from(*self);
                // Every integer of 64 bits has a magnitude that fits.
                encode_integer(value < 0, u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX), to);
            }

            fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
                let mut rest = *from;
                let (is_negative, magnitude) =
                    decode_integer(&mut rest).ok_or(InvalidKey { expected: stringify!($type) })?;
                let value = if is_negative { -i128::from(magnitude) } else { i128::from(magnitude) };
                let value = value.try_into().map_err(|_| InvalidKey { expected: stringify!($type) })?;
                *from = rest;
                Ok(value)
            }
        }
    )*};
}
integer_keys!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Key for () {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(NONE);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        match from.split_first() {
            Some((&NONE, rest)) => {
                *from = rest;
                Ok(())
            }
            _ => Err(InvalidKey { expected: "()" }),
        }
    }
}

impl Key for bool {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(if *self { TRUE } else { FALSE });
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        let (value, rest) = match *from {
            [FALSE, rest @ ..] => (false, rest),
            [TRUE, rest @ ..] => (true, rest),
            _ => return Err(InvalidKey { expected: "bool" }),
        };
        *from = rest;
        Ok(value)
    }
}

impl Key for f64 {
    fn encode(&self, to: &mut Vec<u8>) {
        let bits = self.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        to.push(FLOAT);
        to.extend(ordered.to_be_bytes());
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        let (key, rest) = from
            .split_first_chunk::<9>()
            .ok_or(InvalidKey { expected: "f64" })?;
        let [FLOAT, digits @ ..] = *key else {
            return Err(InvalidKey { expected: "f64" });
        };
        let ordered = u64::from_be_bytes(digits);
        *from = rest;
        Ok(Self::from_bits(if ordered >> 63 == 1 {
            ordered & !(1 << 63)
        } else {
            !ordered
        }))
    }
}

impl Key for String {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(TEXT);
        escape(self.as_bytes(), to);
        to.extend([END, ENDED]);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        Self::from_utf8(unescape(from, TEXT, "a text")?).map_err(|_| InvalidKey { expected: "a text" })
    }
}

impl Key for DocumentId {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(TEXT);
        escape(self.as_str().as_bytes(), to);
        to.extend([END, ENDED]);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        String::decode(from)?.try_into().map_err(|_| InvalidKey {
            expected: "a document id",
        })
    }
}

impl Key for Vec<u8> {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(BYTES);
        escape(self, to);
        to.extend([END, ENDED]);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        unescape(from, BYTES, "bytes")
    }
}

impl<K: Key> Key for Option<K> {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Some(key) => key.encode(to),
            None => to.push(NONE),
        }
    }

    fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
        match from.split_first() {
            Some((&NONE, rest)) => {
                *from = rest;
                Ok(None)
            }
            _ => K::decode(from).map(Some),
        }
    }
}

macro_rules! tuple_keys {
    ($($part:ident),+) => {
        impl<$($part: Key),+> Key for ($($part,)+) {
            #[allow(non_snake_case, reason = "the parts are named like their types")]
            fn encode(&self, to: &mut Vec<u8>) {
                let ($($part,)+) = self;
                to.push(TUPLE);
                $($part.encode(to);)+
                to.push(END);
            }

            fn decode(from: &mut &[u8]) -> Result<Self, InvalidKey> {
                let invalid = InvalidKey { expected: "a tuple" };
                let [TUPLE, rest @ ..] = *from else { return Err(invalid) };
                let mut parts = rest;
                let value = ($($part::decode(&mut parts)?,)+);
                let [END, rest @ ..] = parts else { return Err(invalid) };
                *from = rest;
                Ok(value)
            }
        }
    };
}
tuple_keys!(A);
tuple_keys!(A, B);
tuple_keys!(A, B, C);
tuple_keys!(A, B, C, D);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::{InvalidKey, Key, encoded_length, text_prefix};

    /// Fixed for ever: stored views are sorted by these.
    #[test]
    fn encodes_as_it_always_did() {
        assert_eq!(None::<u8>.encoded(), b"\x05");
        assert_eq!((false.encoded(), true.encoded()), (vec![6], vec![7]));
        assert_eq!(0u8.encoded(), b"\x14");
        assert_eq!(255u64.encoded(), b"\x15\xff");
        assert_eq!(256i32.encoded(), b"\x16\x01\x00");
        assert_eq!((-1i64).encoded(), b"\x13\xfe");
        assert_eq!(u64::MAX.encoded(), b"\x1c\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(1.0f64.encoded(), b"\x21\xbf\xf0\0\0\0\0\0\0");
        assert_eq!("a\0b".to_owned().encoded(), b"\x30a\0\xffb\0\x01");
        assert_eq!(
            ("é".to_owned(), 1u8).encoded(),
            b"\x40\x30\xc3\xa9\0\x01\x15\x01\0"
        );
        assert_eq!(vec![1u8, 0].encoded(), b"\x31\x01\0\xff\0\x01");
    }

    fn check<K: Key + PartialOrd + PartialEq + Debug>(a: &K, b: &K) {
        for key in [a, b] {
            let mut bytes = key.encoded();
            let length = bytes.len();
            assert_eq!(encoded_length(&bytes), Some(length), "{key:?}");
            for cut in 0..length {
                assert_eq!(encoded_length(&bytes[..cut]), None, "{key:?} cut at {cut}");
            }
            bytes.push(0x77);
            let mut rest = bytes.as_slice();
            assert_eq!(&K::decode(&mut rest).unwrap(), key);
            assert_eq!(rest, b"\x77");
        }
        assert_eq!(
            a.partial_cmp(b),
            Some(a.encoded().cmp(&b.encoded())),
            "{a:?} {b:?}"
        );
    }

    proptest! {
        #[test]
        fn sorts_like_its_values_and_comes_back(
            a: (i64, u64, String, Option<bool>), b: (i64, u64, String, Option<bool>),
            bytes: (Vec<u8>, Vec<u8>), floats in (prop::num::f64::NORMAL, prop::num::f64::NORMAL),
        ) {
            check(&a, &b);
            check(&a.0, &b.0);
            check(&a.1, &b.1);
            check(&a.2, &b.2);
            check(&(a.2.clone(), (a.0, a.3)), &(b.2.clone(), (b.0, b.3)));
            check(&bytes.0, &bytes.1);
            check(&floats.0, &floats.1);
        }

        #[test]
        fn finds_the_texts_with_a_prefix(prefix in "[a\0b]{0,2}", text in "[a\0b]{0,4}") {
            let (start, end) = text_prefix(&prefix);
            let key = text.encoded();
            prop_assert_eq!(text.starts_with(&prefix), start <= key && key < end);
        }

        #[test]
        fn refuses_anything_else(bytes: Vec<u8>) {
            let _ = encoded_length(&bytes);
            let _ = <(String, Option<i8>, f64)>::decode(&mut bytes.as_slice());
            let _ = <Vec<u8>>::decode(&mut bytes.as_slice());
            let _ = u8::decode(&mut bytes.as_slice());
        }
    }

    #[test]
    fn knows_its_type_and_range() {
        assert_eq!(
            u8::decode(&mut 256u64.encoded().as_slice()),
            Err(InvalidKey { expected: "u8" })
        );
        assert_eq!(
            u64::decode(&mut (-1i8).encoded().as_slice()),
            Err(InvalidKey { expected: "u64" })
        );
        assert!(String::decode(&mut 1u8.encoded().as_slice()).is_err());
        assert_eq!(i64::decode(&mut i64::MIN.encoded().as_slice()), Ok(i64::MIN));
        assert_eq!(
            encoded_length(&[0x40; 100]),
            None,
            "nested too deep to be one of ours"
        );
    }
}
