//! Hosts of the test: a network namespace for each node and one for all clients, and the wires between them, which a program
//! of its own carries packets over (go/network), for the kernel may have no netem.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

use load::Failure;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;

use super::{PREFIX, bound, run};
use crate::plan::{Host, Way};

/// Where `ip netns` keeps them.
const NAMESPACES: &str = "/run/netns";

/// What a way does to packets; the default lets all through.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Treatment {
    /// Lets nothing through.
    pub cut: bool,
    /// The share that is lost, from 0 to 1.
    pub loss: f64,
    /// The share that comes twice, from 0 to 1.
    pub repeat: f64,
    /// How long each takes.
    pub delay_ms: u64,
    /// And up to so much longer.
    pub jitter_ms: u64,
    /// How much passes; 0 for all there is.
    pub bytes_per_second: u64,
}

#[derive(Serialize)]
struct Rule {
    from: String,
    to: String,
    #[serde(flatten)]
    treatment: Treatment,
}

/// The hosts; they are gone when this is dropped.
pub struct Hosts {
    nodes: usize,
    prefix: String,
    wires: Mutex<Option<Wires>>,
}

struct Wires {
    child: Child,
    rules: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Wires {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hosts {
    /// Makes hosts for so many nodes, all connected.
    ///
    /// # Errors
    /// When this is not root, or something is missing: iproute2, util-linux, /dev/net/tun.
    pub fn make(program: &Path, nodes: usize, seed: u64) -> Result<Self, Failure> {
        let hosts = Self {
            nodes,
            prefix: format!("{PREFIX}{}-", std::process::id()),
            wires: Mutex::new(None),
        };
        for host in hosts.all() {
            run("ip", &["netns", "add", &hosts.namespace(host)])?;
        }
        let wires = hosts.connect(program, seed)?;
        *hosts.wires.lock().unwrap_or_else(PoisonError::into_inner) = Some(wires);
        let clients = hosts.namespace(Host::Clients);
        for host in hosts.all() {
            let (namespace, device) = (hosts.namespace(host), host.to_string());
            if host != Host::Clients {
                run(
                    "ip",
                    &["-n", &clients, "link", "set", &device, "netns", &namespace],
                )?;
            }
            let address = format!("{}/24", Self::address(host));
            run(
                "ip",
                &["-n", &namespace, "address", "add", &address, "dev", &device],
            )?;
            run("ip", &["-n", &namespace, "link", "set", &device, "up"])?;
            run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(hosts)
    }

    fn connect(&self, program: &Path, seed: u64) -> Result<Wires, Failure> {
        let ends = self
            .all()
            .into_iter()
            .map(|host| format!("{host}={}", Self::address(host)));
        let mut child = bound("nsenter")
            .arg(format!("--net={}", self.path(Host::Clients).display()))
            .arg("--")
            .arg(program)
            .args(["-seed", &seed.to_string()])
            .args(ends)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (rules, answers) = (child.stdin.take(), child.stdout.take());
        let mut wires = Wires {
            child,
            rules: rules.ok_or("it has no input")?,
            answers: BufReader::new(answers.ok_or("it has no output")?),
        };
        wires.hear("ready")?;
        Ok(wires)
    }

    /// The clients, and all nodes.
    fn all(&self) -> Vec<Host> {
        std::iter::once(Host::Clients)
            .chain((0..self.nodes).map(Host::Node))
            .collect()
    }

    fn namespace(&self, host: Host) -> String {
        format!("{}{host}", self.prefix)
    }

    fn path(&self, host: Host) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace(host))
    }

    /// The file of a node's network namespace.
    #[must_use]
    pub fn namespace_path(&self, node: usize) -> PathBuf {
        self.path(Host::Node(node))
    }

    /// The address of a host: of those that are set aside for measuring (RFC 2544).
    #[must_use]
    pub fn address(host: Host) -> Ipv4Addr {
        let last = match host {
            Host::Node(index) => u8::try_from(index + 1).unwrap_or(u8::MAX),
            Host::Clients => 254,
        };
        Ipv4Addr::new(198, 18, 0, last)
    }

    /// The clients' host, so that threads can go there.
    ///
    /// # Errors
    /// When it is gone.
    pub fn clients(&self) -> Result<std::fs::File, Failure> {
        Ok(std::fs::File::open(self.path(Host::Clients))?)
    }

    /// Says what ways do to packets from now on.
    ///
    /// # Errors
    /// When the wires are gone.
    pub fn treat(&self, ways: &[Way], treatment: Treatment) -> Result<(), Failure> {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let wires = wires.as_mut().ok_or("there are no wires")?;
        for (from, to) in ways {
            let rule = Rule {
                from: from.to_string(),
                to: to.to_string(),
                treatment,
            };
            writeln!(wires.rules, "{}", serde_json::to_string(&rule)?)?;
            wires.hear("ok")?;
        }
        Ok(())
    }
}

impl Wires {
    fn hear(&mut self, expected: &str) -> Result<(), Failure> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim() == expected {
            true => Ok(()),
            false => Err(format!("the wires said {line:?}, not {expected:?}").into()),
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        *self.wires.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for host in self.all() {
            // Some may not have been made.
            let _ = run("ip", &["netns", "delete", &self.namespace(host)]);
        }
    }
}

/// Moves this thread to the host of a namespace's file. Sockets that it makes are there, and so is what it starts.
///
/// # Errors
/// When this is not root.
pub fn move_to(namespace: &std::fs::File) -> Result<(), Failure> {
    use std::os::fd::AsFd;
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}
