//! How far the state machine has come, for those who wait for more.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pliantdb_core::Timestamp;
use tokio::sync::watch;

/// The timestamp of the last command that was applied and that a crash cannot take back, and whether more can come.
pub(crate) struct Progress {
    state: Mutex<(Timestamp, bool)>,
    changed: Condvar,
    watchers: watch::Sender<(Timestamp, bool)>,
}

impl Progress {
    pub(crate) fn at(applied: Timestamp) -> Self {
        Self {
            state: Mutex::new((applied, false)),
            changed: Condvar::new(),
            watchers: watch::Sender::new((applied, false)),
        }
    }

    /// The last command that was applied.
    pub(crate) fn applied(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells that everything up to `applied` is there.
    pub(crate) fn advance(&self, applied: Timestamp) {
        self.change(|state| state.0 = applied);
    }

    /// Tells that no more will come.
    pub(crate) fn close(&self) {
        self.change(|state| state.1 = true);
    }

    fn change(&self, change: impl FnOnce(&mut (Timestamp, bool))) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        self.changed.notify_all();
        if self.watchers.receiver_count() > 0 {
            self.watchers.send_replace(*state);
        }
    }

    /// Waits until something after `after` was applied. `false` when it was not in that time, or never will be.
    pub(crate) fn wait(&self, after: Timestamp, time: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 <= after && !state.1 {
            let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.0 > after
    }

    /// [`Progress::wait`], without blocking the thread.
    pub(crate) async fn wait_async(&self, after: Timestamp, time: Duration) -> bool {
        let mut watcher = self.watchers.subscribe();
        // What came before the subscription was not sent to it.
        if self.applied() > after {
            return true;
        }
        let came = watcher.wait_for(|(applied, is_closed)| *applied > after || *is_closed);
        let _ = tokio::time::timeout(time, came).await;
        self.applied() > after
    }

    /// Whether no more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
