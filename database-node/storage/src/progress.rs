//! How far the state machine has come, and who waits for more.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pliantdb_core::{DatabaseName, Timestamp};
use tokio::sync::Notify;

/// The timestamp of the last command that was applied and that a crash cannot take back, and whether more can come.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    applied: Timestamp,
    /// Of the databases that somebody waits for, with how many that are.
    bells: HashMap<DatabaseName, (Arc<Bell>, usize)>,
}

/// Rung for everyone who waits for one database.
#[derive(Debug, Default)]
struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
    notify: Notify,
}

impl Bell {
    fn rings(&self) -> MutexGuard<'_, u64> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        *self.rings() += 1;
        self.rung.notify_all();
        self.notify.notify_waiters();
    }
}

impl Progress {
    pub(crate) fn at(applied: Timestamp) -> Self {
        Self {
            state: Mutex::new(State {
                applied,
                bells: HashMap::new(),
            }),
            is_closed: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last command that was applied.
    pub(crate) fn applied(&self) -> Timestamp {
        self.state().applied
    }

    /// Tells that everything up to `applied` is there, and which databases it has changed.
    pub(crate) fn advance<'n>(&self, applied: Timestamp, changed: impl Iterator<Item = &'n DatabaseName>) {
        let mut state = self.state();
        state.applied = applied;
        if state.bells.is_empty() {
            return;
        }
        let changed: BTreeSet<_> = changed.collect();
        changed
            .into_iter()
            .filter_map(|name| state.bells.get(name))
            .for_each(|(bell, _)| bell.ring());
    }

    /// Tells that no more will come.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.state().bells.values().for_each(|(bell, _)| bell.ring());
    }

    /// Whether no more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Hears from now on of what changes a database.
    pub(crate) fn watch(self: &Arc<Self>, name: &DatabaseName) -> Watch {
        let mut state = self.state();
        let (bell, watches) = state.bells.entry(name.clone()).or_default();
        *watches += 1;
        let bell = Arc::clone(bell);
        let heard = *bell.rings();
        drop(state);
        Watch {
            progress: Arc::clone(self),
            name: name.clone(),
            bell,
            heard,
        }
    }
}

/// Waits for changes of one database. Whoever looks at the database after it was made misses none.
pub(crate) struct Watch {
    progress: Arc<Progress>,
    name: DatabaseName,
    bell: Arc<Bell>,
    heard: u64,
}

impl Watch {
    /// Waits until the database has changed since this was made, or since it was last heard of. `false` when it was not
    /// in that time, or never will be.
    pub(crate) fn wait(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        let mut rings = self.bell.rings();
        while *rings == self.heard && !self.progress.is_closed() {
            let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            let waited = self.bell.rung.wait_timeout(rings, left);
            rings = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let has_changed = *rings != self.heard;
        self.heard = *rings;
        has_changed && !self.progress.is_closed()
    }

    /// [`Watch::wait`], without blocking the thread.
    pub(crate) async fn wait_async(&mut self, time: Duration) -> bool {
        let changed = async {
            loop {
                // Made before looking, so that nothing is missed in between.
                let rung = self.bell.notify.notified();
                let rings = *self.bell.rings();
                if rings != self.heard || self.progress.is_closed() {
                    return rings;
                }
                rung.await;
            }
        };
        let Ok(rings) = tokio::time::timeout(time, changed).await else {
            return false;
        };
        let has_changed = rings != self.heard;
        self.heard = rings;
        has_changed && !self.progress.is_closed()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        if let Entry::Occupied(mut bell) = state.bells.entry(self.name.clone()) {
            bell.get_mut().1 -= 1;
            if bell.get().1 == 0 {
                bell.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_concerned_is_woken() {
        let progress = Arc::new(Progress::at(Timestamp::ZERO));
        let (a, b): (DatabaseName, DatabaseName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut of_a = progress.watch(&a);
        let mut of_b = progress.watch(&b);
        let at = Timestamp::from_bits;
        progress.advance(at(1), [&a, &a].into_iter());
        assert!(of_a.wait(Duration::ZERO));
        assert!(!of_a.wait(Duration::ZERO), "once");
        assert!(!of_b.wait(Duration::ZERO));
        progress.advance(at(2), [&b].into_iter());
        assert!(!of_a.wait(Duration::from_millis(1)) && of_b.wait(Duration::ZERO));
        assert_eq!(progress.applied(), at(2));

        let waiting = std::thread::spawn(move || of_a.wait(Duration::from_secs(60)));
        progress.advance(at(3), [&b].into_iter());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        progress.advance(at(4), [&a].into_iter());
        assert!(waiting.join().unwrap());

        let mut another = progress.watch(&b);
        drop(of_b);
        progress.close();
        assert!(!another.wait(Duration::from_secs(60)), "nothing will come");
        drop(another);
        assert!(progress.state().bells.is_empty());
    }
}
