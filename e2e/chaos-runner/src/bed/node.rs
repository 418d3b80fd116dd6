//! A node's process.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use load::Failure;
use rustix::process::{Pid, Signal, kill_process};

use super::bound;
use super::control::{Forming, HTTP_PORT, QUIC_PORT, Start, serve};
use super::disk::Disk;
use super::hosts::Hosts;
use super::wall::Wall;
use crate::history::Turn;
use crate::plan::Host;

/// How long a process may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(40);

/// What clients know of a node.
pub struct Place {
    /// Its name.
    pub name: String,
    address: Ipv4Addr,
    fingerprint: Mutex<String>,
    starts: AtomicU64,
    panics: Mutex<Vec<String>>,
    turns: Mutex<Vec<(Instant, Turn, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Where it serves HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((self.address, HTTP_PORT))
    }

    /// The address for clients by WebSocket.
    #[must_use]
    pub fn websocket(&self) -> String {
        format!("ws://{}:{HTTP_PORT}", self.address)
    }

    /// The address for clients by QUIC, with the certificate that the node has at the moment.
    #[must_use]
    pub fn quic(&self) -> String {
        format!(
            "pliant://{}:{QUIC_PORT}?fingerprint={}",
            self.address,
            lock(&self.fingerprint)
        )
    }

    /// How often it has begun to listen.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Acquire)
    }

    /// What its log says of panics.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        lock(&self.panics).clone()
    }

    /// What its log says of groups that were forced, when it said so, and of which life.
    #[must_use]
    pub fn turns(&self) -> Vec<(Instant, Turn, String)> {
        lock(&self.turns).clone()
    }

    /// Takes note of a line of its log.
    fn read(&self, line: &str) {
        if let Some((turn, incarnation)) = Turn::read(line) {
            lock(&self.turns).push((Instant::now(), turn, incarnation));
        }
        if line.contains("panicked at") {
            lock(&self.panics).push(line.to_owned());
        }
        let is_listening = line.contains("\"listening\"");
        if let Some(line) = is_listening
            .then(|| serde_json::from_str::<serde_json::Value>(line).ok())
            .flatten()
            && let Some(fingerprint) = line.get("fingerprint").and_then(serde_json::Value::as_str)
        {
            fingerprint.clone_into(&mut lock(&self.fingerprint));
            self.starts.fetch_add(1, Ordering::Release);
        }
    }
}

/// A node: its disk, its clock, and its process while there is one, which ends when this is dropped.
pub struct Node {
    /// Its place, from 0.
    pub index: usize,
    /// What clients know of it.
    pub place: Arc<Place>,
    /// Its disk.
    pub disk: Disk,
    /// Its wall clock.
    pub wall: Wall,
    /// The binary that it is started as.
    pub program: PathBuf,
    /// How it becomes part of a cluster.
    pub forming: Forming,
    /// Whether its disk was full since it was last well.
    pub was_full: bool,
    log: PathBuf,
    token_file: PathBuf,
    process: Option<Child>,
}

impl Node {
    /// One that is not started yet.
    #[must_use]
    pub fn new(
        index: usize,
        folder: &Path,
        disk: Disk,
        wall: Wall,
        program: PathBuf,
        token_file: PathBuf,
    ) -> Self {
        let name = Host::Node(index).to_string();
        Self {
            index,
            log: folder.join(format!("{name}.log")),
            place: Arc::new(Place {
                name,
                address: Hosts::address(Host::Node(index)),
                fingerprint: Mutex::default(),
                starts: AtomicU64::new(0),
                panics: Mutex::default(),
                turns: Mutex::default(),
            }),
            disk,
            wall,
            program,
            forming: Forming::Alone,
            was_full: false,
            token_file,
            process: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Starts its process on its host; whether it serves is seen later.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(&mut self, hosts: &Hosts) -> Result<(), Failure> {
        let data = self.disk.data();
        let arguments = serve(&Start {
            name: &self.place.name,
            address: self.place.address,
            data: &data,
            token_file: &self.token_file,
            forming: &self.forming,
        });
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        writeln!(log, "# {} {}", self.program.display(), arguments.join(" "))?;
        // A process group of its own, so that Ctrl-C is for this program only.
        let mut process = bound("nsenter")
            .arg(format!("--net={}", hosts.namespace_path(self.index).display()))
            .arg("--")
            .arg(&self.program)
            .args(arguments)
            .envs(self.wall.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let said = process.stderr.take().ok_or("it has no log")?;
        let place = Arc::clone(&self.place);
        std::thread::spawn(move || keep(said, log, &place));
        self.process = Some(process);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        if let Some(process) = &self.process {
            kill_process(Pid::from_child(process), signal)?;
        }
        Ok(())
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Tells it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end, or not as it should.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait()? {
                break status;
            }
            if began.elapsed() > ENDING {
                process.kill()?;
                process.wait()?;
                return Err(format!(
                    "{} did not end within {} s of SIGTERM",
                    self.name(),
                    ENDING.as_secs()
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        match status.success() {
            true => Ok(()),
            false => Err(format!("{} ended with {status} after SIGTERM", self.name()).into()),
        }
    }

    /// Lets it stand still.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stop(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn go_on(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    /// Whether its process has ended without being told to, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }

    /// Whether it has ended for want of room, as it may: what it was doing then can take a while to end.
    #[must_use]
    pub fn lacked_room(&self) -> bool {
        self.was_full && self.last_words().contains("No space left on device")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ = self.kill();
    }
}

/// Keeps what a process says until it ends.
fn keep(said: impl Read, mut log: File, place: &Place) {
    for line in BufReader::new(said).lines() {
        let Ok(line) = line else { return };
        place.read(&line);
        // A log that cannot be kept is no reason to stop reading: the process would wait.
        let _ = writeln!(log, "{line}");
    }
}
