//! The thread of the applier, and the one on which it has its state flushed: what is committed meanwhile is applied.

use std::sync::mpsc::Receiver;
use std::thread;

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
    thread::scope(|scope| {
        let mut flushing: Option<thread::ScopedJoinHandle<'_, ()>> = None;
        while let Ok(task) = tasks.recv() {
            if task.waits_for_disk()
                && let Some(flushing) = flushing.take()
                && flushing.join().is_err()
            {
                return inbox.fail(Failure::Panicked("flusher"));
            }
            if matches!(task, Task::Flush) {
                let flush = applier.flush_aside();
                flushing = Some(scope.spawn(move || {
                    let _guard = FlushGuard(inbox);
                    tell(inbox, flush());
                }));
                continue;
            }
            let Some(done) = applier.run(task) else {
                continue;
            };
            if !tell(inbox, done) {
                return;
            }
        }
    });
}

/// Sees to it that a flush that panics ends the node at once, and not when the next is due.
struct FlushGuard<'a, L: OrderedStore>(&'a Inbox<L>);

impl<L: OrderedStore> Drop for FlushGuard<'_, L> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Failure::Panicked("flusher"));
        }
    }
}

/// Tells the node what came of a task; gives whether there is one that goes on.
fn tell<L: OrderedStore>(inbox: &Inbox<L>, done: Done) -> bool {
    if let Done::Failed {
        error: error @ StorageError::Commit(_),
        ..
    } = done
    {
        // What a store that cannot write has done only opening it anew can tell.
        inbox.fail(Failure::State(error));
        return false;
    }
    inbox.put(Incoming::Done(done)).is_ok()
}

#[cfg(test)]
mod tests {
    use pliantdb_storage::store::MemoryStore;

    use super::*;
    use crate::failure::Stopped;

    #[test]
    fn a_flush_that_panics_ends_the_node() {
        let inbox = Inbox::<MemoryStore>::new(2, 100);
        let flush = || {
            let _guard = FlushGuard(&inbox);
            panic!("a flush that fails in a way that nobody has thought of");
        };
        let flushed = thread::scope(|scope| scope.spawn(flush).join());
        assert!(flushed.is_err());
        let failure = Failure::Panicked("flusher");
        assert_eq!(inbox.ended(), Some(Stopped::Failed(failure)));
    }
}
