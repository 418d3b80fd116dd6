//! What is asked of a node's admin listener about its cluster, and what it answers: under `/admin/v1/cluster`, as JSON.
//!
//! | | | takes | gives |
//! |---|---|---|---|
//! | `GET` | `/admin/v1/cluster` | | [`ClusterStatus`] |
//! | `POST` | `…/join-tokens` | [`NewJoinToken`] | [`JoinToken`] |
//! | `POST` | `…/nodes/{name}/drain`, `…/undrain` | | |
//! | `DELETE` | `…/nodes/{name}` (`?lost=true`) | | |
//! | `PUT` | `…/mode` | [`WantedMode`] | [`Begun`] |
//! | `POST` | `…/promote` | [`Promotion`] | [`Begun`] |
//! | `PUT` | `…/failover` | [`Failover`] | |
//! | `PUT` | `…/replication-factor` | [`ReplicationFactor`] | |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DatabaseName;

/// Where all of it is.
pub const PATH: &str = "/admin/v1/cluster";

/// How a cluster is, as one of its nodes knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its number, as 32 hexadecimal digits.
    pub cluster: String,
    /// The node that was asked; `None` while it joins.
    pub node: Option<String>,
    /// Who acknowledges writes.
    pub mode: Mode,
    /// The node that does, with one leader.
    pub leader: Option<String>,
    /// Whether an acknowledged write survives the loss of any minority of its voters.
    pub survives_minorities: bool,
    /// Whether a node that most of the meta group's voters follow has answered: without it nothing is known of how the
    /// others are, and nothing can be changed.
    pub supervised: bool,
    /// The change of mode or leader that is under way.
    pub switch: Option<Switch>,
    /// How many groups there are: one for each database, and the one that knows about the cluster.
    pub groups: usize,
    /// How many of them are where they are to be. A change of mode or leader has ended when all are.
    pub settled: usize,
    /// What happens when the leader is gone.
    pub failover: Failover,
    /// On how many nodes the data is in quorum mode.
    pub replication_factor: u8,
    /// The version of commands that the cluster writes.
    pub apply_version: u16,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// The databases.
    pub databases: Vec<DatabaseStatus>,
}

/// Who acknowledges writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One node, after its own sync.
    OneLeader,
    /// A majority of the voters.
    Quorum,
}

/// A change of mode or leader that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// Which attempt it is.
    pub id: u64,
    /// Where it leads, or was to lead.
    pub to: Mode,
    /// The node that is to lead, with one leader.
    pub leader: Option<String>,
    /// How it is.
    pub phase: SwitchPhase,
}

/// How a change of mode or leader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchPhase {
    /// It goes on.
    Running,
    /// It was given up, and everything goes back to where it was.
    Aborting,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its number, which no other node ever has.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does for the cluster.
    pub role: Role,
    /// Whether it is to hold data.
    pub state: NodeState,
    /// Where other nodes reach it, as `host:port`.
    pub address: Option<String>,
    /// Where clients reach it by HTTP.
    pub http: Option<String>,
    /// Where clients reach it by QUIC, as `host:port`.
    pub quic: Option<String>,
    /// The SHA-256 of the certificate that it shows clients.
    pub fingerprint: Option<String>,
    /// The version of PliantDB that it runs.
    pub version: Option<String>,
    /// What its owner says of it, such as its zone.
    pub attributes: BTreeMap<String, String>,
    /// For how long it was not heard, in seconds; `None` if it was not heard by whoever leads the cluster.
    pub silent_seconds: Option<f64>,
    /// How many groups it leads.
    pub leads: usize,
    /// Of how many databases it is to have a replica.
    pub holds: usize,
    /// By how many entries the furthest of its replicas is behind the leader's.
    pub lag: Option<u64>,
    /// Replicas of it that have stopped.
    pub halted: Vec<Halted>,
}

/// What a node does for the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It alone acknowledges writes, or is to.
    Leader,
    /// It votes on what is acknowledged, of some database at least.
    Voter,
    /// It follows.
    Replica,
}

/// Whether a node is to hold data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It is.
    Active,
    /// It goes on serving until others hold what it holds.
    Draining,
}

/// A replica that has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Of which database; `None` for the group that knows about the cluster.
    pub database: Option<DatabaseName>,
    /// Why.
    pub reason: String,
}

/// How a database is spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its name.
    pub name: DatabaseName,
    /// The node that leads it, or is to.
    pub leader: String,
    /// The nodes that vote.
    pub voters: Vec<String>,
    /// The nodes that follow.
    pub replicas: Vec<String>,
    /// Whether it is where it is to be.
    pub settled: bool,
}

/// A token to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// For how long it is good, as in `30m`; an hour by default, and at most `168h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
}

/// A token with which one node can join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its text: a secret.
    pub token: String,
    /// Where the new node is to ask, as `host:port`; the first is the node that knows the token.
    pub seeds: Vec<String>,
    /// Until when it is good (RFC 3339).
    pub expires: String,
}

/// Without the secret.
impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("seeds", &self.seeds)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The mode that the cluster is to be in. That of before gives up a change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedMode {
    /// The mode.
    pub mode: Mode,
    /// With one leader, the node; by default the one that leads now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// Another leader, with one leader. In quorum mode it is only forced: databases of which most voters are gone go on with
/// the longest log that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promotion {
    /// The node that is to lead; `None` in quorum mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether the leader is not waited for: what only it has is lost. It needs one of the two that follow.
    #[serde(default)]
    pub force: bool,
    /// To force: the process of the old leader is gone, and is kept from starting until this has ended.
    #[serde(default)]
    pub old_leader_is_gone: bool,
    /// To force: it is accepted that the old leader may go on acknowledging writes, which are lost.
    #[serde(default)]
    pub accept_split_brain: bool,
    /// To force when most of those that decide about the cluster are gone: the node goes on alone. It is to be asked
    /// itself.
    #[serde(default)]
    pub alone: bool,
}

/// What was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The change that is under way by now, [`Switch::id`]; `None` when the cluster is as wanted.
    pub switch: Option<u64>,
}

/// What happens when the leader is gone, with one leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// Who decides.
    pub policy: FailoverPolicy,
    /// How long it is waited for, as in `30s`, when it is replaced automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
}

/// Who decides that another node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailoverPolicy {
    /// Somebody promotes one.
    Manual,
    /// The others, after a delay.
    Automatic,
}

/// On how many nodes the data is to be in quorum mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicationFactor {
    /// So many: 3, 5 or 7.
    pub replication_factor: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        let promotion: Promotion =
            serde_json::from_str(r#"{"node": "b", "acceptSplitBrain": true}"#).unwrap();
        assert!(promotion.accept_split_brain && !promotion.force);
        let unknown = serde_json::from_str::<Promotion>(r#"{"node": "b", "split": true}"#).unwrap_err();
        assert!(unknown.to_string().contains("acceptSplitBrain"), "{unknown}");
        let wanted: WantedMode = serde_json::from_str(r#"{"mode": "Quorum"}"#).unwrap();
        assert_eq!(
            wanted,
            WantedMode {
                mode: Mode::Quorum,
                leader: None
            }
        );
        let mode = serde_json::from_str::<WantedMode>(r#"{"mode": "quorum"}"#).unwrap_err();
        assert!(mode.to_string().contains("`OneLeader` or `Quorum`"), "{mode}");
        let failover = Failover {
            policy: FailoverPolicy::Automatic,
            delay: Some("30s".to_owned()),
        };
        let text = serde_json::to_string(&failover).unwrap();
        assert_eq!(text, r#"{"policy":"Automatic","delay":"30s"}"#);
    }

    #[test]
    fn a_token_is_not_shown_by_accident() {
        let token = JoinToken {
            token: "secret".to_owned(),
            seeds: vec!["a:1".to_owned()],
            expires: "2026-01-01T00:00:00Z".to_owned(),
        };
        let shown = format!("{token:?}");
        assert!(!shown.contains("secret") && shown.contains("a:1"), "{shown}");
    }
}
