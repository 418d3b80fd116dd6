//! Mistakes of the state machine, planted where its entries go in.

use std::cell::Cell;

use pliantdb_core::{Operation, Timestamp};
use pliantdb_storage::group::LogEntry;

use crate::mistakes::{Mistake, has};

thread_local! {
    static WALL: Cell<u64> = const { Cell::new(0) };
}

/// The entries as a mistaken state machine would take them.
pub(crate) fn mistaken(entries: &[LogEntry], skew_ms: u64) -> Vec<LogEntry> {
    let mut entries = entries.to_vec();
    for command in entries.iter_mut().filter_map(|entry| entry.command.as_mut()) {
        if has(Mistake::ApplyWithWallClock) {
            let bits = command.timestamp.bits() + (skew_ms << 16);
            command.timestamp = Timestamp::from_bits(bits);
        }
        if has(Mistake::RetryAppliedTwice)
            && let Operation::Once { database, write, .. } = &command.operation
        {
            command.operation = Operation::write(database.clone(), write.clone(), None);
        }
    }
    entries
}
