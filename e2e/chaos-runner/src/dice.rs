//! Chance that is the same for the same seed.

use std::time::Duration;

/// Draws numbers from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Draws by that seed, and for that purpose: other draws for each.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut state = seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        load::next_random(&mut state);
        Self(state)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        load::next_random(&mut self.0)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from(self.any() % end).unwrap_or_default()
    }

    /// Whether a chance of so many in a hundred came about.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// A time from `from` to `to`, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.any() % (to - from + 1).max(1))
    }

    /// One of them, if there is any.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).copied()
    }
}
