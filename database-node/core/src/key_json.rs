//! Keys of views as JSON, for who does not know their types: HTTP and the shell.
//!
//! | key | JSON |
//! |---|---|
//! | `None`, `()` | `null` |
//! | a boolean | `true`, `false` |
//! | an integer | `36`, with all its digits, also beyond 2^53: read it with a parser that keeps them |
//! | a float | `36.0`, `1e300`: always with a fraction or an exponent, for `36` is another key |
//! | a float that JSON has no number for | `{"$float": "NaN"}`, `"Infinity"`, `"-Infinity"`; another NaN by its 16 hexadecimal digits |
//! | a text | `"UK"` |
//! | bytes | `{"$bytes": "00ff"}`, in hexadecimal digits |
//! | a tuple | `["UK", 36]` |
//!
//! There is no key for dates: one looks like the text or number that the view made of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::value::RawValue;

use crate::key::{self, MAX_KEY_LENGTH, MAX_NESTING, text_prefix};
use crate::{Key, shorten};

/// A text that is not a key as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a key: {reason}; a key is JSON such as \"UK\" (in quotes), 36, 36.0 (a float), true, null, \
     [\"UK\", 36] or {{\"$bytes\": \"00ff\"}}"
)]
pub struct InvalidKeyJson {
    /// The text, shortened.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An encoded key as JSON; `None` when it is not a whole key.
///
/// ```
/// use pliantdb_core::{Key, key_json};
///
/// let key = ("Berlin".to_owned(), -3i64).encoded();
/// assert_eq!(key_json::write(&key).as_deref(), Some(r#"["Berlin",-3]"#));
/// assert_eq!(key_json::read(r#"["Berlin", -3]"#), Ok(key));
/// ```
#[must_use]
pub fn write(key: &[u8]) -> Option<String> {
    key::encoded_length(key).filter(|length| *length == key.len())?;
    let (mut rest, mut json) = (key, String::new());
    write_next(&mut rest, &mut json)?;
    Some(json)
}

/// Appends the key at the front of `from`, which was found to be whole, so that it is not nested too deep.
fn write_next(from: &mut &[u8], json: &mut String) -> Option<()> {
    match *from.first()? {
        key::NONE => {
            *from = from.get(1..)?;
            json.push_str("null");
        }
        key::FALSE | key::TRUE => json.push_str(match bool::decode(from).ok()? {
            true => "true",
            false => "false",
        }),
        key::FLOAT => write_float(f64::decode(from).ok()?, json)?,
        key::TEXT => {
            let text = String::decode(from).ok()?;
            json.push_str(&serde_json::to_string(&text).ok()?);
        }
        key::BYTES => {
            json.push_str("{\"$bytes\":\"");
            for byte in Vec::<u8>::decode(from).ok()? {
                write!(json, "{byte:02x}").ok()?;
            }
            json.push_str("\"}");
        }
        key::TUPLE => {
            *from = from.get(1..)?;
            json.push('[');
            let mut is_first = true;
            while *from.first()? != key::END {
                if !std::mem::take(&mut is_first) {
                    json.push(',');
                }
                write_next(from, json)?;
            }
            *from = from.get(1..)?;
            json.push(']');
        }
        _ => {
            let (is_negative, magnitude) = key::decode_integer(from)?;
            let sign = if is_negative { "-" } else { "" };
            write!(json, "{sign}{magnitude}").ok()?;
        }
    }
    Some(())
}

fn write_float(float: f64, json: &mut String) -> Option<()> {
    let written = match float.to_bits() {
        // With a fraction or an exponent.
        _ if float.is_finite() => write!(json, "{float:?}"),
        bits if bits == f64::NAN.to_bits() => write!(json, "{{\"$float\":\"NaN\"}}"),
        _ if float == f64::INFINITY => write!(json, "{{\"$float\":\"Infinity\"}}"),
        _ if float == f64::NEG_INFINITY => write!(json, "{{\"$float\":\"-Infinity\"}}"),
        bits => write!(json, "{{\"$float\":\"{bits:016x}\"}}"),
    };
    written.ok()
}

/// The key that a JSON text stands for, encoded.
///
/// # Errors
/// [`InvalidKeyJson`]: it is not JSON, not of the forms above, nested too deep, or longer than a key can be.
pub fn read(json: &str) -> Result<Vec<u8>, InvalidKeyJson> {
    let mut key = Vec::with_capacity(json.len() + 8);
    read_value(json, MAX_NESTING, &mut key).map_err(|reason| invalid(json, reason))?;
    match key.len() {
        ..=MAX_KEY_LENGTH => Ok(key),
        length => {
            let reason = format!("it has {length} bytes when encoded, and {MAX_KEY_LENGTH} is the most");
            Err(invalid(json, reason))
        }
    }
}

/// Several keys: those of a JSON array.
///
/// # Errors
/// As [`read`], of the first that is not a key.
pub fn read_many(json: &str) -> Result<Vec<Vec<u8>>, InvalidKeyJson> {
    match serde_json::from_str::<Vec<&RawValue>>(json) {
        Ok(keys) => keys.into_iter().map(|key| read(key.get())).collect(),
        Err(error) => Err(invalid(json, format!("not an array of keys: {error}"))),
    }
}

/// Where the keys begin and end (exclusive) that begin with what a JSON text stands for: texts with a text, tuples with
/// the parts of an array.
///
/// # Errors
/// As [`read`], also when it is neither a text nor an array.
pub fn read_prefix(json: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), InvalidKeyJson> {
    match json.trim_start().as_bytes().first() {
        Some(b'"') => {
            let text: String =
                serde_json::from_str(json).map_err(|error| invalid(json, error.to_string()))?;
            let (start, end) = text_prefix(&text);
            Ok((start, Some(end)))
        }
        Some(b'[') => {
            let mut start = read(json)?;
            // Its end, so that more parts may follow.
            start.pop();
            let end = key::behind(start.clone());
            Ok((start, end))
        }
        _ => Err(invalid(
            json,
            "only texts and tuples begin with something".to_owned(),
        )),
    }
}

fn invalid(json: &str, reason: String) -> InvalidKeyJson {
    let value = shorten(json).into_owned();
    InvalidKeyJson { value, reason }
}

/// Appends the encoded key; `depth` is how many tuples may still be nested in it.
fn read_value(json: &str, depth: usize, key: &mut Vec<u8>) -> Result<(), String> {
    let wrong = |error: serde_json::Error| error.to_string();
    // The text of exactly one JSON value, without spaces around it.
    let json = serde_json::from_str::<&RawValue>(json).map_err(wrong)?.get();
    match json.as_bytes().first() {
        Some(b'n') => ().encode(key),
        Some(b't') => true.encode(key),
        Some(b'f') => false.encode(key),
        Some(b'"') => serde_json::from_str::<String>(json).map_err(wrong)?.encode(key),
        Some(b'[') => {
            let depth = depth
                .checked_sub(1)
                .ok_or_else(|| format!("its tuples are nested more than {MAX_NESTING} deep"))?;
            key.push(key::TUPLE);
            for part in serde_json::from_str::<Vec<&RawValue>>(json).map_err(wrong)? {
                read_value(part.get(), depth, key)?;
            }
            key.push(key::END);
        }
        Some(b'{') => read_object(json, key)?,
        _ => read_number(json, key)?,
    }
    Ok(())
}

fn read_number(json: &str, key: &mut Vec<u8>) -> Result<(), String> {
    if json.contains(['.', 'e', 'E']) {
        let float = json.parse().ok().filter(|float: &f64| float.is_finite());
        let float = float.ok_or_else(|| format!("{} is out of the range of a float", shorten(json)))?;
        float.encode(key);
        return Ok(());
    }
    let number = json.parse::<i128>().ok();
    let parts = number.and_then(|number| Some((number < 0, u64::try_from(number.unsigned_abs()).ok()?)));
    let (is_negative, magnitude) = parts.ok_or_else(|| format!("{} has more than 64 bits", shorten(json)))?;
    key::encode_integer(is_negative, magnitude, key);
    Ok(())
}

fn read_object(json: &str, key: &mut Vec<u8>) -> Result<(), String> {
    let object: BTreeMap<String, String> =
        serde_json::from_str(json).map_err(|error| format!("an object that stands for no key: {error}"))?;
    let mut members = object.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    match (members.next(), members.next()) {
        (Some(("$bytes", digits)), None) => {
            hexadecimal(digits)
                .ok_or_else(|| "$bytes takes hexadecimal digits, two for each byte".to_owned())?
                .encode(key);
        }
        (Some(("$float", text)), None) => {
            let float = match text {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                digits => hexadecimal(digits)
                    .and_then(|bytes| Some(f64::from_bits(u64::from_be_bytes(bytes.try_into().ok()?)))),
            };
            let right =
                "$float takes NaN, Infinity, -Infinity or the 16 hexadecimal digits of a float's bits";
            float.ok_or_else(|| right.to_owned())?.encode(key);
        }
        _ => return Err("an object that stands for no key".to_owned()),
    }
    Ok(())
}

/// The bytes that hexadecimal digits stand for.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| {
        let is_hexadecimal = pair.iter().all(u8::is_ascii_hexdigit);
        let text = str::from_utf8(pair).ok().filter(|_| is_hexadecimal)?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read, read_many, read_prefix, write};
    use crate::Key;

    #[test]
    fn every_kind_of_key() {
        for (key, json) in [
            (().encoded(), "null"),
            (true.encoded(), "true"),
            (0u8.encoded(), "0"),
            (u64::MAX.encoded(), "18446744073709551615"),
            (i64::MIN.encoded(), "-9223372036854775808"),
            (1.0f64.encoded(), "1.0"),
            ((-0.0f64).encoded(), "-0.0"),
            (1e300f64.encoded(), "1e300"),
            (f64::NAN.encoded(), r#"{"$float":"NaN"}"#),
            (f64::NEG_INFINITY.encoded(), r#"{"$float":"-Infinity"}"#),
            ("a\0\"é".to_owned().encoded(), r#""a\u0000\"é""#),
            (vec![0u8, 255].encoded(), r#"{"$bytes":"00ff"}"#),
            (("a".to_owned(), (1u8, None::<u8>)).encoded(), r#"["a",[1,null]]"#),
        ] {
            assert_eq!(write(&key).as_deref(), Some(json));
            assert_eq!(read(&format!(" {json} ")), Ok(key), "{json}");
        }
        assert_eq!(read("1E2"), Ok(100.0f64.encoded()));
        assert_eq!(
            read_many("[1, \"a\"]"),
            Ok(vec![1u8.encoded(), "a".to_owned().encoded()])
        );
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (json, reason) in [
            ("", "EOF"),
            ("UK", "expected value"),
            ("1 2", "trailing"),
            ("18446744073709551616", "64 bits"),
            ("1e400", "range"),
            (r#"{"$bytes":"0"}"#, "hexadecimal"),
            (r#"{"$bytes":"+f"}"#, "hexadecimal"),
            (r#"{"$float":"1"}"#, "Infinity"),
            (r#"{"a":"b"}"#, "no key"),
            (r#"{"a":1}"#, "no key"),
            ("{}", "no key"),
            ("[[[[[[[[[1]]]]]]]]]", "8 deep"),
            (&format!("\"{}\"", "x".repeat(5000)), "4096"),
            ("\"\\ud800\"", "hex escape"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
            assert!(error.len() < 700, "{error}");
        }
        assert!(read_many("1").is_err() && read_prefix("1").is_err());
        assert_eq!(write(b"\x15"), None);
        assert_eq!(write(b"\x14\x14"), None);
    }

    #[test]
    fn prefixes_are_ranges() {
        let is_in = |prefix: &str, key: &str| {
            let ((start, end), key) = (read_prefix(prefix).unwrap(), read(key).unwrap());
            start <= key && end.is_none_or(|end| key < end)
        };
        assert!(is_in("\"U\"", "\"UK\"") && !is_in("\"U\"", "\"V\"") && !is_in("\"\"", "1"));
        assert!(is_in("[\"UK\"]", "[\"UK\",36]") && is_in("[\"UK\"]", "[\"UK\"]"));
        assert!(!is_in("[\"UK\"]", "[\"UKR\",36]") && !is_in("[\"UK\"]", "[\"TR\",36]"));
        assert!(is_in("[]", "[1]") && !is_in("[]", "\"a\""));
    }

    proptest! {
        #[test]
        fn there_and_back(
            a: (i64, u64, String, Option<bool>), bytes: Vec<u8>, bits: u64,
        ) {
            let nested = (a.2.clone(), (a.0, f64::from_bits(bits)), bytes.clone());
            for key in [a.0.encoded(), a.1.encoded(), a.2.encoded(), a.encoded(), nested.encoded()] {
                let json = write(&key).unwrap();
                if key.len() <= crate::key::MAX_KEY_LENGTH {
                    prop_assert_eq!(read(&json), Ok(key), "{}", json);
                }
            }
        }

        #[test]
        fn numbers_are_the_numbers_of_json(integer: i64, float in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
            prop_assert_eq!(read(&serde_json::to_string(&integer).unwrap()), Ok(integer.encoded()));
            prop_assert_eq!(read(&serde_json::to_string(&float).unwrap()), Ok(float.encoded()));
        }

        #[test]
        fn any_text(text: String) {
            if let Ok(key) = read(&text) {
                prop_assert_eq!(crate::key::encoded_length(&key), Some(key.len()));
                prop_assert_eq!(read(&write(&key).unwrap()), Ok(key));
            }
        }
    }
}
