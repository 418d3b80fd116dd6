//! A `pliant-node` process, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The command with nothing from this process's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pliant-node"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) quic: SocketAddr,
    pub(crate) fingerprint: String,
    agent: ureq::Agent,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Serves `data` on free loopback ports.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["serve", "--log-format", "json", "--data"])
            .arg(data);
        for flag in ["--listen", "--quic-listen", "--admin-listen"] {
            if !arguments.contains(&flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(arguments);
        Self::spawn(command)
    }

    /// Waits until a prepared command, which must log JSON, listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = follow(stderr, Arc::clone(&log));
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let agent = agent();
        // From here on the process is ended if anything fails.
        let mut node = Self {
            child,
            log,
            address: unknown,
            admin: unknown,
            quic: unknown,
            fingerprint: String::new(),
            agent,
        };
        let listening = loop {
            let line = lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it does not listen: {}", node.log()));
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "listening" {
                break line;
            }
        };
        node.address = listening["address"].as_str().unwrap().parse().unwrap();
        node.admin = listening["admin_address"].as_str().unwrap().parse().unwrap();
        node.quic = listening["quic_address"].as_str().unwrap().parse().unwrap();
        node.fingerprint = listening["fingerprint"].as_str().unwrap().to_owned();
        node
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says so.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "not logged: {text}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as it should end.
    pub(crate) fn stop(&mut self) {
        self.terminate();
        self.wait();
    }

    /// Its address for QUIC clients.
    pub(crate) fn quic_url(&self) -> String {
        format!("pliant://{}?fingerprint={}", self.quic, self.fingerprint)
    }

    /// Its address for WebSocket clients.
    pub(crate) fn websocket_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end: {}", self.log());
    }

    /// Sends a request to the client port, and `panic`s when there is no answer.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, ureq::Error> {
        self.to(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, &[], body)
    }

    /// Waits until a line is among the metrics.
    pub(crate) fn wait_for_metric(&self, line: &str) {
        let start = Instant::now();
        loop {
            let metrics = self.admin_get("/metrics", &[]).body;
            if metrics.lines().any(|found| found == line) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{line} is not among {metrics}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads from the admin port.
    pub(crate) fn admin_get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.to(self.admin, "GET", path, headers, "").unwrap()
    }

    /// Sends a request to the admin port.
    pub(crate) fn admin_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.to(self.admin, method, path, headers, body).unwrap()
    }

    fn to(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, ureq::Error> {
        ask(&self.agent, address, method, path, headers, body)
    }

    /// Sends bytes as they are, and reads until the node closes the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What sends requests.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

/// Sends a request.
pub(crate) fn ask(
    agent: &ureq::Agent,
    mut address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, ureq::Error> {
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = match body {
        "" if method != "PUT" && method != "POST" => agent.run(request.body(()).unwrap())?,
        body => agent.run(request.body(body).unwrap())?,
    };
    let body = response
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
    })
}

/// Collects the log, and hands its lines on until nobody listens.
fn follow(stderr: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (lines, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
            let _ = lines.send(line);
        }
    });
    receiver
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks that it is a problem with this field and value.
    pub(crate) fn wrong(&self, field: &str, value: &str) {
        let problem = self.problem(400, "invalid-value");
        assert_eq!(
            (problem["field"].as_str(), problem["value"].as_str()),
            (Some(field), Some(value)),
            "{problem}"
        );
    }

    /// Checks that it is a problem of this kind, and returns it.
    pub(crate) fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(
            problem["type"],
            format!("https://pliantdb.dev/problems/{name}"),
            "{problem}"
        );
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem
    }
}
