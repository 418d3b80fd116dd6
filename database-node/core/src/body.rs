//! Document bodies: checked JSON, kept as it was sent.

use std::{fmt, io};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

/// How deep arrays and objects may be nested in a body.
pub const MAX_NESTING: usize = 128;

/// Bytes that are not an acceptable JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not valid JSON: {reason} at line {line} column {column}")]
pub struct InvalidBody {
    /// What is wrong, without the place.
    pub reason: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 0 for "before the first".
    pub column: usize,
}

/// A JSON value (RFC 8259) of any kind, byte for byte as the client wrote it.
///
/// The whole text was checked once: UTF-8, grammar, surrogate pairs, numbers within the range of a 64-bit
/// float, and at most [`MAX_NESTING`] levels, so whoever reads it later cannot stumble over it. An object
/// that repeats a name is let through, as RFC 8259 does; readers take the last.
///
/// Decoding (of a logged command, say) looks at UTF-8 only: what was taken once is applied for ever, also when the
/// rules for new bodies have become stricter, or replicas of different versions would come apart.
///
/// ```
/// use pliantdb_core::Body;
///
/// let body = Body::parse(br#"{"name": "Ada"}"#.to_vec()).unwrap();
/// assert_eq!(body.as_str(), r#"{"name": "Ada"}"#);
/// assert_eq!(body.read::<serde_json::Value>().unwrap()["name"], "Ada");
/// assert_eq!(Body::of(&[1, 2]).unwrap().as_str(), "[1,2]");
/// assert_eq!(Body::parse(b"[1,]".to_vec()).unwrap_err().column, 4);
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Body(String);

impl Body {
    /// Checks `bytes` and keeps them.
    ///
    /// # Errors
    /// [`InvalidBody`] with the line and column of the first fault.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, InvalidBody> {
        match String::from_utf8(bytes) {
            Ok(text) => Self::try_from(text),
            Err(error) => {
                let valid = error.as_bytes().get(..error.utf8_error().valid_up_to());
                let valid = valid.unwrap_or_default();
                let line_start = valid
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                Err(InvalidBody {
                    reason: "a byte that is not UTF-8".to_owned(),
                    line: valid.iter().filter(|byte| **byte == b'\n').count() + 1,
                    column: valid.len() - line_start + 1,
                })
            }
        }
    }

    /// `value` as JSON, as its serde implementation writes it.
    ///
    /// # Errors
    /// [`InvalidBody`] when it cannot be written as JSON (a map with keys that are not texts, say), or is nested deeper
    /// than [`MAX_NESTING`] levels.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidBody> {
        let unwritable = |error: &dyn fmt::Display| InvalidBody {
            reason: format!("it cannot be written: {error}"),
            line: 1,
            column: 0,
        };
        // Room for a small document, which would come to it by doubling and copying.
        let mut text = Vec::with_capacity(512);
        let mut nesting = Nesting::default();
        let mut json = serde_json::Serializer::with_formatter(&mut text, &mut nesting);
        value.serialize(&mut json).map_err(|error| unwritable(&error))?;
        let text = String::from_utf8(text).map_err(|error| unwritable(&error))?;
        match nesting.deepest > MAX_NESTING {
            false => Ok(Self(text)),
            true => Err(InvalidBody {
                reason: format!("arrays and objects nested deeper than {MAX_NESTING} levels"),
                line: 1,
                column: text.len(),
            }),
        }
    }

    /// The value as a type.
    ///
    /// # Errors
    /// What of the type is missing or different.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(&self.0);
        // It was counted when it came in, and serde_json would stop one level short of ours.
        json.disable_recursion_limit();
        T::deserialize(&mut json)
    }

    /// Takes back a text that came out of [`Body::as_str`] before, without checking it again.
    #[must_use]
    pub fn from_checked(text: String) -> Self {
        Self(text)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The JSON text as owned bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

impl TryFrom<String> for Body {
    type Error = InvalidBody;

    fn try_from(text: String) -> Result<Self, InvalidBody> {
        let body = Self(text);
        body.check()?;
        Ok(body)
    }
}

impl Body {
    /// Checks what was decoded, for decoding takes any text.
    pub(crate) fn check(&self) -> Result<(), InvalidBody> {
        let mut json = serde_json::Deserializer::from_str(&self.0);
        // serde_json stops one level short of 128 by itself; we count, and it cannot overflow the stack
        // because we stop it.
        json.disable_recursion_limit();
        match (Checked { depth: 0 })
            .deserialize(&mut json)
            .and_then(|()| json.end())
        {
            Ok(()) => Ok(()),
            Err(error) => Err(InvalidBody {
                reason: without_place(&error.to_string()),
                line: error.line(),
                column: error.column(),
            }),
        }
    }
}

impl fmt::Debug for Body {
    /// The length only: bodies do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// Counts, while JSON is written, how deep its arrays and objects are nested.
#[derive(Default)]
struct Nesting {
    depth: usize,
    deepest: usize,
}

impl Nesting {
    fn begin(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

impl Formatter for &mut Nesting {
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin();
        writer.write_all(b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end();
        writer.write_all(b"]")
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin();
        writer.write_all(b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end();
        writer.write_all(b"}")
    }

    /// What a `RawValue` holds.
    fn write_raw_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, json: &str) -> io::Result<()> {
        self.deepest = self.deepest.max(self.depth + nesting(json));
        writer.write_all(json.as_bytes())
    }
}

/// How deep the arrays and objects of a valid JSON text are nested.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text) = (0usize, 0, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_text => {
                bytes.next();
            }
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// serde_json ends its messages with " at line L column C", which [`InvalidBody`] says itself.
fn without_place(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(reason, _)| reason)
        .to_owned()
}

/// Walks a whole value, keeps nothing of it, and counts the levels.
///
/// `serde::de::IgnoredAny` would not do: serde_json skips ignored values without looking at surrogate
/// pairs, number ranges or nesting.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_NESTING {
            return Err(E::custom(format_args!(
                "arrays and objects nested deeper than {MAX_NESTING} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while members.next_key_seed(inner)?.is_some() {
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, InvalidBody, MAX_NESTING};

    fn fault(text: &[u8]) -> InvalidBody {
        Body::parse(text.to_vec()).unwrap_err()
    }

    #[test]
    fn keeps_the_bytes_of_any_value() {
        for text in [
            "null",
            " {\"b\": 1,\n \"a\": 1.50} ",
            "\"\\u00e9\"",
            "[]",
            "-0.0",
            "true",
            "1e2",
            "\"é\"",
        ] {
            assert_eq!(Body::parse(text.into()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_the_place_of_a_fault() {
        let error = fault(b"{\"a\": 1,\n \"b\": }");
        assert_eq!((error.line, error.column), (2, 7));
        assert_eq!(
            error.to_string(),
            "the body is not valid JSON: expected value at line 2 column 7"
        );
        let error = fault(b"[1,\n \"a\xff\"]");
        assert_eq!((error.line, error.column), (2, 4));
    }

    #[test]
    fn looks_at_everything() {
        for text in [
            &b""[..],
            b"{",
            b"1 2",
            b"{\"a\":1,}",
            b"nan",
            b"1e999",
            b"\"\\ud800\"",
            b"\"\n\"",
            b"01",
            b"{a:1}",
            b"\xef\xbb\xbf1",
        ] {
            fault(text);
        }
    }

    #[test]
    fn limits_nesting() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
        assert!(Body::parse(nested(MAX_NESTING)).is_ok());
        let error = fault(&nested(MAX_NESTING + 1));
        assert!(error.reason.contains("128 levels"), "{error}");
        assert_eq!(
            (error.line, error.column),
            (1, 130),
            "the parser has looked one byte ahead"
        );
        fault("[".repeat(10_000_000).as_bytes());
    }

    #[test]
    fn values_are_counted_as_texts_are() {
        let nested = |levels: usize| {
            let leaf = serde_json::json!("[\\\"[{");
            (0..levels).fold(leaf, |inner, _| serde_json::json!([inner]))
        };
        let deepest = Body::of(&nested(MAX_NESTING)).unwrap();
        assert_eq!(Body::parse(deepest.as_str().into()).as_ref(), Ok(&deepest));
        assert_eq!(deepest.read::<serde_json::Value>().unwrap(), nested(MAX_NESTING));
        assert!(
            Body::of(&nested(MAX_NESTING + 1))
                .unwrap_err()
                .reason
                .contains("128 levels")
        );
        let raw = |levels| serde_json::value::RawValue::from_string(nested(levels).to_string()).unwrap();
        assert_eq!(Body::of(&[raw(MAX_NESTING - 1)]).as_ref(), Ok(&deepest));
        assert!(
            Body::of(&[raw(MAX_NESTING)]).is_err(),
            "what is written as it is counts"
        );
        let map = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert!(
            Body::of(&map)
                .unwrap_err()
                .reason
                .contains("key must be a string")
        );
    }

    #[test]
    fn shows_no_content_when_debugged() {
        assert_eq!(
            format!("{:?}", Body::parse(b"\"secret\"".to_vec()).unwrap()),
            "Body(8 bytes)"
        );
    }
}
