//! Failures of each cluster, and how long to wait before the next try.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::Failure;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The failures of the clusters that did not get on the last time. Keys are the clusters' UIDs.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, Entry>>);

/// A failure whose pause is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What failed.
    pub failure: Failure,
    /// How often it has failed in a row.
    pub count: u32,
    /// When to try again.
    pub again: Duration,
}

struct Entry {
    failure: Failure,
    count: u32,
    generation: i64,
    until: Instant,
}

impl Failures {
    /// The failure whose pause is not over. A changed spec ends the pause: the change may be the cure.
    pub fn pending(&self, uid: &str, generation: i64, now: Instant) -> Option<Pending> {
        let failures = self.lock();
        let entry = failures.get(uid)?;
        let again = entry
            .until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())?;
        (entry.generation == generation).then(|| Pending {
            failure: entry.failure.clone(),
            count: entry.count,
            again,
        })
    }

    /// Notes a failure. The pause is twice the one before, up to five minutes, less up to a quarter by
    /// `chance` (from 0 to 1), so that many clusters do not come back at the same moment.
    pub fn note(&self, uid: &str, generation: i64, failure: Failure, now: Instant, chance: f64) -> Pending {
        let mut failures = self.lock();
        let count = failures.get(uid).map_or(0, |entry| entry.count).saturating_add(1);
        let again = pause(count).mul_f64(1.0 - chance / 4.0);
        failures.insert(
            uid.into(),
            Entry {
                failure: failure.clone(),
                count,
                generation,
                until: now + again,
            },
        );
        Pending {
            failure,
            count,
            again,
        }
    }

    /// Notes a success, or that a cluster is gone: the next failure begins with the first pause.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // The map is whole between any two statements, also where a thread ended in a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::error::FailureKind;

    fn failure() -> Failure {
        Failure {
            kind: FailureKind::Passing,
            message: "no answer".into(),
        }
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn nothing_is_tried_during_the_pause_unless_the_spec_changes() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note("a", 1, failure(), now, 0.0);
        let second = failures.note("a", 1, failure(), now, 0.0);
        assert_eq!((second.count, second.again), (2, Duration::from_secs(2)));
        let after = |seconds: f64| now + Duration::from_secs_f64(seconds);
        assert_eq!(
            failures.pending("a", 1, after(0.5)).expect("a pause").again,
            Duration::from_secs_f64(1.5)
        );
        assert_eq!(failures.pending("a", 2, after(0.5)), None, "another spec");
        assert_eq!(failures.pending("b", 1, after(0.5)), None, "another cluster");
        assert_eq!(failures.pending("a", 1, after(2.0)), None, "the pause is over");
        failures.forget("a");
        assert_eq!(
            failures.note("a", 1, failure(), now, 1.0).again,
            Duration::from_secs_f64(0.75)
        );
    }
}
