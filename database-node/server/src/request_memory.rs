//! How much memory requests may take together.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What is no larger than this comes from a pool of its own, so that few large requests, which may be slow,
/// do not hold up the many small ones.
pub(crate) const SMALL: usize = 64 * 1024;

/// The unit in which memory is counted, in bytes.
const UNIT: usize = 1024;

/// A part of the memory, given back when this is dropped.
pub(crate) type Reserved = OwnedSemaphorePermit;

/// Memory for bodies and answers: an eighth of the process's limit for large ones and a sixteenth for
/// small ones. Who finds too little left waits in line.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    small: Pool,
    large: Pool,
}

#[derive(Debug)]
struct Pool {
    free: Arc<Semaphore>,
    units: usize,
}

impl RequestMemory {
    /// For a process that may use `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            small: Pool::new(limit / 16),
            large: Pool::new(limit / 8),
        }
    }

    /// Takes room for `copies` of `bytes` bytes. What is larger than all there is takes all there is.
    pub(crate) async fn reserve(&self, bytes: usize, copies: usize) -> Result<Reserved, AcquireError> {
        let pool = if bytes <= SMALL { &self.small } else { &self.large };
        let units = bytes.saturating_mul(copies).div_ceil(UNIT).min(pool.units);
        Arc::clone(&pool.free)
            .acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX))
            .await
    }
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }
}

/// An answer that gives its memory back when the last of it is sent. What was reserved beyond its size, while it was made,
/// is given back at once: a client that reads slowly must not hold the room of many.
pub(crate) fn held(bytes: Vec<u8>, mut reserved: Reserved) -> Bytes {
    let needed = bytes.capacity().div_ceil(UNIT);
    let reserved = match reserved.split(needed) {
        Some(of_answer) => of_answer,
        None => reserved,
    };
    Bytes::from_owner(Held {
        bytes,
        _reserved: reserved,
    })
}

struct Held {
    bytes: Vec<u8>,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_what_it_takes_and_no_more() {
        let memory = RequestMemory::new(32 << 20);
        let waits = |bytes| tokio::time::timeout(Duration::from_millis(10), memory.reserve(bytes, 1));
        let answer = held(vec![1; 1 << 20], memory.reserve(4 << 20, 1).await.unwrap());
        drop(waits(3 << 20).await.expect("3 of 4 MiB are free"));
        assert!(waits(4 << 20).await.is_err(), "one is not");
        drop(answer);
        drop(waits(4 << 20).await.expect("it was sent"));
    }

    #[tokio::test]
    async fn gives_out_no_more_than_there_is() {
        let memory = RequestMemory::new(32 << 20);
        let waits = |bytes| tokio::time::timeout(Duration::from_millis(10), memory.reserve(bytes, 1));
        let first = memory.reserve(3 << 20, 1).await.unwrap();
        assert!(waits(2 << 20).await.is_err(), "4 MiB are not enough for both");
        drop(waits(SMALL).await.expect("small ones go on"));
        let answer = held(vec![1; 10], first);
        assert_eq!(&answer[..], [1; 10]);
        drop(answer);
        drop(waits(2 << 20).await.expect("there is room again"));
        drop(waits(1 << 30).await.expect("more than all is all"));
    }
}
