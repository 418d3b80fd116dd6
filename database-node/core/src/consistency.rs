//! How fresh what is read has to be, where a database has several replicas.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::GroupId;

/// How fresh what is read has to be. Of a database that has one copy only, everything is the freshest that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// As if there were one copy only: everything that anybody was told of before is seen, whichever node answers.
    #[default]
    Linearizable,
    /// What some replica has, not older than this: answered without asking another node, where the one that was asked has
    /// the data and is fresh enough.
    Within(Duration),
    /// At least what an answer told of that had this position: whoever wrote reads what it wrote, by any replica.
    AtLeast(Position),
}

/// How far a database had come when it gave an answer: what was written up to there is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The consensus group that keeps the database.
    pub group: GroupId,
    /// In which life of the group: it begins another when it is forced to go on without most of its replicas. What the
    /// numbers mean is the cluster's affair.
    pub incarnation: [u32; 4],
    /// The term of the entry, or of the leader that answered.
    pub term: u64,
    /// Up to which entry of the group's log.
    pub index: u64,
}

/// As text: the seven numbers with dots between them.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            incarnation,
            term,
            index,
        } = self;
        let [a, b, c, d] = incarnation;
        write!(f, "{group}.{a}.{b}.{c}.{d}.{term}.{index}")
    }
}

/// A text that is no [`Position`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position, which an answer has as seven numbers with dots between them")]
pub struct InvalidPosition(String);

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(crate::shorten(text).to_string());
        let numbers: Result<Vec<u64>, _> = text.split('.').take(8).map(str::parse).collect();
        let numbers = numbers.map_err(|_| invalid())?;
        let &[group, a, b, c, d, term, index] = numbers.as_slice() else {
            return Err(invalid());
        };
        let part = |part: u64| u32::try_from(part).map_err(|_| invalid());
        Ok(Self {
            group: GroupId::new(group),
            incarnation: [part(a)?, part(b)?, part(c)?, part(d)?],
            term,
            index,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn says_what_is_no_position() {
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5.6.7.8",
            "1.2.3.4.5.6.x",
            "1.4294967296.3.4.5.6.7",
            "1.2.3.4.5.6.-7",
        ] {
            let error = text.parse::<Position>().unwrap_err().to_string();
            assert!(error.contains("seven numbers"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn is_read_as_it_is_written(group: u64, incarnation: [u32; 4], term: u64, index: u64) {
            let position = Position { group: GroupId::new(group), incarnation, term, index };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn survives_any_text(text: String) {
            let _ = text.parse::<Position>();
        }
    }
}
