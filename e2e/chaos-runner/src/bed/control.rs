//! The command line of `pliant-node`: how one is started, and how a cluster is changed. Nothing else knows it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use load::Failure;
use serde::Deserialize;

use super::hosts::Hosts;
use super::run;

/// Where clients come by HTTP and WebSocket.
pub const HTTP_PORT: u16 = 6480;
/// Where clients come by QUIC.
pub const QUIC_PORT: u16 = 6481;
/// Where nodes come.
const NODES_PORT: u16 = 6482;
/// Where it is administered, on its own host only.
const ADMIN: &str = "127.0.0.1:6483";

/// How it is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A leader acknowledges by itself.
    OneLeader,
    /// A majority acknowledges.
    Quorum,
}

impl Mode {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::OneLeader => Self::Quorum,
            Self::Quorum => Self::OneLeader,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneLeader => "one-leader",
            Self::Quorum => "quorum",
        }
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::OneLeader, Self::Quorum]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| format!("the mode {text:?} must be one-leader or quorum"))
    }
}

/// How a node becomes part of a cluster when it is started on an empty directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forming {
    /// It is no cluster.
    Alone,
    /// It founds one.
    Found,
    /// It joins one, by a token.
    Join {
        /// Where other nodes are.
        seeds: Vec<String>,
        /// The file with the token.
        token_file: PathBuf,
    },
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Start<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its data directory.
    pub data: &'s Path,
    /// The file with the administrator's token.
    pub token_file: &'s Path,
    /// How it becomes part of a cluster.
    pub forming: &'s Forming,
}

/// The arguments of `pliant-node` that start it.
#[must_use]
pub fn serve(start: &Start<'_>) -> Vec<String> {
    let address = start.address;
    let mut arguments = vec![
        "serve".to_owned(),
        "--log-format".to_owned(),
        "json".to_owned(),
        "--data".to_owned(),
        start.data.display().to_string(),
        "--token-file".to_owned(),
        start.token_file.display().to_string(),
    ];
    let mut setting = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    setting("--listen", format!("{address}:{HTTP_PORT}"));
    setting("--quic-listen", format!("{address}:{QUIC_PORT}"));
    setting("--admin-listen", ADMIN.to_owned());
    if *start.forming != Forming::Alone {
        setting("--nodes-listen", format!("{address}:{NODES_PORT}"));
        setting("--advertise", address.to_string());
        setting("--node-name", start.name.to_owned());
    }
    if let Forming::Join { seeds, token_file } = start.forming {
        setting("--join", seeds.join(","));
        setting("--join-token-file", token_file.display().to_string());
    }
    arguments
}

/// What `cluster join` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Invitation {
    /// The token, which is good once.
    pub token: String,
    /// Where nodes are.
    #[serde(default)]
    pub seeds: Vec<String>,
}

/// How long a command may take: a node that stands still says nothing.
const PATIENCE: &str = "20";
/// How long a switch may take.
const SWITCHING: &str = "90s";

/// The administration of a cluster, asked of one of its nodes.
#[derive(Clone, Copy)]
pub struct Control<'c> {
    /// The program.
    pub program: &'c Path,
    /// The hosts.
    pub hosts: &'c Hosts,
    /// The node that is asked.
    pub node: usize,
    /// The file with the administrator's token.
    pub token_file: &'c Path,
}

impl Control<'_> {
    fn cluster(&self, patience: &str, arguments: &[&str]) -> Result<String, Failure> {
        let net = format!("--net={}", self.hosts.namespace_path(self.node).display());
        let program = self.program.display().to_string();
        let token_file = self.token_file.display().to_string();
        let admin = format!("http://{ADMIN}");
        let mut all = vec![
            patience,
            "nsenter",
            net.as_str(),
            "--",
            program.as_str(),
            "cluster",
        ];
        all.extend(arguments);
        all.extend(["--admin", &admin, "--token-file", &token_file, "--output", "json"]);
        run("timeout", &all)
    }

    /// A token for a node that is to join.
    ///
    /// # Errors
    /// When the node cannot make one.
    pub fn invite(&self) -> Result<Invitation, Failure> {
        let printed = self.cluster(PATIENCE, &["join"])?;
        Ok(serde_json::from_str(printed.trim())
            .map_err(|error| format!("cluster join printed {printed:?}: {error}"))?)
    }

    /// The cluster as the node knows it.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn status(&self) -> Result<serde_json::Value, Failure> {
        let printed = self.cluster(PATIENCE, &["status"])?;
        Ok(serde_json::from_str(printed.trim())
            .map_err(|error| format!("cluster status printed {printed:?}: {error}"))?)
    }

    /// Begins to switch the mode.
    ///
    /// # Errors
    /// When it is refused.
    pub fn begin_switch(&self, mode: Mode) -> Result<(), Failure> {
        self.cluster(PATIENCE, &["switch", mode.name(), "--no-wait"])
            .map(drop)
    }

    /// Switches the mode.
    ///
    /// # Errors
    /// When it is refused, or takes too long.
    pub fn switch(&self, mode: Mode) -> Result<(), Failure> {
        self.cluster("120", &["switch", mode.name(), "--timeout", SWITCHING])
            .map(drop)
    }

    /// Lets the others replace the leader when it was away for so many seconds.
    ///
    /// # Errors
    /// When it is refused.
    pub fn fail_over_after(&self, seconds: u64) -> Result<(), Failure> {
        let delay = format!("{seconds}s");
        self.cluster(PATIENCE, &["failover", "automatic", "--delay", &delay])
            .map(drop)
    }

    /// Lets another node lead, sooner or later.
    ///
    /// # Errors
    /// When it is refused.
    pub fn promote(&self, name: &str) -> Result<(), Failure> {
        self.cluster(PATIENCE, &["promote", name, "--no-wait"]).map(drop)
    }

    /// Lets others hold what a node holds, sooner or later.
    ///
    /// # Errors
    /// When it is refused.
    pub fn drain(&self, name: &str) -> Result<(), Failure> {
        self.cluster(PATIENCE, &["drain", name, "--no-wait"]).map(drop)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// When it is refused.
    pub fn undrain(&self, name: &str) -> Result<(), Failure> {
        self.cluster(PATIENCE, &["undrain", name]).map(drop)
    }

    /// Removes a node that is gone for ever.
    ///
    /// # Errors
    /// When it is refused.
    pub fn remove_lost(&self, name: &str) -> Result<(), Failure> {
        self.cluster(PATIENCE, &["remove", name, "--lost"]).map(drop)
    }
}

/// The name of the node that leads, as a status has it.
#[must_use]
pub fn leader(status: &serde_json::Value) -> Option<&str> {
    status.get("leader")?.as_str()
}

/// Whether nothing is under way in the cluster, as a status has it: no switch, and every group is where it is to be.
#[must_use]
pub fn is_settled(status: &serde_json::Value) -> bool {
    let is_open = status.get("switch").is_some_and(|switch| !switch.is_null());
    !is_open && status.get("groups") == status.get("settled")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(forming: &Forming) -> String {
        serve(&Start {
            name: "n2",
            address: Ipv4Addr::new(198, 18, 0, 2),
            data: Path::new("/d"),
            token_file: Path::new("/t"),
            forming,
        })
        .join(" ")
    }

    #[test]
    fn a_node_is_started_alone_or_of_a_cluster() {
        let alone = "serve --log-format json --data /d --token-file /t --listen 198.18.0.2:6480 --quic-listen \
                     198.18.0.2:6481 --admin-listen 127.0.0.1:6483";
        assert_eq!(line(&Forming::Alone), alone);
        let found = format!("{alone} --nodes-listen 198.18.0.2:6482 --advertise 198.18.0.2 --node-name n2");
        assert_eq!(line(&Forming::Found), found);
        let join = Forming::Join {
            seeds: vec!["198.18.0.1:6482".to_owned(), "198.18.0.3:6482".to_owned()],
            token_file: PathBuf::from("/j"),
        };
        assert_eq!(
            line(&join),
            format!("{found} --join 198.18.0.1:6482,198.18.0.3:6482 --join-token-file /j")
        );
    }

    #[test]
    fn a_status_tells_of_the_leader_and_of_what_is_under_way() {
        let status = |switch, settled| serde_json::json!({"leader": "n1", "mode": "Quorum", "switch": switch, "groups": 3, "settled": settled});
        let (open, none) = (serde_json::json!({"to": "Quorum"}), serde_json::Value::Null);
        assert_eq!(leader(&status(none.clone(), 3)), Some("n1"));
        assert!(is_settled(&status(none.clone(), 3)));
        assert!(!is_settled(&status(none, 2)) && !is_settled(&status(open, 3)));
    }
}
