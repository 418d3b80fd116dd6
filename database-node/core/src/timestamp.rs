//! Hybrid logical time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many bits count the commits within a millisecond.
const COUNTER_BITS: u32 = 16;
/// How many bits of a timestamp tell the life that it is of, where there are lives ([`Clock::of_life`]).
const LIFE_BITS: u32 = 4;
/// The last millisecond that 48 bits hold (in the year 10889).
const MAX_MILLIS: u64 = (1 << (64 - COUNTER_BITS)) - 1;

/// A hybrid timestamp: 48 bits of Unix milliseconds, then a 16-bit counter within the millisecond.
///
/// Greater means later. After Kulkarni et al., "Logical Physical Clocks" (2014): close to the wall clock,
/// and monotonic when that stands still or runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before every commit.
    pub const ZERO: Self = Self(0);

    /// The timestamp with these 64 bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first timestamp of a millisecond since the Unix epoch.
    #[must_use]
    pub const fn at_millis(millis: u64) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        Self(millis << COUNTER_BITS)
    }

    /// All 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms+{}", self.millis(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// Hands out timestamps, each greater than the one before. It reads no clock: the caller does.
///
/// ```
/// use pliantdb_core::Clock;
///
/// let mut clock = Clock::default();
/// let (first, second) = (clock.next(1_000), clock.next(1_000));
/// assert!(first < second && second < clock.next(1_001));
/// assert!(clock.next(900) > second, "also when the wall runs backwards");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Timestamp,
    /// What the last bits of its timestamps are, if they are to be that.
    life: Option<u64>,
}

impl Clock {
    /// A clock whose next timestamp is greater than `last`.
    #[must_use]
    pub fn after(last: Timestamp) -> Self {
        Self { last, life: None }
    }

    /// A clock whose next timestamp is greater than `last`, and which hands out none that a clock of any of the 15 lives
    /// before or after hands out.
    ///
    /// What goes on without the last that was committed in the life before does not know which timestamps were given then.
    /// Walls do not keep them apart, for they may be wrong.
    #[must_use]
    pub fn of_life(last: Timestamp, life: u32) -> Self {
        Self {
            last,
            life: Some(u64::from(life) & ((1 << LIFE_BITS) - 1)),
        }
    }

    /// The next timestamp, when the wall shows `wall_ms` milliseconds since the Unix epoch.
    ///
    /// It is the wall's millisecond with the counter at 0 when that is later than everything handed out
    /// before, else the last timestamp plus one: a full counter spills into the milliseconds, so more than
    /// 65,536 commits in one millisecond run ahead of the wall instead of failing. Of a life it is the next that ends in
    /// what those of that life do, so there are 4,096 in a millisecond.
    pub fn next(&mut self, wall_ms: u64) -> Timestamp {
        let wall = wall_ms.min(MAX_MILLIS) << COUNTER_BITS;
        let least = wall.max(self.last.0.saturating_add(1));
        let missing = self
            .life
            .map_or(0, |life| life.wrapping_sub(least) & ((1 << LIFE_BITS) - 1));
        self.last = Timestamp(least.saturating_add(missing));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Clock, MAX_MILLIS, Timestamp};

    #[test]
    fn follows_the_wall_and_counts_within_a_millisecond() {
        let mut clock = Clock::default();
        assert_eq!(clock.next(1000), Timestamp::from_bits(1000 << 16));
        assert_eq!(clock.next(1000), Timestamp::from_bits((1000 << 16) + 1));
        assert_eq!(
            clock.next(900),
            Timestamp::from_bits((1000 << 16) + 2),
            "the wall ran backwards"
        );
        assert_eq!(clock.next(1001), Timestamp::from_bits(1001 << 16));
    }

    #[test]
    fn lives_that_follow_each_other_have_no_timestamp_in_common() {
        let fork = Timestamp::from_bits((1000 << 16) + 5);
        let (mut before, mut after) = (Clock::of_life(fork, 1), Clock::of_life(fork, 2));
        // Walls are behind what was handed out before, and right.
        for walls in [[900, 990], [5000, 5000]] {
            let lost: Vec<_> = (0..100).map(|_| before.next(walls[0])).collect();
            let kept: Vec<_> = (0..100).map(|_| after.next(walls[1])).collect();
            assert!(kept.iter().all(|timestamp| !lost.contains(timestamp)), "{kept:?}");
            assert!(kept[0] > fork && kept[0].bits() < fork.max(Timestamp::at_millis(walls[1])).bits() + 16);
        }
    }

    #[test]
    fn spills_a_full_counter_into_the_milliseconds() {
        let mut clock = Clock::after(Timestamp::from_bits((7 << 16) + 0xffff));
        assert_eq!(clock.next(7).millis(), 8);
        assert_eq!(clock.next(u64::MAX).millis(), MAX_MILLIS);
    }

    proptest! {
        #[test]
        fn never_repeats_or_goes_back(
            start in 0..u64::MAX / 2,
            life in prop::option::of(any::<u32>()),
            walls in prop::collection::vec(prop_oneof![0..1u64 << 40, Just(5u64)], 1..200),
        ) {
            let start_at = Timestamp::from_bits(start);
            let mut clock = life.map_or_else(|| Clock::after(start_at), |life| Clock::of_life(start_at, life));
            let mut last = Timestamp::from_bits(start);
            for wall in walls {
                let next = clock.next(wall);
                prop_assert!(next > last);
                prop_assert!(next.millis() >= wall);
                prop_assert!(life.is_none_or(|life| next.bits() % 16 == u64::from(life) % 16));
                last = next;
            }
        }
    }
}
