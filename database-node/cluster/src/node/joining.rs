//! How a node becomes one of a cluster: it asks until it is told who it is.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_storage::store::OrderedStore;

use super::{Event, Node};
use crate::ids::{LogPoint, NodeId};
use crate::log::Identity;
use crate::meta::{META, MetaCommand, MetaOutcome, MetaRejection};
use crate::timing::{Instant, Now};
use crate::wire::{Join, Message, Peer};

/// How often a node asks to join.
const ASKING: Duration = Duration::from_secs(1);

/// A node that wants to join.
pub(super) struct Joining {
    token: u128,
    seeds: Vec<Peer>,
    asked: Option<Instant>,
}

impl Joining {
    pub(super) fn new(token: u128, seeds: Vec<Peer>) -> Self {
        Self {
            token,
            seeds,
            asked: None,
        }
    }

    pub(super) fn token(&self) -> u128 {
        self.token
    }
}

/// Those whose joining is proposed, by the index of the entry.
pub(super) type Joiners = BTreeMap<u64, Peer>;

impl<L: OrderedStore> Node<L> {
    pub(super) fn tick_joining(&mut self, now: Now) {
        let Some(joining) = self.joining.as_mut().filter(|_| self.identity.is_none()) else {
            return;
        };
        if joining
            .asked
            .is_some_and(|asked| now.steady.since(asked) < ASKING)
        {
            return;
        }
        joining.asked = Some(now.steady);
        let (token, seeds) = (joining.token, joining.seeds.clone());
        for seed in seeds {
            let join = Join {
                name: self.settings.name.clone(),
                token,
                attributes: self.settings.attributes.clone(),
                apply_version: self.settings.apply_version,
            };
            self.tell(seed, Message::Join(join));
        }
    }

    /// Somebody asks to join: the leader of the meta group decides, and any other node passes it on.
    pub(super) fn join_asked(&mut self, from: Peer, join: Join) {
        let joiner = Peer::Joiner(join.token);
        if !self.is_supervisor() {
            let leader = self.leader(META);
            // Once only, or two that take each other for the leader would do it for ever.
            if let (Some(leader), Peer::Joiner(_)) = (leader, from) {
                self.tell(Peer::Node(leader), Message::Join(join));
            }
            return;
        }
        let known = self.meta().and_then(|meta| {
            let mut nodes = meta.nodes().iter();
            nodes
                .find(|(_, node)| node.token == join.token)
                .map(|(id, _)| *id)
        });
        if let Some(node) = known {
            return self.welcome(joiner, Ok(node));
        }
        let command = MetaCommand::AddNode {
            name: join.name,
            token: join.token,
            attributes: join.attributes,
            apply_version: join.apply_version,
        };
        if let Some(at) = self.propose_change(command)
            && let Some(supervisor) = &mut self.supervisor
        {
            supervisor.joiners.insert(at.index, joiner);
        }
    }

    fn welcome(&mut self, joiner: Peer, node: Result<NodeId, String>) {
        let Some(cluster) = self.identity.map(|identity| identity.cluster) else {
            return;
        };
        self.tell(joiner, Message::Joined { cluster, node });
    }

    /// What came of a proposal may be what a joiner waits for.
    pub(super) fn joined_by(&mut self, at: LogPoint, outcome: &Result<MetaOutcome, MetaRejection>) {
        let joiner = self
            .supervisor
            .as_mut()
            .and_then(|supervisor| supervisor.joiners.remove(&at.index));
        let Some(joiner) = joiner else {
            return;
        };
        match outcome {
            Ok(MetaOutcome::Node(node)) => self.welcome(joiner, Ok(*node)),
            Err(rejection) => self.welcome(joiner, Err(rejection.to_string())),
            // Another leader's entry took the place: the joiner asks again.
            Ok(_) => {}
        }
    }

    pub(super) fn joined(&mut self, cluster: u128, node: Result<NodeId, String>) {
        if self.identity.is_some() || self.joining.is_none() {
            return;
        }
        match node {
            Ok(node) => {
                if let Err(error) = self.become_member(Identity { cluster, node }) {
                    self.log_failed(&error);
                }
                self.joining = None;
            }
            Err(reason) => self.event(Event::CannotJoin(reason)),
        }
    }
}
