//! Topics of messages, and patterns of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::shorten;

/// The longest topic, in bytes.
pub const MAX_TOPIC_LENGTH: usize = 255;

/// A text that is not a topic or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// Not a topic.
    #[error(
        "{0:?} is not a topic: it must be words with dots between them, such as orders.created.eu, of 1 to \
         {MAX_TOPIC_LENGTH} bytes in all, without spaces, control characters or '*'"
    )]
    Topic(String),
    /// Not a pattern.
    #[error(
        "{0:?} is not a pattern of topics: it must be words with dots between them, of 1 to {MAX_TOPIC_LENGTH} bytes in \
         all, where '*' stands for any one word, and '**' at the end for one or more"
    )]
    Pattern(String),
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && !word
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '*')
}

fn has_length(text: &str) -> bool {
    (1..=MAX_TOPIC_LENGTH).contains(&text.len())
}

/// What a message is about: words with dots between them, such as `orders.created.eu`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Topic(String);

impl Topic {
    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Topic {
    type Error = InvalidTopic;

    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        match has_length(&text) && text.split('.').all(is_word) {
            true => Ok(Self(text)),
            false => Err(InvalidTopic::Topic(shorten(&text).into_owned())),
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        text.to_owned().try_into()
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Which topics to hear of: a topic in which `*` stands for any one word, and `**` at the end for one or more.
///
/// ```
/// use pliantdb_core::{Topic, TopicPattern};
///
/// let topic: Topic = "orders.created.eu".parse().unwrap();
/// assert!("orders.*.eu".parse::<TopicPattern>().unwrap().matches(&topic));
/// assert!("orders.**".parse::<TopicPattern>().unwrap().matches(&topic));
/// assert!(!"orders.*".parse::<TopicPattern>().unwrap().matches(&topic));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TopicPattern(String);

impl TopicPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic is one of them.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut words = topic.0.split('.');
        for part in self.0.split('.') {
            match (part, words.next()) {
                ("**", rest) => return rest.is_some(),
                ("*", Some(_)) => {}
                (part, word) if word == Some(part) => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// Whether every topic of another pattern is one of this: a topic is a pattern too, of itself only.
    ///
    /// ```
    /// use pliantdb_core::TopicPattern;
    ///
    /// let orders: TopicPattern = "orders.**".parse().unwrap();
    /// assert!(orders.covers("orders.*.eu") && orders.covers("orders.created"));
    /// assert!(!orders.covers("**") && !orders.covers("orders"));
    /// ```
    #[must_use]
    pub fn covers(&self, pattern: &str) -> bool {
        let mut words = pattern.split('.');
        for part in self.0.split('.') {
            match (part, words.next()) {
                ("**", rest) => return rest.is_some(),
                ("*", Some(word)) if word != "**" => {}
                (part, word) if word == Some(part) => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = InvalidTopic;

    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        let last = text.split('.').count();
        let is_part =
            |(at, part): (usize, &str)| part == "*" || is_word(part) || (part == "**" && at + 1 == last);
        match has_length(&text) && text.split('.').enumerate().all(is_part) {
            true => Ok(Self(text)),
            false => Err(InvalidTopic::Pattern(shorten(&text).into_owned())),
        }
    }
}

impl FromStr for TopicPattern {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        text.to_owned().try_into()
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Topic, TopicPattern};

    #[test]
    fn patterns_match_word_by_word() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.**", "a.b.c", true),
            ("a.**", "a", false),
            ("**", "a.b.c", true),
            ("*", "a", true),
        ];
        for (pattern, topic, is_match) in cases {
            let pattern: TopicPattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(&topic.parse().unwrap()),
                is_match,
                "{pattern:?} {topic}"
            );
        }
    }

    #[test]
    fn refuses_the_rest() {
        for topic in ["", ".", "a.", "a..b", "a b", "a.*", "x".repeat(256).as_str()] {
            assert!(topic.parse::<Topic>().is_err(), "{topic}");
        }
        for pattern in ["", "**.a", "a*", "a..b", "***"] {
            assert!(pattern.parse::<TopicPattern>().is_err(), "{pattern}");
        }
    }
}
