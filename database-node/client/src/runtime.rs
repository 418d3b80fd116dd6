//! Tasks and time, in programs and in browsers.

use std::time::Duration;

/// Lets a task run by itself.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Lets a task run by itself.
#[cfg(target_arch = "wasm32")]
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(task);
}

/// Waits.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn sleep(duration: Duration) {
    let (done, waited) = tokio::sync::oneshot::channel();
    // The timer belongs to the one thread of the browser, and must not be in a future that others may take over.
    spawn(async move {
        gloo_timers::future::sleep(duration).await;
        let _ = done.send(());
    });
    let _ = waited.await;
}

/// What a task comes to, if it does in time.
pub(crate) async fn within<T>(duration: Duration, task: impl Future<Output = T> + Send) -> Option<T> {
    let (task, time) = (std::pin::pin!(task), std::pin::pin!(sleep(duration)));
    match futures::future::select(task, time).await {
        futures::future::Either::Left((done, _)) => Some(done),
        futures::future::Either::Right(_) => None,
    }
}
