//! What the node takes while it works and holds when nobody is there, and whether that is as it should be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use load::Failure;
use load::process::Process;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::Node;
use crate::work::{Done, Work};

/// Memory may grow by so much of what it was, and by so many bytes: the store's cache and the allocator's pages move by
/// themselves. In ten minutes some half a million steps are taken, half of them between the two quarters: what leaves 60 bytes
/// each is found.
const GROWTH: f64 = 0.05;
const SLACK: u64 = 8 << 20;

/// How long the node has to let go of everything after the last client has gone: QUIC ones that vanished are missed after
/// 30 seconds, and threads that wait for something to do end after ten. It is left alone meanwhile, for asking keeps one busy.
const REST: Duration = Duration::from_secs(45);

/// How often it is looked whether it has, if it has not by then.
const LOOKS: u32 = 4;

/// How often is told how it goes.
const TELL: Duration = Duration::from_secs(30);

/// The gauges that must be 0 when nobody is there. Of requests by HTTP in flight there is always one, which asks for them;
/// what they do is among the operations.
const GAUGES: [&str; 5] = [
    "pliantdb_connections",
    "pliantdb_operations_in_flight",
    "pliantdb_writes_waiting",
    "pliantdb_subscriptions",
    "pliantdb_snapshots",
];

/// What the threads of RocksDB are called: it starts them when there is something to do the first time, and keeps them.
const STORE: &str = "rocksdb";

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    sockets: u64,
    threads: u64,
    /// Of [`GAUGES`], those that are not 0, by their labels.
    gauges: BTreeMap<String, u64>,
}

impl Held {
    /// What it holds when it has been prepared and nobody is there.
    pub async fn at_rest(node: &Node) -> Result<Self, Failure> {
        tokio::time::sleep(REST / 3).await;
        let held = Self::now(node).await?;
        match held.gauges.is_empty() {
            true => Ok(held),
            false => Err(format!("the node does not come to rest before it begins: {held:?}").into()),
        }
    }

    /// What it holds after everybody has gone: at the latest when it has had its time.
    pub async fn after(node: &Node, before: &Self) -> Result<Self, Failure> {
        tokio::time::sleep(REST).await;
        let mut held = Self::now(node).await?;
        for _ in 1..LOOKS {
            if held.is_within(before) {
                break;
            }
            tokio::time::sleep(REST / 3).await;
            held = Self::now(node).await?;
        }
        Ok(held)
    }

    async fn now(node: &Node) -> Result<Self, Failure> {
        // Before there is the connection that asks for the metrics, and the thread that answers.
        let process = node.process();
        let (sockets, threads) = (process.sockets()?, process.threads(STORE)?);
        let metrics = metrics(node).await?;
        let samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let gauges = samples.filter(|(name, _)| {
            let name = name.split('{').next().unwrap_or_default();
            GAUGES.contains(&name)
        });
        let gauges =
            gauges.filter_map(|(name, value)| Some((name.to_owned(), value.parse::<f64>().ok()? as u64)));
        Ok(Self {
            gauges: gauges.filter(|(_, value)| *value > 0).collect(),
            sockets,
            threads,
        })
    }

    fn is_within(&self, before: &Self) -> bool {
        self.gauges.is_empty() && self.sockets <= before.sockets && self.threads <= before.threads
    }
}

/// Asks for the metrics, over a connection that does not stay.
async fn metrics(node: &Node) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(node.admin).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.starts_with("HTTP/1.1 200") && answer.contains("pliantdb_subscriptions") {
        true => Ok(answer),
        false => Err(format!("no metrics: {}", answer.lines().next().unwrap_or_default()).into()),
    }
}

/// What it uses at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    resident: u64,
    threads: u64,
    descriptors: u64,
}

/// Looks at it until the time is over.
pub async fn watch(node: &Node, work: &Work, time: Duration) -> Result<Vec<Sample>, Failure> {
    let process = node.process();
    let pause = (time / 600).max(Duration::from_millis(200));
    let (mut samples, mut told) = (Vec::new(), Instant::now());
    while !work.is_over() {
        tokio::time::sleep(pause).await;
        let sample = sample(&process)?;
        samples.push(sample);
        if told.elapsed() >= TELL {
            told = Instant::now();
            let done = work.done();
            eprintln!(
                "{} steps, {} failures, {} MiB, {} threads, {} descriptors",
                done.steps.values().sum::<u64>(),
                done.failures,
                sample.resident >> 20,
                sample.threads,
                sample.descriptors,
            );
        }
    }
    Ok(samples)
}

fn sample(process: &Process) -> Result<Sample, Failure> {
    Ok(Sample {
        resident: process.resident()?,
        threads: process.threads(STORE)?,
        descriptors: process.descriptors()?,
    })
}

/// All that was seen.
pub struct Watched {
    /// While it worked.
    pub samples: Vec<Sample>,
    /// Before anybody came.
    pub before: Held,
    /// After everybody had gone.
    pub after: Held,
}

/// What was found.
pub struct Report {
    seconds: u64,
    done: Done,
    /// The median in the second and the last quarter of the time, in bytes.
    resident: (u64, u64),
    peak: Sample,
    before: Held,
    after: Held,
    wrong: Vec<String>,
}

impl Report {
    /// Of a run. `ended` says why the node did not end as it should.
    pub fn of(time: Duration, work: &Work, watched: &Watched, ended: Option<Failure>) -> Self {
        let Watched {
            samples,
            before,
            after,
        } = watched;
        let quarter = samples.len() / 4;
        let median = |from: usize, to: usize| {
            let mut part: Vec<_> = samples
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .map(|sample| sample.resident)
                .collect();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or_default()
        };
        let resident = (
            median(quarter, 2 * quarter),
            median(samples.len() - quarter, samples.len()),
        );
        let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default();
        let done = work.done();
        let mut wrong = done.reasons.clone();
        let bound = bound(resident.0);
        if resident.1 > bound {
            wrong.push(format!(
                "memory grew from {} to {} bytes, more than {bound}",
                resident.0, resident.1
            ));
        }
        if !after.is_within(before) {
            wrong.push(format!(
                "after all have gone, the node holds {after:?}; before, {before:?}"
            ));
        }
        wrong.extend(ended.map(|failure| failure.to_string()));
        Self {
            seconds: time.as_secs(),
            done,
            resident,
            peak: Sample {
                resident: most(|sample| sample.resident),
                threads: most(|sample| sample.threads),
                descriptors: most(|sample| sample.descriptors),
            },
            before: before.clone(),
            after: after.clone(),
            wrong,
        }
    }

    /// Whether nothing is wrong.
    pub fn is_passed(&self) -> bool {
        self.done.failures == 0 && self.wrong.is_empty()
    }

    /// All of it, as one line.
    pub fn line(&self) -> String {
        let mib = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
        let held =
            |held: &Held| json!({"sockets": held.sockets, "threads": held.threads, "gauges": held.gauges});
        let line = json!({
            "soak": "server",
            "seconds": self.seconds,
            "steps": self.done.steps.values().sum::<u64>(),
            "steps_by_kind": self.done.steps,
            "failures": self.done.failures,
            "rss_mib": {
                "second_quarter": mib(self.resident.0),
                "last_quarter": mib(self.resident.1),
                "bound": mib(bound(self.resident.0)),
                "most": mib(self.peak.resident),
            },
            "most": {"threads": self.peak.threads, "descriptors": self.peak.descriptors},
            "held_before": held(&self.before),
            "held_after": held(&self.after),
            "wrong": self.wrong,
            "passed": self.is_passed(),
        });
        line.to_string()
    }
}

/// What memory may be at the end.
fn bound(before: u64) -> u64 {
    before + (before as f64 * GROWTH) as u64 + SLACK
}
