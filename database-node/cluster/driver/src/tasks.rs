//! The thread of the applier.

use std::sync::mpsc::Receiver;

use pliantdb_cluster::Applier;
use pliantdb_cluster::applier::{Done, Task};
use pliantdb_storage::StorageError;
use pliantdb_storage::store::OrderedStore;

use crate::failure::Failure;
use crate::inbox::{Inbox, Incoming};

/// Does what comes, in order, until the node's thread has ended. What waits then is not done: it is in the log.
pub(crate) fn run<L: OrderedStore, S: OrderedStore>(
    mut applier: Applier<S>,
    tasks: &Receiver<Task>,
    inbox: &Inbox<L>,
) {
    while let Ok(task) = tasks.recv() {
        let Some(done) = applier.run(task) else {
            continue;
        };
        if let Done::Failed {
            error: error @ StorageError::Commit(_),
            ..
        } = done
        {
            // What a store that cannot write has done only opening it anew can tell.
            return inbox.fail(Failure::State(error));
        }
        if inbox.put(Incoming::Done(done)).is_err() {
            return;
        }
    }
}
