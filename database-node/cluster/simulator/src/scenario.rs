//! What a seed is about.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How the steady clocks of a cluster run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// Within what leases allow for, and otherwise now and then.
    Right,
    /// Some run wrong by more than that, by 3 to 35 %, from the beginning on.
    Wild,
    /// They begin to run as wrong while nodes run, and run right again after a while.
    Turning,
}

/// What a simulated cluster is, and what happens to it. Everything comes of the seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// How many machines there are.
    pub nodes: usize,
    /// How many databases, a group each.
    pub databases: usize,
    /// How many clients.
    pub clients: usize,
    /// How long faults strike.
    pub duration: Duration,
    /// About how many operations are begun meanwhile when all are answered at once.
    pub operations: u64,
    /// Whether the cluster begins in quorum mode.
    pub begins_as_quorum: bool,
    /// Whether a leader that is gone is replaced by itself.
    pub is_automatic: bool,
    /// Whether groups are forced by hand when they cannot go on.
    pub is_forced_by_hand: bool,
    /// Whether all clients rest together now and then, so that groups fall asleep.
    pub has_lulls: bool,
    /// How long between two faults, on average.
    pub fault_pause: Duration,
    /// By how much clocks that are right run wrong at most, in parts per million.
    pub drift_ppm: u32,
    /// Whether clocks keep to that.
    pub clocks: Clocks,
}

impl Scenario {
    /// That of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes = [2, 3, 3, 3, 4, 5, 5][random.random_range(0..7)];
        Self {
            seed,
            nodes,
            databases: random.random_range(1..=2),
            clients: random.random_range(3..=6),
            duration: Duration::from_secs(120),
            operations: 900,
            begins_as_quorum: nodes >= 3 && random.random_bool(0.5),
            is_automatic: nodes >= 3 && random.random_bool(0.4),
            is_forced_by_hand: random.random_bool(0.3),
            fault_pause: Duration::from_millis(random.random_range(1_800..3_800)),
            has_lulls: random.random_bool(0.7),
            drift_ppm: 9_000,
            clocks: match random.random_range(0..100) {
                0..15 => Clocks::Wild,
                15..35 => Clocks::Turning,
                _ => Clocks::Right,
            },
        }
    }
}
