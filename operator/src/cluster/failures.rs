//! Failures of each cluster, and how long to wait before the next try.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use pliant_crds::PliantCluster;

use super::error::Failure;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The failures of the clusters that did not get on the last time, by namespace and name.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<(String, String), Entry>>);

/// What a failure belongs to: another cluster of the name, or another spec, begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    namespace: String,
    name: String,
    uid: String,
    generation: i64,
}

impl Subject {
    /// The cluster with its present spec.
    pub fn of(cluster: &PliantCluster) -> Self {
        Self {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
            uid: cluster.uid().unwrap_or_default(),
            generation: cluster.metadata.generation.unwrap_or_default(),
        }
    }

    fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

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
    subject: Subject,
    failure: Failure,
    count: u32,
    until: Instant,
}

impl Failures {
    /// The failure whose pause is not over. A changed spec ends the pause: the change may be the cure.
    pub fn pending(&self, subject: &Subject, now: Instant) -> Option<Pending> {
        let failures = self.lock();
        let entry = failures
            .get(&subject.key())
            .filter(|entry| entry.subject == *subject)?;
        let again = entry
            .until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())?;
        Some(Pending {
            failure: entry.failure.clone(),
            count: entry.count,
            again,
        })
    }

    /// Notes a failure. The pause is twice the one before, up to five minutes, less up to a quarter by
    /// `chance` (from 0 to 1), so that many clusters do not come back at the same moment.
    pub fn note(&self, subject: Subject, failure: Failure, now: Instant, chance: f64) -> Pending {
        let mut failures = self.lock();
        let before = failures
            .get(&subject.key())
            .filter(|entry| entry.subject.uid == subject.uid);
        let count = before.map_or(0, |entry| entry.count).saturating_add(1);
        let again = pause(count).mul_f64(1.0 - chance / 4.0);
        let entry = Entry {
            subject,
            failure: failure.clone(),
            count,
            until: now + again,
        };
        failures.insert(entry.subject.key(), entry);
        Pending {
            failure,
            count,
            again,
        }
    }

    /// Notes a success, or that a cluster is gone: the next failure begins with the first pause.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_string(), name.to_string()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Entry>> {
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

    fn subject(uid: &str, generation: i64) -> Subject {
        Subject {
            namespace: "store".into(),
            name: "shop".into(),
            uid: uid.into(),
            generation,
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
        failures.note(subject("a", 1), failure(), now, 0.0);
        let second = failures.note(subject("a", 1), failure(), now, 0.0);
        assert_eq!((second.count, second.again), (2, Duration::from_secs(2)));
        let pause = |uid: &str, generation, seconds: f64| {
            let pending = failures.pending(&subject(uid, generation), now + Duration::from_secs_f64(seconds));
            pending.map(|pending| pending.again.as_secs_f64())
        };
        assert_eq!(pause("a", 1, 0.5), Some(1.5));
        assert_eq!(pause("a", 2, 0.5), None, "another spec");
        assert_eq!(pause("b", 1, 0.5), None, "another cluster of the name");
        assert_eq!(pause("a", 1, 2.0), None, "the pause is over");
    }

    #[test]
    fn a_success_and_another_cluster_begin_anew() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(subject("a", 1), failure(), now, 0.0);
        failures.forget("store", "shop");
        assert_eq!(
            failures.note(subject("a", 1), failure(), now, 1.0).again,
            Duration::from_secs_f64(0.75)
        );
        assert_eq!(
            failures.note(subject("a", 2), failure(), now, 0.0).count,
            2,
            "the same cluster"
        );
        assert_eq!(
            failures.note(subject("b", 1), failure(), now, 0.0).count,
            1,
            "another of the name"
        );
    }
}
