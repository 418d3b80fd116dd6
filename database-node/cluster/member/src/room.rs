//! The room on the disk of a member.

use std::sync::{Arc, Weak};
use std::time::Duration;

use pliantdb_cluster::node::Room;
use pliantdb_cluster_driver::Handle;
use pliantdb_storage::node::NodeDirectory;
use pliantdb_storage::store::{BatchNumber, OrderedStore, RocksStats};
use pliantdb_storage::{DiskSpace, StateStore, StorageError};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the node is told how much room there is. In between those who write look themselves.
const LOOKING: Duration = Duration::from_secs(1);

/// The room on the disk of a member's directory: the same rule as for an embedded storage
/// ([`pliantdb_storage::Options::min_free_space`]). Clones are of the same.
#[derive(Clone)]
pub struct DiskRoom(Arc<Watched>);

struct Watched {
    disk: DiskSpace,
    /// Whoever asks does not keep them open.
    stores: [Weak<StateStore>; 2],
}

impl DiskRoom {
    pub(crate) fn of(directory: &NodeDirectory, reserve: Option<u64>) -> Self {
        Self(Arc::new(Watched {
            disk: directory.disk_space(reserve),
            stores: [Arc::downgrade(directory.log()), Arc::downgrade(directory.state())],
        }))
    }

    /// Whether there is room for a write of so many bytes; with `frees`, for one that deletes, or of what can be made anew
    /// and reads depend on: that may use three quarters of what is kept free. It asks the system each time.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`], and [`StorageError::Io`] when the disk cannot be asked.
    pub fn check(&self, bytes: usize, frees: bool) -> Result<(), StorageError> {
        let stores = self.0.stores.iter().filter_map(Weak::upgrade);
        let unflushed = stores.map(|store| store.unflushed()).sum();
        self.0.disk.check_write(unflushed, bytes, frees)
    }

    /// Bytes free on the disk, and how many must stay free for writes to be taken.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the disk cannot be asked.
    pub fn measure(&self) -> Result<(u64, u64), StorageError> {
        self.0.disk.measure()
    }

    /// Sizes and counters of the member's stores, the logs' and the state's, together; `None` when it was stopped.
    #[must_use]
    pub fn stats(&self) -> Option<RocksStats> {
        let [log, state] = self.0.stores.each_ref().map(Weak::upgrade);
        Some(pliantdb_storage::node::stats([&*log?, &*state?]))
    }

    /// How much there is, with what keeps it from being enough.
    fn look(&self) -> (Room, Option<StorageError>) {
        match (self.check(0, false), self.check(0, true)) {
            (Ok(()), _) => (Room::Enough, None),
            (Err(error), Ok(())) => (Room::Little, Some(error)),
            (Err(error), Err(_)) => (Room::None, Some(error)),
        }
    }

    /// Lets the stores give room back, if anything was written since they last did.
    fn make(&self, made: [BatchNumber; 2]) -> [BatchNumber; 2] {
        let stores = self.0.stores.each_ref().map(Weak::upgrade);
        let written = stores
            .each_ref()
            .map(|store| store.as_ref().map_or(0, |store| store.written()));
        for ((store, written), made) in stores.iter().flatten().zip(written).zip(made) {
            if written != made
                && let Err(error) = store.make_room()
            {
                tracing::debug!(%error, "no room could be made");
            }
        }
        written
    }
}

/// Tells the node how much room there is, until it stops.
pub(crate) async fn watch_room(handle: Handle<StateStore>, room: DiskRoom) {
    let (mut before, mut made) = (Room::Enough, [0; 2]);
    loop {
        let looking = room.clone();
        let looked = spawn_blocking(move || {
            let (room, reason) = looking.look();
            let made = match room {
                Room::Enough => made,
                Room::Little | Room::None => looking.make(made),
            };
            (room, reason, made)
        });
        let Ok((now, reason, made_now)) = looked.await else {
            return;
        };
        made = made_now;
        match (before, &reason) {
            (Room::Enough, Some(error)) => tracing::error!(%error, "writes are refused"),
            (Room::Little | Room::None, None) => tracing::info!("writes are taken again"),
            _ => {}
        }
        // Also when it is as before: the node gives room back as what it has written becomes safe.
        if (now != before || now != Room::Enough) && handle.set_room(now).is_err() {
            return;
        }
        before = now;
        sleep(LOOKING).await;
    }
}
