//! Where the operations of databases go.

use std::sync::mpsc::sync_channel;

use pliantdb_core::{Message, Operation, Outcome};

use crate::error::StorageError;
use crate::store::Batch;

/// Called once with what an operation came to, by whoever carries it out: it must not block.
///
/// [`StorageError::Rejected`] says that it was carried out and changed nothing; [`StorageError::Busy`] that it was not, and
/// can be tried again, as when nobody leads the group; [`StorageError::Commit`] that nobody knows.
pub type Done = Box<dyn FnOnce(Result<Outcome, StorageError>) + Send>;

/// Takes operations, has them carried out in an order that all replicas share, and tells what each came to.
pub trait Proposer: Send + Sync {
    /// Hands an operation on without waiting; gives it back when there is no room for more at the moment.
    ///
    /// # Errors
    /// [`StorageError::Closed`] when none is taken any more; `done` is dropped then.
    fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError>;

    /// Hands an operation on, waiting for room.
    ///
    /// # Errors
    /// [`StorageError::Closed`] when none is taken any more; `done` is dropped then.
    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError>;

    /// Has an operation carried out, and waits for what it comes to.
    ///
    /// # Errors
    /// What it came to, or [`StorageError::Closed`].
    fn execute(&self, operation: Operation) -> Result<Outcome, StorageError> {
        let (done, outcome) = sync_channel(1);
        let done = Box::new(move |result| {
            // Fails only if the caller is gone.
            let _ = done.send(result);
        });
        self.submit(operation, done)?;
        outcome.recv().map_err(|_| StorageError::Closed)?
    }

    /// Whether this node may write so many bytes for itself: what can be made anew is not to take the room of what must be
    /// kept. Views are then made in memory, as far as they fit.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`].
    fn check_room(&self, _bytes: usize) -> Result<(), StorageError> {
        Ok(())
    }

    /// Hands a message on to the subscribers that other nodes have, on a thread that may wait, and gives how many they are.
    /// There are none where all subscribers are in this process.
    fn publish_elsewhere(&self, _message: &Message) -> u64 {
        0
    }
}

/// Writes what a node makes for itself and can make anew.
pub(crate) trait LocalWriter: Send + Sync {
    /// Writes a batch, and waits until it can be read.
    fn write_local(&self, batch: Batch) -> Result<(), StorageError>;
}
