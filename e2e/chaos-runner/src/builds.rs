//! Which build of `pliant-node` a node is started as.

use std::path::PathBuf;

use crate::dice::Dice;

/// What the draws of builds are for, among those of a seed.
const PURPOSE: u64 = 2;

/// The builds.
#[derive(Debug)]
pub struct Builds {
    /// The one that is tested.
    pub program: PathBuf,
    other: Option<PathBuf>,
    dice: Option<Dice>,
}

impl Builds {
    /// One, and maybe another one; with `mixed` each start is one or the other, as drawn from the seed.
    #[must_use]
    pub fn new(program: PathBuf, other: Option<PathBuf>, mixed: bool, seed: u64) -> Self {
        Self {
            program,
            dice: (mixed && other.is_some()).then(|| Dice::new(seed, PURPOSE)),
            other,
        }
    }

    /// What a node begins as that is to be upgraded later, or is not.
    #[must_use]
    pub fn first(&self, is_upgraded: bool) -> PathBuf {
        let other = self.other.as_ref().filter(|_| is_upgraded);
        other.unwrap_or(&self.program).clone()
    }

    /// What the next start is, if that is drawn.
    pub fn draw(&mut self) -> Option<PathBuf> {
        let is_other = self.dice.as_mut()?.percent(50);
        Some(self.first(is_other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(other: Option<&str>, mixed: bool, seed: u64) -> Builds {
        Builds::new(PathBuf::from("this"), other.map(PathBuf::from), mixed, seed)
    }

    #[test]
    fn each_start_is_one_of_both_as_the_seed_says() {
        let drawn = |seed| {
            let mut builds = builds(Some("other"), true, seed);
            (0..40).filter_map(|_| builds.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let others = drawn(7)
            .iter()
            .filter(|program| program.ends_with("other"))
            .count();
        assert!((10..=30).contains(&others), "{others}");
    }

    #[test]
    fn nothing_is_drawn_of_one_or_when_nodes_are_upgraded() {
        assert_eq!(builds(None, true, 7).draw(), None);
        assert_eq!(builds(Some("other"), false, 7).draw(), None);
        assert_eq!(
            builds(Some("other"), false, 7).first(true),
            PathBuf::from("other")
        );
        assert_eq!(
            builds(Some("other"), false, 7).first(false),
            PathBuf::from("this")
        );
        assert_eq!(builds(None, false, 7).first(true), PathBuf::from("this"));
    }
}
