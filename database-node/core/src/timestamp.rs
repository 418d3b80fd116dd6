//! Hybrid logical time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many bits count the commits within a millisecond.
const COUNTER_BITS: u32 = 16;
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
}

impl Clock {
    /// A clock whose next timestamp is greater than `last`.
    #[must_use]
    pub fn after(last: Timestamp) -> Self {
        Self { last }
    }

    /// The next timestamp, when the wall shows `wall_ms` milliseconds since the Unix epoch.
    ///
    /// It is the wall's millisecond with the counter at 0 when that is later than everything handed out
    /// before, else the last timestamp plus one: a full counter spills into the milliseconds, so more than
    /// 65,536 commits in one millisecond run ahead of the wall instead of failing.
    pub fn next(&mut self, wall_ms: u64) -> Timestamp {
        let wall = wall_ms.min(MAX_MILLIS) << COUNTER_BITS;
        self.last = Timestamp(wall.max(self.last.0.saturating_add(1)));
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
    fn spills_a_full_counter_into_the_milliseconds() {
        let mut clock = Clock::after(Timestamp::from_bits((7 << 16) + 0xffff));
        assert_eq!(clock.next(7).millis(), 8);
        assert_eq!(clock.next(u64::MAX).millis(), MAX_MILLIS);
    }

    proptest! {
        #[test]
        fn never_repeats_or_goes_back(
            start in 0..u64::MAX / 2,
            walls in prop::collection::vec(prop_oneof![0..1u64 << 40, Just(5u64)], 1..200),
        ) {
            let mut clock = Clock::after(Timestamp::from_bits(start));
            let mut last = Timestamp::from_bits(start);
            for wall in walls {
                let next = clock.next(wall);
                prop_assert!(next > last);
                prop_assert!(next.millis() >= wall);
                last = next;
            }
        }
    }
}
