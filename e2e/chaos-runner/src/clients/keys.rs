//! Which objects are worked on at the moment.
//!
//! The search for an order grows fast with the operations of one object, above all with those whose outcome is unknown. So
//! objects are given up after a while: most soon, a few late, so that there are also those that live through many faults.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dice::Dice;

/// So many operations in all until there are new objects.
const SOON: u64 = 1000;
/// For a few of them.
const LATE: u64 = 10_000;
/// As much as one whose outcome is unknown counts.
const UNKNOWN: u64 = 40;
/// Documents, and numbers, at once.
const DOCUMENTS: usize = 8;
const NUMBERS: usize = 3;

/// The objects.
#[derive(Debug, Default)]
pub struct Keys(AtomicU64);

impl Keys {
    /// An operation is over.
    pub fn count(&self, is_unknown: bool) {
        let by = if is_unknown { UNKNOWN } else { 1 };
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// A document to work on.
    pub fn document(&self, dice: &mut Dice) -> String {
        self.draw(dice, DOCUMENTS, 2)
    }

    /// A number to work on.
    pub fn number(&self, dice: &mut Dice) -> String {
        self.draw(dice, NUMBERS, 1)
    }

    fn draw(&self, dice: &mut Dice, soon: usize, late: usize) -> String {
        let count = self.0.load(Ordering::Relaxed);
        match dice.percent(10) {
            true => format!("late-{}-{}", count / LATE, dice.below(late)),
            false => format!("soon-{}-{}", count / SOON, dice.below(soon)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_given_up_after_a_while() {
        let (keys, mut dice) = (Keys::default(), Dice::new(1, 1));
        let mut drawn = std::collections::BTreeMap::<String, usize>::new();
        for _ in 0..20_000 {
            *drawn.entry(keys.document(&mut dice)).or_default() += 1;
            keys.count(false);
        }
        assert_eq!(drawn.len(), 20 * DOCUMENTS + 2 * 2);
        assert!(drawn.values().all(|count| *count < 700), "{drawn:?}");
        (0..SOON / UNKNOWN).for_each(|_| keys.count(true));
        assert!(!drawn.contains_key(&keys.document(&mut dice)));
    }
}
