//! The time that commits are stamped with, and that everything is compared with that expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pliantdb_core::Timestamp;

/// The wall clock, except that it never goes back: not behind the last commit, and not behind what it has shown.
///
/// A wall clock that was once ahead and was set right leaves it ahead, but it goes on as fast as time does. So what is to
/// expire in a minute expires in a minute, whatever the wall showed when it was written.
#[derive(Debug)]
pub(crate) struct LogClock {
    start: Instant,
    /// What it shows minus the time since `start`, in milliseconds.
    at_start: AtomicU64,
    wall_ms: fn() -> u64,
}

impl LogClock {
    /// One that shows at least the time of the last commit.
    pub(crate) fn after(last: Timestamp) -> Self {
        Self::by(wall_ms, last)
    }

    fn by(wall_ms: fn() -> u64, last: Timestamp) -> Self {
        Self {
            start: Instant::now(),
            at_start: AtomicU64::new(last.millis()),
            wall_ms,
        }
    }

    /// Goes on behind a commit that was stamped by another clock.
    pub(crate) fn follow(&self, commit: Timestamp) {
        let at_start = commit.millis().saturating_sub(self.elapsed_ms());
        self.at_start.fetch_max(at_start, Ordering::Relaxed);
    }

    /// The milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.elapsed_ms();
        let at_start = (self.wall_ms)().saturating_sub(elapsed);
        let before = self.at_start.fetch_max(at_start, Ordering::Relaxed);
        before.max(at_start).saturating_add(elapsed)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The milliseconds since the Unix epoch, by the wall.
fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn goes_on_whatever_the_wall_does() {
        static WALL: AtomicU64 = AtomicU64::new(1_000_000);
        let clock = LogClock::by(|| WALL.load(Ordering::Relaxed), Timestamp::ZERO);
        let first = clock.now_ms();
        assert!((1_000_000..1_001_000).contains(&first), "{first}");
        for wall in [9_000_000, 1_000_000, 0] {
            WALL.store(wall, Ordering::Relaxed);
            let now = clock.now_ms();
            assert!((9_000_000..9_005_000).contains(&now), "{now}");
            std::thread::sleep(Duration::from_millis(20));
            assert!(clock.now_ms() >= now + 20, "it does not stand still");
        }
        WALL.store(9_900_000, Ordering::Relaxed);
        assert!(clock.now_ms() >= 9_900_000, "it follows a wall that is ahead");
        for commit in [9_950_000, 1] {
            clock.follow(Timestamp::at_millis(commit));
            assert!(clock.now_ms() >= 9_950_000, "it follows what others have stamped");
        }
        let later = LogClock::by(|| 5, Timestamp::at_millis(7_000));
        assert!(later.now_ms() >= 7_000, "it begins behind the last commit");
    }
}
