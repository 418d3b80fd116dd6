//! Work that is done once it has begun, whoever waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// What some work comes to. Dropped before it is done, the work goes on in a task of its own: nobody hears what it comes to,
/// and what it holds is given back when it is done.
pub(crate) struct GoesOn<F: Future<Output: Send> + Send + 'static> {
    /// `None` when it is done.
    work: Option<Pin<Box<F>>>,
}

impl<F: Future<Output: Send> + Send + 'static> GoesOn<F> {
    /// Nothing is begun before it is waited for.
    pub(crate) fn new(work: F) -> Self {
        Self {
            work: Some(Box::pin(work)),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for GoesOn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let result = work.as_mut().poll(context);
        if result.is_ready() {
            self.work = None;
        }
        result
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for GoesOn<F> {
    fn drop(&mut self) {
        // Without a runtime there is nobody to go on.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Notify, Semaphore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_longer_keeps_what_it_holds_until_it_is_done() {
        let (memory, committed) = (Arc::new(Semaphore::new(1)), Arc::new(Notify::new()));
        let held = Arc::clone(&memory).try_acquire_owned().unwrap();
        let commit = Arc::clone(&committed);
        let write = GoesOn::new(async move {
            commit.notified().await;
            drop(held);
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), write).await.is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(memory.available_permits(), 0, "it is not committed yet");
        committed.notify_one();
        let _ = memory.acquire().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_waited_for_is_done_once() {
        assert_eq!(GoesOn::new(async { 7 }).await, 7);
    }
}
