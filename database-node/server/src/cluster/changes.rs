//! What is asked of the cluster by the names of its nodes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use pliantdb_cluster::meta::{Consent, Failover, MetaCommand, MetaOutcome};
use pliantdb_cluster::{META, Meta, Mode, NodeId};
use pliantdb_cluster_member::ChangeError;
use pliantdb_cluster_transport::TokenError;
use pliantdb_core::admin;

use super::{Cluster, status};

/// For how long a token is good when nothing is said.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Why the cluster was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdminError {
    /// What was asked cannot be right.
    #[error("{right}")]
    Invalid {
        /// The member of the body.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        right: String,
    },
    /// No node has that name.
    #[error("no node of the cluster is called {name:?}; there are {}", known.join(", "))]
    UnknownNode {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// It cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// Nobody can decide it at the moment.
    #[error("{0}")]
    Undecided(String),
    /// It may have been done.
    #[error("{0}")]
    Unknown(String),
}

type Done<T = ()> = Result<T, AdminError>;

impl Cluster {
    /// How the cluster is.
    pub(crate) async fn status(&self) -> Done<admin::ClusterStatus> {
        let status = self.member.status().await;
        let status = status.map_err(|error| AdminError::Undecided(error.to_string()))?;
        Ok(status::shown(status))
    }

    /// A token with which one node can join.
    pub(crate) async fn join_token(&self, asked: admin::NewJoinToken) -> Done<admin::JoinToken> {
        let lifetime = match &asked.lifetime {
            None => TOKEN_LIFETIME,
            Some(text) => duration("lifetime", text, "write a duration up to 168h, as in 30m or 12h")?,
        };
        let expires = SystemTime::now().checked_add(lifetime);
        let expires = expires.and_then(|expires| Timestamp::try_from(expires).ok());
        let made = self.member.make_join_token(lifetime).await;
        let (token, maker) = made.map_err(|error| match error {
            TokenError::NotMade(reason) => AdminError::Refused(reason),
            error => {
                tracing::error!(%error, "no token to join with can be made");
                AdminError::Undecided("the token cannot be kept; the server's log says why".to_owned())
            }
        })?;
        let meta = self.meta()?;
        let address = |node: &NodeId| {
            let record = meta.nodes().get(node)?;
            record.attributes.get(pliantdb_cluster_member::ADDRESS).cloned()
        };
        // The one that knows the token comes first.
        let others = meta.nodes().keys().filter(|node| **node != maker);
        Ok(admin::JoinToken {
            token: token.reveal(),
            seeds: [&maker].into_iter().chain(others).filter_map(address).collect(),
            expires: expires
                .unwrap_or(Timestamp::MAX)
                .round(jiff::Unit::Second)
                .unwrap_or(Timestamp::MAX)
                .to_string(),
        })
    }

    /// Lets a node hold data no longer, or again.
    pub(crate) async fn drain(&self, name: &str, is_draining: bool) -> Done {
        let node = self.node(name)?;
        self.change(MetaCommand::SetDraining { node, is_draining })
            .await?;
        Ok(())
    }

    /// Takes a node out of the cluster: one that holds nothing any more, or one that is lost with what it holds.
    pub(crate) async fn remove(&self, name: &str, is_lost: bool) -> Done {
        let node = self.node(name)?;
        self.change(MetaCommand::RemoveNode { node, is_lost }).await?;
        Ok(())
    }

    /// Brings the cluster into a mode, or back into that of before.
    pub(crate) async fn set_mode(&self, wanted: admin::WantedMode) -> Done<admin::Begun> {
        let meta = self.meta()?;
        let to = match (wanted.mode, wanted.leader) {
            (admin::Mode::Quorum, None) => Mode::Quorum,
            (admin::Mode::Quorum, Some(leader)) => {
                let right = "in quorum mode no node leads alone: leave the leader out".to_owned();
                return Err(invalid("leader", &leader, right));
            }
            (admin::Mode::OneLeader, Some(leader)) => Mode::OneLeader {
                leader: named(&meta, &leader)?,
            },
            (admin::Mode::OneLeader, None) => Mode::OneLeader {
                leader: leader_by_default(&meta),
            },
        };
        match meta.switch() {
            Some(switch) if !switch.is_aborting && switch.to == to => Ok(begun(&meta)),
            Some(switch) if switch.is_aborting && meta.mode() == to => Ok(begun(&meta)),
            Some(switch) if meta.mode() == to => {
                let abort = MetaCommand::AbortSwitch { switch: switch.id };
                self.change(abort).await?;
                Ok(begun(&meta))
            }
            None if meta.mode() == to => Ok(begun(&meta)),
            // The node that decides may know better.
            _ => self.begin(to).await,
        }
    }

    /// Lets another node lead.
    pub(crate) async fn promote(&self, asked: admin::Promotion) -> Done<admin::Begun> {
        let meta = self.meta()?;
        let node = asked.node.as_deref().map(|name| named(&meta, name)).transpose()?;
        let is_quorum = meta.mode() == Mode::Quorum;
        match (asked.force, node) {
            (_, Some(_)) if is_quorum => Err(AdminError::Refused(
                "in quorum mode no node leads alone; set the mode to OneLeader for that. To let databases go on of which most \
                 voters are gone for good, force without naming a node"
                    .to_owned(),
            )),
            (false, None) => Err(invalid("node", "", "name the node that is to lead".to_owned())),
            (false, Some(_)) if asked.old_leader_is_gone || asked.accept_split_brain || asked.alone => {
                let right = "oldLeaderIsGone, acceptSplitBrain and alone are for a promotion by force".to_owned();
                Err(invalid("force", "false", right))
            }
            (false, Some(leader)) => {
                let to = Mode::OneLeader { leader };
                let is_on_its_way = meta.switch().is_some_and(|switch| switch.to == to && !switch.is_aborting);
                match is_on_its_way || (meta.switch().is_none() && meta.mode() == to) {
                    true => Ok(begun(&meta)),
                    false => self.begin(to).await,
                }
            }
            (true, None) if !is_quorum => {
                let right = "name the node that is to lead".to_owned();
                Err(invalid("node", "", right))
            }
            (true, node) => self.force(&asked, node, &meta).await,
        }
    }

    async fn force(&self, asked: &admin::Promotion, node: Option<NodeId>, meta: &Meta) -> Done<admin::Begun> {
        let consent = match (asked.old_leader_is_gone, asked.accept_split_brain) {
            (true, false) => Consent::ProcessGone,
            (false, true) => Consent::AcceptSplitBrain,
            (true, true) | (false, false) => {
                let right = "to force, say either oldLeaderIsGone (its process has ended, and is kept from starting until the \
                             promotion has ended) or acceptSplitBrain (it may go on acknowledging writes that are lost)";
                let value = match asked.old_leader_is_gone {
                    true => "both",
                    false => "neither",
                };
                return Err(invalid("force", value, right.to_owned()));
            }
        };
        let outcome = match asked.alone {
            false => self.member.force(node, consent).await,
            true if node.is_some() && node != self.member.node() => {
                let right = "a node goes on alone when it is asked itself: ask it".to_owned();
                let name = asked.node.as_deref().unwrap_or_default();
                return Err(invalid("node", name, right));
            }
            true => self.member.force_alone(consent).await,
        };
        outcome.map_err(|error| match from_change(error, meta) {
            AdminError::Undecided(reason) if !asked.alone => AdminError::Undecided(format!(
                "{reason}. If most of those that decide are gone for good, a node goes on alone: ask it itself, with alone"
            )),
            error => error,
        })?;
        Ok(admin::Begun { switch: None })
    }

    /// Sets what happens when the leader is gone.
    pub(crate) async fn set_failover(&self, wanted: admin::Failover) -> Done {
        let right = "write a duration from 3s to 24h, as in 30s";
        let failover = match (wanted.policy, wanted.delay.as_deref()) {
            (admin::FailoverPolicy::Manual, None) => Failover::Manual,
            (admin::FailoverPolicy::Manual, Some(delay)) => {
                let right = "a delay is for the policy Automatic: leave it out".to_owned();
                return Err(invalid("delay", delay, right));
            }
            (admin::FailoverPolicy::Automatic, None) => {
                return Err(invalid(
                    "delay",
                    "",
                    format!("with the policy Automatic, {right}"),
                ));
            }
            (admin::FailoverPolicy::Automatic, Some(delay)) => Failover::Automatic {
                delay: duration("delay", delay, right)?,
            },
        };
        self.change(MetaCommand::SetFailover(failover)).await?;
        Ok(())
    }

    /// Sets on how many nodes the data is in quorum mode.
    pub(crate) async fn set_replication_factor(&self, wanted: admin::ReplicationFactor) -> Done {
        let factor = wanted.replication_factor;
        if ![3, 5, 7].contains(&factor) {
            let right = "choose 3, 5 or 7".to_owned();
            return Err(invalid("replicationFactor", &factor.to_string(), right));
        }
        self.change(MetaCommand::SetReplicationFactor(factor)).await?;
        Ok(())
    }

    async fn begin(&self, to: Mode) -> Done<admin::Begun> {
        match self.change(MetaCommand::Switch { to }).await? {
            MetaOutcome::Switch(id) => Ok(admin::Begun {
                switch: Some(id.get()),
            }),
            MetaOutcome::Done | MetaOutcome::Node(_) | MetaOutcome::Group(_) => {
                Ok(admin::Begun { switch: None })
            }
        }
    }

    async fn change(&self, command: MetaCommand) -> Done<MetaOutcome> {
        let meta = self.meta()?;
        let changed = self.member.change(command).await;
        changed.map_err(|error| from_change(error, &meta))
    }

    fn meta(&self) -> Done<Arc<Meta>> {
        let not_yet = || AdminError::Undecided("this node is not yet part of a cluster".to_owned());
        self.member.meta().ok_or_else(not_yet)
    }

    fn node(&self, name: &str) -> Done<NodeId> {
        let meta = self.meta()?;
        named(&meta, name)
    }
}

fn begun(meta: &Meta) -> admin::Begun {
    admin::Begun {
        switch: meta.switch().map(|switch| switch.id.get()),
    }
}

/// Who leads when it is not said: who does, or who decides about the cluster.
fn leader_by_default(meta: &Meta) -> NodeId {
    match meta.mode() {
        Mode::OneLeader { leader } => leader,
        Mode::Quorum => meta.group(META).map_or(NodeId::FIRST, |group| group.leader),
    }
}

fn named(meta: &Meta, name: &str) -> Done<NodeId> {
    let mut nodes = meta.nodes().iter();
    let found = nodes.find(|(_, record)| record.name == name);
    found
        .map(|(node, _)| *node)
        .ok_or_else(|| AdminError::UnknownNode {
            name: pliantdb_core::shorten(name).into_owned(),
            known: meta.nodes().values().map(|record| record.name.clone()).collect(),
        })
}

fn invalid(field: &'static str, value: &str, right: String) -> AdminError {
    AdminError::Invalid {
        field,
        value: value.to_owned(),
        right,
    }
}

fn duration(field: &'static str, text: &str, right: &str) -> Done<Duration> {
    let parsed = text.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    let parsed = parsed.filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| invalid(field, text, right.to_owned()))
}

fn from_change(error: ChangeError, meta: &Meta) -> AdminError {
    let text = with_names(&error, meta);
    match error {
        ChangeError::Refused(_) | ChangeError::Rejected(_) => AdminError::Refused(text),
        ChangeError::Unavailable(_) => AdminError::Undecided(text),
        ChangeError::Unknown => AdminError::Unknown(text),
    }
}

/// A text in which the numbers of nodes are followed by their names.
fn with_names(text: &impl fmt::Display, meta: &Meta) -> String {
    let text = text.to_string();
    let words = text.split(' ').map(|word| {
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(word.len());
        let (number, rest) = word.split_at(end);
        let mut nodes = meta.nodes().iter();
        match nodes.find(|(node, _)| node.to_string() == number) {
            Some((_, record)) => format!("{number} ({}){rest}", record.name),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pliantdb_cluster::meta::{NodeRecord, NodeState};

    use super::*;

    fn meta() -> Meta {
        Meta::found(
            1,
            NodeRecord {
                name: "db-1".to_owned(),
                token: 1,
                attributes: BTreeMap::new(),
                state: NodeState::Active,
                apply_version: 1,
            },
        )
    }

    #[test]
    fn nodes_are_known_by_name() {
        let meta = meta();
        assert_eq!(named(&meta, "db-1"), Ok(NodeId::FIRST));
        let unknown = named(&meta, "db-2").unwrap_err().to_string();
        assert!(
            unknown.contains("\"db-2\"") && unknown.ends_with("there are db-1"),
            "{unknown}"
        );
        let told = with_names(&"node n1 still leads; n11, and n1; go on", &meta);
        assert_eq!(told, "node n1 (db-1) still leads; n11, and n1 (db-1); go on");
    }
}
