//! A `pliant-node` process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use load::Failure;

/// A node that serves on free ports of this machine; it ends when this is dropped.
pub struct Node {
    process: Child,
    /// HTTP.
    pub http: SocketAddr,
    /// Where it is administered.
    pub admin: SocketAddr,
    /// The address for QUIC clients.
    pub quic: String,
}

impl Node {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(program: &Path, data: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let mut process = Command::new(program)
            .args(["serve", "--log-format", "json", "--data"])
            .arg(data)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--quic-listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().ok_or("it has no log")?;
        let mut lines = BufReader::new(log).lines();
        let listening = loop {
            let line = lines.next().ok_or("the node did not start")??;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            if line["message"] == "listening" {
                break line;
            }
        };
        // What it logs later is read, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let text = |key: &str| listening[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            process,
            http: text("address").parse()?,
            admin: text("admin_address").parse()?,
            quic: format!(
                "pliant://{}?fingerprint={}",
                text("quic_address"),
                text("fingerprint")
            ),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
