//! A cluster of which each node is a process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use load::Failure;

use crate::NODES;
use crate::node::{Order, Report};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The nodes.
pub struct Processes {
    nodes: Vec<Option<Process>>,
}

struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Process {
    fn start(index: usize, directory: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("node")
            .arg(index.to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        Ok(Self {
            child,
            orders,
            reports,
        })
    }

    fn order(&mut self, order: &Order) -> Result<(), Failure> {
        let orders = self.orders.as_mut().ok_or("it is finished")?;
        orders.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())?;
        Ok(())
    }

    fn report(&mut self) -> Result<Report, Failure> {
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        let report: Report = serde_json::from_str(&line).map_err(|_| "a node ended without an answer")?;
        match report.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(report),
        }
    }
}

impl Processes {
    /// Starts the nodes, which make one cluster of that many groups in quorum mode.
    pub fn form(directory: &Path, groups: usize) -> Result<Self, Failure> {
        let mut cluster = Self { nodes: Vec::new() };
        for index in 0..NODES {
            cluster.nodes.push(Some(Process::start(index, directory)?));
            cluster.ask(
                index,
                &match index {
                    0 => Order::Found,
                    _ => Order::Join,
                },
            )?;
            cluster.wait(move |reports| {
                reports
                    .iter()
                    .all(|report| report.nodes == index + 1 && report.settled >= 1)
            })?;
        }
        cluster.wait_done(&Order::Switch)?;
        cluster.wait(|reports| reports.iter().all(|report| report.is_quorum))?;
        cluster.wait_done(&Order::Create(groups))?;
        cluster.wait(|reports| {
            let leads: usize = reports.iter().map(|report| report.leads).sum();
            let is_settled = |report: &Report| report.groups == groups && report.settled == groups + 1;
            leads == groups + 1 && reports.iter().all(is_settled)
        })?;
        Ok(cluster)
    }

    fn ask(&mut self, index: usize, order: &Order) -> Result<Report, Failure> {
        let node = self.nodes.get_mut(index).and_then(Option::as_mut);
        let node = node.ok_or("that node is not there")?;
        node.order(order)?;
        node.report()
    }

    /// Gives an order to all at once; gives what they report.
    pub fn all(&mut self, order: &Order) -> Result<Vec<Report>, Failure> {
        for node in self.nodes.iter_mut().flatten() {
            node.order(order)?;
        }
        self.nodes.iter_mut().flatten().map(Process::report).collect()
    }

    /// Until something is so.
    pub fn wait(&mut self, is_so: impl Fn(&[Report]) -> bool) -> Result<Duration, Failure> {
        let began = Instant::now();
        loop {
            let reports = self.all(&Order::Look)?;
            if is_so(&reports) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                let reports: Vec<_> = reports
                    .into_iter()
                    .map(|report| Report {
                        latencies: Vec::new(),
                        ..report
                    })
                    .collect();
                return Err(format!("the cluster did not come to where it was to be: {reports:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives an order to one after the other, until one has done it.
    fn wait_done(&mut self, order: &Order) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for index in 0..self.nodes.len() {
                if self.ask(index, order)?.is_done {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("no node did {order:?}").into())
    }

    /// Ends a node as a crash would.
    pub fn kill(&mut self, index: usize) -> Result<(), Failure> {
        if let Some(mut node) = self.nodes.get_mut(index).and_then(Option::take) {
            node.child.kill()?;
            node.child.wait()?;
        }
        Ok(())
    }

    /// Starts a node again that was killed.
    pub fn start(&mut self, index: usize, directory: &Path) -> Result<(), Failure> {
        if let Some(node) = self.nodes.get_mut(index) {
            *node = Some(Process::start(index, directory)?);
        }
        Ok(())
    }

    /// Their process ids.
    pub fn ids(&self) -> Vec<u32> {
        self.nodes.iter().flatten().map(|node| node.child.id()).collect()
    }
}

impl Drop for Process {
    /// It ends when its orders do.
    fn drop(&mut self) {
        drop(self.orders.take());
        // Nothing else can be done about it here.
        let _ = self.child.wait();
    }
}
