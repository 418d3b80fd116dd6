//! A cluster of three etcd processes on this machine, without TLS, and clients of it in another process (Go's, which share
//! 15 connections).

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use load::Failure;
use load::clients::Run;
use load::process::Process;

use crate::clients::{KEYS, VALUE};

/// Three members; they end when this is dropped.
pub struct Etcd {
    members: Vec<Child>,
    endpoints: String,
    load: PathBuf,
}

impl Etcd {
    /// Starts them in a directory that is not there yet, and sets every key once.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(program: &Path, load: &Path, directory: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let url = || {
            Ok::<_, Failure>(format!(
                "http://{}",
                TcpListener::bind("127.0.0.1:0")?.local_addr()?
            ))
        };
        let mut places = Vec::new();
        for number in 1..=3 {
            places.push((format!("etcd-{number}"), url()?, url()?));
        }
        let all: Vec<_> = places
            .iter()
            .map(|(name, _, peer)| format!("{name}={peer}"))
            .collect();
        let endpoints: Vec<_> = places.iter().map(|(_, client, _)| client.as_str()).collect();
        let mut etcd = Self {
            members: Vec::new(),
            endpoints: endpoints.join(","),
            load: load.to_owned(),
        };
        for (name, client, peer) in &places {
            let log = File::create(directory.join(format!("{name}.log")))?;
            let member = Command::new(program)
                .args(["--name", name, "--data-dir"])
                .arg(directory.join(name))
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args([
                    "--initial-cluster",
                    &all.join(","),
                    "--initial-cluster-state",
                    "new",
                ])
                // More than what is written here, for etcd keeps every revision.
                .args(["--quota-backend-bytes", "8589934592", "--log-level", "error"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            etcd.members.push(member);
        }
        // They answer when they have a leader.
        etcd.ask(&["-operation", "fill"])?;
        Ok(etcd)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new(&self.load)
            .args(["-endpoints", &self.endpoints])
            .args(["-keys", &KEYS.to_string(), "-size", &VALUE.to_string()])
            .args(arguments)
            .output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    /// Runs clients: `put` or `get` (linearizable), at the leader or spread over all members.
    ///
    /// # Errors
    /// What the program says.
    pub fn run(
        &self,
        operation: &str,
        clients: usize,
        milliseconds: u64,
        at_leader: bool,
    ) -> Result<Run, Failure> {
        let told = self.ask(&[
            "-operation",
            operation,
            "-clients",
            &clients.to_string(),
            "-milliseconds",
            &milliseconds.to_string(),
            &format!("-leader={at_leader}"),
        ])?;
        Ok(serde_json::from_str(&told)?)
    }

    /// Seconds of processor time that all members have used.
    pub fn cpu(&self) -> Vec<f64> {
        let members = self.members.iter();
        members
            .map(|member| Process::of(member.id()).cpu().unwrap_or(f64::NAN))
            .collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Nothing else can be done about it here.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}
