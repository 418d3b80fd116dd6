//! Closed loops: each client starts its next operation when the one before is done.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failure;

/// How long clients run before it counts, as a part of the time that does.
const WARM_UP: u32 = 5;

/// After so many operations a task lets others have its thread.
const YIELD: u64 = 16;

/// What clients measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Operations that began and ended in the time that counts.
    pub operations: u64,
    /// All operations, warming up included.
    pub all_operations: u64,
    /// Operations a second.
    pub per_second: f64,
    /// Half of them were done in so many microseconds.
    pub p50: f64,
    /// 99 % of them.
    pub p99: f64,
    /// 99.9 % of them.
    pub p999: f64,
}

/// The time in which clients run.
#[derive(Debug, Clone, Copy)]
struct Window {
    counts_from: Instant,
    end: Instant,
}

impl Window {
    fn new(time: Duration) -> Self {
        let counts_from = Instant::now() + time / WARM_UP;
        Self {
            counts_from,
            end: counts_from + time,
        }
    }
}

/// What one client measured.
#[derive(Default)]
struct Latencies {
    nanoseconds: Vec<u32>,
    all: u64,
}

impl Latencies {
    fn record(&mut self, window: Window, start: Instant, end: Instant) {
        self.all += 1;
        if start >= window.counts_from && end <= window.end {
            let nanoseconds = end.duration_since(start).as_nanos();
            self.nanoseconds
                .push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
        }
    }
}

/// Runs clients on threads of their own. `client` makes the operation of the client of that number.
///
/// # Errors
/// The first failure of an operation.
pub fn threads<C, O>(clients: usize, time: Duration, client: C) -> Result<Run, Failure>
where
    C: Fn(usize) -> O,
    O: FnMut() -> Result<(), Failure> + Send,
{
    let window = Window::new(time);
    let results = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                let mut operation = client(number);
                scope.spawn(move || {
                    let mut latencies = Latencies::default();
                    let mut start = Instant::now();
                    while start < window.end {
                        operation()?;
                        let end = Instant::now();
                        latencies.record(window, start, end);
                        start = end;
                    }
                    Ok(latencies)
                })
            })
            .collect();
        let join = |client: thread::ScopedJoinHandle<'_, Result<_, Failure>>| {
            client.join().map_err(|_| Failure::from("a client panicked"))?
        };
        clients.into_iter().map(join).collect::<Result<Vec<_>, Failure>>()
    })?;
    sum(results, time)
}

/// Runs clients as tasks of the runtime. `client` makes the operation of the client of that number.
///
/// # Errors
/// The first failure of an operation.
pub async fn tasks<C, O, F>(clients: usize, time: Duration, client: C) -> Result<Run, Failure>
where
    C: Fn(usize) -> O,
    O: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let window = Window::new(time);
    let clients: Vec<_> = (0..clients)
        .map(|number| {
            let mut operation = client(number);
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    // Or a task whose operations never wait would keep its thread from all others.
                    if latencies.all.is_multiple_of(YIELD) {
                        tokio::task::yield_now().await;
                    }
                    let start = Instant::now();
                    if start >= window.end {
                        return Ok::<_, Failure>(latencies);
                    }
                    operation().await?;
                    latencies.record(window, start, Instant::now());
                }
            })
        })
        .collect();
    let mut results = Vec::with_capacity(clients.len());
    for client in clients {
        results.push(client.await??);
    }
    sum(results, time)
}

fn sum(clients: Vec<Latencies>, time: Duration) -> Result<Run, Failure> {
    let all_operations = clients.iter().map(|client| client.all).sum();
    let mut nanoseconds: Vec<u32> = clients
        .into_iter()
        .flat_map(|client| client.nanoseconds)
        .collect();
    if nanoseconds.is_empty() {
        return Err(format!("no operation was done within {time:?}").into());
    }
    nanoseconds.sort_unstable();
    let quantile = |part: f64| {
        let at = (nanoseconds.len().saturating_sub(1)) as f64 * part;
        nanoseconds
            .get(at as usize)
            .map_or(f64::NAN, |value| f64::from(*value) / 1000.0)
    };
    Ok(Run {
        operations: nanoseconds.len() as u64,
        all_operations,
        per_second: nanoseconds.len() as f64 / time.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
    })
}
