//! Values from outside, cut to a length that an error message can carry.

use std::borrow::Cow;

/// How many characters of a value a message shows.
const SHOWN: usize = 80;

/// Returns `value` whole, or its first 80 characters and an ellipsis when it is longer.
///
/// For messages only: an error must name the value that was wrong, but not let a megabyte of it into a
/// log or an answer.
#[must_use]
pub fn shorten(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(SHOWN) {
        None => Cow::Borrowed(value),
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn keeps_short_values_and_cuts_long_ones_between_characters() {
        assert_eq!(shorten("é"), "é");
        assert_eq!(shorten(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(shorten(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }
}
