//! The clocks of this machine, as the core wants them.

use std::time::{Duration, Instant, SystemTime};

use pliantdb_cluster::Now;

/// A steady clock and that of the wall.
///
/// The steady one is the system's monotonic clock. On Linux it stands still while the machine is suspended: a machine that
/// sleeps while it leads can answer a read by a lease that is over when it wakes. Servers are not to be suspended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    beginning: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            beginning: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Now {
        let steady = nanos(self.beginning.elapsed());
        // Before 1970 time stamps are made of those before them.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            steady: pliantdb_cluster::Instant::from_nanos(steady),
            wall_ms: u64::try_from(wall.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
