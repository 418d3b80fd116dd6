//! Time: what a node sees of it, and how long things may take.

use std::time::Duration;

/// The time as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Of a clock that never goes back, from any beginning. It may run slow or fast within [`Timing::drift`].
    pub steady: Instant,
    /// Of the wall: milliseconds since the Unix epoch. It may be wrong and may jump; only time stamps are made of it.
    pub wall_ms: u64,
}

/// A moment of a node's steady clock, in nanoseconds from any beginning.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// So many nanoseconds after the beginning.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How long before this `earlier` was; nothing if it was later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// So long after this.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// How long things may take. All nodes of a cluster have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The unit of the counts below.
    pub tick: Duration,
    /// A leader without other news sends a heartbeat every so many ticks.
    pub heartbeat_ticks: u32,
    /// Whoever has heard from a leader votes for no other for so many ticks; without news for as long, or up to twice as
    /// long, it stands for election.
    pub election_ticks: u32,
    /// How much slower or faster than real time a steady clock may run, in parts per million. Leases rest on it.
    pub drift_ppm: u32,
    /// How often nodes report to the leader of the meta group, and that leader looks after the groups, in ticks.
    pub report_ticks: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            heartbeat_ticks: 3,
            election_ticks: 10,
            drift_ppm: 10_000,
            report_ticks: 5,
        }
    }
}

impl Timing {
    /// By how much faster than another a steady clock can run while both keep to [`Timing::drift_ppm`], in parts per
    /// million of the other.
    #[must_use]
    pub fn relative_drift_ppm(&self) -> u64 {
        let drift = u64::from(self.drift_ppm.min(999_999));
        (2_000_000 * drift).div_ceil(1_000_000 - drift)
    }

    /// How long after a moment a leader that a majority confirmed as of that moment is still the only one, by its own
    /// clock: a replica that confirmed it votes for nobody else for [`Timing::election_ticks`], of which the first may
    /// have been almost over, and the replica's clock may run faster than the leader's, by as much as is not noticed.
    #[must_use]
    pub fn leader_lease(&self) -> Duration {
        self.shorten(self.tick * self.election_ticks.saturating_sub(1), 1)
    }

    /// How long after it asked a leader may act on a lease that runs out for whoever granted it after `delay`. Whoever
    /// counts in the end may be another than who granted it: their clocks are compared with the leader's over two others.
    #[must_use]
    pub fn granted_lease(&self, delay: Duration) -> Duration {
        self.shorten(delay, 3)
    }

    /// What a clock counts at most while another counts `duration` that is compared with it over so many steps.
    fn shorten(&self, duration: Duration, steps: u32) -> Duration {
        let faster = 1_000_000 + u128::from(self.relative_drift_ppm()) + u128::from(self.drift_ppm);
        let nanos = (0..steps).fold(duration.as_nanos(), |nanos, _| nanos * 1_000_000 / faster);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long a process that was just started votes for nobody: it may have confirmed a leader before.
    #[must_use]
    pub fn silence_after_start(&self) -> Duration {
        self.tick * self.election_ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_before_whoever_granted_it_may_vote_for_another() {
        let timing = Timing::default();
        // In real time: the leader's clock slow, the voter's fast and its first tick almost over.
        let drift = f64::from(timing.drift_ppm) / 1e6;
        let held = timing.leader_lease().as_secs_f64() / (1.0 - drift);
        let kept = (timing.tick * (timing.election_ticks - 1)).as_secs_f64() / (1.0 + drift);
        assert!(held <= kept && held > 0.95 * kept, "{held} {kept}");
    }
}
