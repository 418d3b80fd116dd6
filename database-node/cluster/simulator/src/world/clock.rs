//! A machine's clocks, which run as they like.

use pliantdb_cluster::{Instant, Now};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{MS, Time};

/// When the world begins, in milliseconds since the Unix epoch.
const BEGINNING_MS: i64 = 1_800_000_000_000;
/// The rate of a clock that is right.
pub(super) const MILLION: u64 = 1_000_000;

/// A machine's clocks.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Since when the steady clock runs how fast, in parts per million of true time; from the first to the last change.
    rates: Vec<(Time, u64)>,
    /// What it showed at the last change.
    shown: u64,
    /// By how much the wall is wrong, in milliseconds.
    pub wall_error_ms: i64,
}

impl Clock {
    /// Clocks that run wrong by up to `drift_ppm`.
    pub fn new(random: &mut StdRng, drift_ppm: u32) -> Self {
        let rate = rate_within(random, drift_ppm);
        Self {
            rates: vec![(0, rate)],
            shown: random.random_range(0..1 << 50),
            wall_error_ms: random.random_range(-200..200),
        }
    }

    /// Lets the steady clock run otherwise from now on.
    pub fn set_rate(&mut self, now: Time, rate: u64) {
        self.shown = self.now(now).steady.nanos();
        match self.rates.last_mut().filter(|(since, _)| *since == now) {
            Some(last) => last.1 = rate,
            None => self.rates.push((now, rate)),
        }
    }

    /// Since when it runs how fast, in parts per million of true time; from the first to the last change.
    #[must_use]
    pub fn rates(&self) -> &[(Time, u64)] {
        &self.rates
    }

    /// Since when it runs as it does, and how fast.
    #[must_use]
    pub fn rate(&self) -> (Time, u64) {
        self.rates.last().copied().unwrap_or((0, MILLION))
    }

    /// What they show.
    #[must_use]
    pub fn now(&self, now: Time) -> Now {
        let wall = BEGINNING_MS + (now / MS) as i64 + self.wall_error_ms;
        let (since, rate) = self.rate();
        let passed = u128::from(now - since) * u128::from(rate) / u128::from(MILLION);
        Now {
            steady: Instant::from_nanos(self.shown + passed as u64),
            wall_ms: wall.max(0) as u64,
        }
    }

    /// How long it truly is until the steady clock has counted so many nanoseconds.
    #[must_use]
    pub fn true_duration(&self, nanos: u64) -> Time {
        (u128::from(nanos) * u128::from(MILLION) / u128::from(self.rate().1)) as u64 + 1
    }
}

/// How a clock begins to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Not more wrong than it may be.
    Right,
    /// Slower than it may be.
    Slow,
    /// Faster than it may be.
    Fast,
}

/// How fast a clock runs that is wrong by up to `drift_ppm`.
pub fn rate_within(random: &mut StdRng, drift_ppm: u32) -> u64 {
    let drift = u64::from(drift_ppm);
    random.random_range(MILLION - drift..=MILLION + drift)
}

/// By how much one runs wrong that is out of bound: 3 to 35 %.
pub fn wild_drift(random: &mut StdRng) -> u64 {
    match random.random_bool(0.5) {
        true => random.random_range(30_000..200_000),
        false => random.random_range(200_000..350_000),
    }
}
