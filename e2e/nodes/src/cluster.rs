//! A cluster of `pliant-node` processes on this machine.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use load::Failure;
use load::process::Process;
use serde_json::Value;
use server_bench::node::Node;

/// How long the cluster may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it acknowledges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    OneLeader,
    Quorum,
}

impl Mode {
    fn argument(self) -> &'static str {
        match self {
            Self::OneLeader => "one-leader",
            Self::Quorum => "quorum",
        }
    }
}

struct Place {
    name: String,
    data: PathBuf,
    /// Where other nodes find it.
    listen: SocketAddr,
    node: Option<Node>,
}

/// Three nodes; they end when this is dropped.
pub struct Cluster {
    program: PathBuf,
    places: Vec<Place>,
}

impl Cluster {
    /// Founds one in a directory that is not there yet.
    ///
    /// # Errors
    /// When a node does not start, or the cluster does not come to rest.
    pub fn form(program: &Path, directory: &Path, mode: Mode) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let mut cluster = Self {
            program: program.to_owned(),
            places: Vec::new(),
        };
        for number in 1..=3 {
            let name = format!("db-{number}");
            let token_file = directory.join(format!("token-{number}"));
            let mut joining = Vec::new();
            if let Some(first) = cluster.places.first() {
                let seed = first.listen.to_string();
                let told: Value = serde_json::from_str(&cluster.control(&["join", "--name", &name])?)?;
                std::fs::write(&token_file, told["token"].as_str().ok_or("there is no token")?)?;
                joining = vec!["--join".to_owned(), seed];
                joining.extend(["--join-token-file".to_owned(), token_file.display().to_string()]);
            }
            let mut place = Place {
                data: directory.join(&name),
                name,
                // A port that is free now, for others have to be told.
                listen: UdpSocket::bind("127.0.0.1:0")?.local_addr()?,
                node: None,
            };
            place.start(program, &joining)?;
            cluster.places.push(place);
        }
        if mode == Mode::Quorum {
            cluster.switch(mode)?;
        }
        cluster.wait_until_at_rest()?;
        Ok(cluster)
    }

    /// Has `pliant-node cluster` do something, at any node that does it.
    fn control(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut refused = Failure::from("no node is there");
        for node in self.places.iter().filter_map(|place| place.node.as_ref()) {
            let output = Command::new(&self.program)
                .arg("cluster")
                .args(arguments)
                .args(["--output", "json", "--admin", &format!("http://{}", node.admin)])
                .output()?;
            if output.status.success() {
                return Ok(String::from_utf8(output.stdout)?);
            }
            refused = String::from_utf8_lossy(&output.stderr).into_owned().into();
        }
        Err(refused)
    }

    /// Changes the mode, and waits until that is done.
    ///
    /// # Errors
    /// When it is refused or takes too long.
    pub fn switch(&self, mode: Mode) -> Result<(), Failure> {
        self.control(&["switch", mode.argument()]).map(drop)
    }

    fn status(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.control(&["status"])?)?)
    }

    /// Waits until all nodes are there, nothing is under way, and all have what the leader has.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_until_at_rest(&self) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let status = self.status()?;
            let none = Vec::new();
            let nodes = status["nodes"].as_array().unwrap_or(&none);
            let is_well = |node: &Value| {
                node["lag"].as_u64().is_some_and(|lag| lag < 100)
                    && node["silentSeconds"]
                        .as_f64()
                        .is_some_and(|seconds| seconds < 2.0)
            };
            let is_settled = status["switch"].is_null() && status["groups"] == status["settled"];
            if is_settled && nodes.iter().all(is_well) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the cluster does not come to rest: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The place of the node that leads the database `default`.
    ///
    /// # Errors
    /// When nobody says.
    pub fn leader(&self) -> Result<usize, Failure> {
        let status = self.status()?;
        let none = Vec::new();
        let databases = status["databases"].as_array().unwrap_or(&none);
        let database = databases.iter().find(|database| database["name"] == "default");
        let leader = database.ok_or("there is no database")?["leader"].clone();
        let place = self.places.iter().position(|place| leader == place.name.as_str());
        place.ok_or_else(|| format!("{leader} leads, which is not here").into())
    }

    /// Where the nodes that are there serve HTTP, with their places.
    pub fn http(&self) -> Vec<(usize, SocketAddr)> {
        let nodes = self.places.iter().enumerate();
        nodes
            .filter_map(|(number, place)| Some((number, place.node.as_ref()?.http)))
            .collect()
    }

    /// For clients by QUIC: the addresses of all.
    pub fn quic(&self) -> String {
        let nodes = self.places.iter().filter_map(|place| place.node.as_ref());
        nodes.map(|node| node.quic.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Seconds of processor time that all nodes have used.
    pub fn cpu(&self) -> Vec<f64> {
        let nodes = self.places.iter().filter_map(|place| place.node.as_ref());
        nodes
            .map(|node| Process::of(node.id()).cpu().unwrap_or(f64::NAN))
            .collect()
    }

    /// Ends a node's process, as a crash would.
    pub fn kill(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(place) {
            place.node = None;
        }
    }

    /// Starts a node again that was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&mut self, place: usize) -> Result<(), Failure> {
        let place = self.places.get_mut(place).ok_or("there is no such node")?;
        place.start(&self.program, &[])
    }
}

impl Place {
    fn start(&mut self, program: &Path, joining: &[String]) -> Result<(), Failure> {
        let listen = self.listen.to_string();
        let mut arguments = vec!["--nodes-listen", &listen, "--node-name", &self.name];
        arguments.extend(joining.iter().map(String::as_str));
        self.node = Some(Node::start(program, &self.data, &arguments)?);
        Ok(())
    }
}
