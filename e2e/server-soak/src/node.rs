//! The server, in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use load::Failure;
use load::process::Process;
use pliantdb_server::Server;
use pliantdb_server::config::{Inputs, LogFormat, LogLevel, Settings};
use serde::{Deserialize, Serialize};

use crate::schema::{Echo, Soak};

/// What it may use, so that the store's cache (a quarter) is soon full and grows no more.
const MEMORY: u64 = 256 << 20;

/// How long changes are kept: after that, what is stored grows no more.
const CHANGES: Duration = Duration::from_secs(30);

/// Where it listens.
#[derive(Serialize, Deserialize)]
struct Listening {
    http: SocketAddr,
    quic: SocketAddr,
    admin: SocketAddr,
    fingerprint: String,
}

/// Serves until the standard input ends.
pub fn serve(directory: &Path) -> Result<(), Failure> {
    let any = || Some("127.0.0.1:0".to_owned());
    let inputs = Inputs {
        data: Some(directory.to_owned()),
        listen: any(),
        quic_listen: any(),
        admin_listen: any(),
        // As it is by default where there is so much memory.
        max_body_size: Some("8Mi".parse()?),
        ..Inputs::default()
    };
    let settings = Settings::load(inputs, None)?;
    pliantdb_server::logging::start(LogFormat::Text, LogLevel::Warn);
    // As pliant-node has it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .build()?;
    runtime.block_on(async {
        let server = Server::builder(settings)
            .schema::<Soak>()
            .api(|_, echo: Echo| match echo.text.is_empty() {
                true => Err("there is nothing to say".to_owned()),
                false => Ok(echo.text),
            })
            .memory_limit(MEMORY)
            .change_retention(CHANGES)
            .start()
            .await?;
        let addresses = server.addresses();
        let listening = Listening {
            http: addresses.http,
            quic: addresses.quic,
            admin: addresses.admin,
            fingerprint: server.fingerprint(),
        };
        println!("{}", serde_json::to_string(&listening)?);
        std::io::stdout().flush()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            // It ends with its parent too.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            drop(stop);
        });
        let stopped = async {
            let _ = stopped.await;
        };
        Ok::<_, Failure>(server.run(stopped).await?)
    })?;
    runtime.shutdown_timeout(Duration::from_secs(3));
    Ok(())
}

/// A node that serves on free ports of this machine; it ends when this is dropped.
pub struct Node {
    process: Child,
    until: Option<ChildStdin>,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
    /// Metrics.
    pub admin: SocketAddr,
    /// The addresses for clients, by QUIC and WebSocket.
    pub urls: [String; 2],
}

impl Node {
    /// Starts one on a directory that is not there yet.
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("node")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let until = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("the node has no output")?).read_line(&mut line)?;
        let listening: Listening =
            serde_json::from_str(&line).map_err(|error| format!("the node did not start: {error}"))?;
        Ok(Self {
            process,
            until,
            http: listening.http,
            quic: listening.quic,
            admin: listening.admin,
            urls: [
                format!(
                    "pliant://{}?fingerprint={}",
                    listening.quic, listening.fingerprint
                ),
                format!("ws://{}", listening.http),
            ],
        })
    }

    /// What it uses.
    pub fn process(&self) -> Process {
        Process::of(self.process.id())
    }

    /// Tells it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not end as it should.
    pub fn end(&mut self) -> Result<(), Failure> {
        drop(self.until.take());
        let status = self.process.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the node ended with {status}").into()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
