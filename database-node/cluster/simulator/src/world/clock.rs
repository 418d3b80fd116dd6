//! A machine's clocks, which run as they like.

use pliantdb_cluster::{Instant, Now};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{MS, Time};

/// When the world begins, in milliseconds since the Unix epoch.
const BEGINNING_MS: i64 = 1_800_000_000_000;

/// A machine's clocks.
#[derive(Debug, Clone)]
pub struct Clock {
    /// How fast the steady clock runs, in parts per million of true time.
    rate: u64,
    /// What it shows at the beginning of the world.
    origin: u64,
    /// By how much the wall is wrong, in milliseconds.
    pub wall_error_ms: i64,
}

impl Clock {
    /// Lets the steady clock run wrong by 3 to 35 %.
    pub fn run_wild(&mut self, random: &mut StdRng) {
        let drift = match random.random_bool(0.5) {
            true => random.random_range(30_000..200_000),
            false => random.random_range(200_000..350_000),
        };
        self.rate = match random.random_bool(0.5) {
            true => 1_000_000 + drift,
            false => 1_000_000 - drift,
        };
    }

    /// Clocks that run wrong by up to `drift_ppm`.
    pub fn new(random: &mut StdRng, drift_ppm: u32) -> Self {
        let drift = u64::from(drift_ppm);
        Self {
            rate: random.random_range(1_000_000 - drift..=1_000_000 + drift),
            origin: random.random_range(0..1 << 50),
            wall_error_ms: random.random_range(-200..200),
        }
    }

    /// What they show.
    #[must_use]
    pub fn now(&self, now: Time) -> Now {
        let wall = BEGINNING_MS + (now / MS) as i64 + self.wall_error_ms;
        Now {
            steady: Instant::from_nanos(
                self.origin + (u128::from(now) * u128::from(self.rate) / 1_000_000) as u64,
            ),
            wall_ms: wall.max(0) as u64,
        }
    }

    /// How long it truly is until the steady clock has counted so many nanoseconds.
    #[must_use]
    pub fn true_duration(&self, nanos: u64) -> Time {
        (u128::from(nanos) * 1_000_000 / u128::from(self.rate)) as u64 + 1
    }
}
