//! How commands change what the meta group knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pliantdb_core::{DatabaseName, GroupId, SlotCount};
use pliantdb_storage::group::Shard;
use pliantdb_storage::node::Heritage;
use pliantdb_storage::{DatabaseEntry, DatabaseId};

use super::{
    Consent, Failover, Force, GroupRecord, META, Meta, MetaCommand, MetaOutcome, MetaRejection, Mode,
    NodeRecord, NodeState, Switch,
};
use crate::group::config::Members;
use crate::ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};
use crate::mistakes::{Mistake, has};

type Outcome = Result<MetaOutcome, MetaRejection>;

/// How many nodes a majority of which can vouch for a leader when any one of them is gone.
const MAJORITY_NODES: usize = 3;

impl Meta {
    /// Applies a command, which lies at an index of the log. A refused one changes nothing.
    ///
    /// # Errors
    /// [`MetaRejection`], the same on every node.
    pub fn apply(&mut self, command: &MetaCommand, index: u64) -> Outcome {
        let (mode, failover) = (self.mode, self.failover);
        let outcome = match command {
            MetaCommand::AddNode {
                name,
                token,
                attributes,
                apply_version,
            } => self.add_node(NodeRecord {
                name: name.clone(),
                token: *token,
                attributes: attributes.clone(),
                state: NodeState::Active,
                apply_version: *apply_version,
            }),
            MetaCommand::SetApplyVersion { node, apply_version } => {
                self.node(*node)?.apply_version = *apply_version;
                Ok(MetaOutcome::Done)
            }
            MetaCommand::SetDraining { node, is_draining } => self.set_draining(*node, *is_draining),
            MetaCommand::RemoveNode { node, is_lost } => self.remove_node(*node, *is_lost),
            MetaCommand::CreateDatabase { name, slots } => self.create_database(name, *slots),
            MetaCommand::DeleteDatabase { name } => self.delete_database(name),
            MetaCommand::SetAttributes { node, attributes } => {
                self.node(*node)?.attributes.clone_from(attributes);
                Ok(MetaOutcome::Done)
            }
            MetaCommand::ChangeAccounts(change) => {
                self.accounts.change(change)?;
                Ok(MetaOutcome::Done)
            }
            MetaCommand::Switch { to } => self.begin_switch(*to),
            MetaCommand::AbortSwitch { switch } => self.abort_switch(*switch),
            MetaCommand::Settled { group, epoch } => self.settle(*group, *epoch),
            MetaCommand::SetFailover(failover) => self.set_failover(*failover),
            MetaCommand::SetReplicationFactor(factor) => self.set_replication_factor(*factor),
            MetaCommand::ReplaceReplica { group, replica } => self.replace_replica(*group, *replica),
            MetaCommand::Force(force) => self.force(force),
            MetaCommand::ForceAnother {
                group,
                epoch,
                replica,
                fork,
                gone,
            } => {
                let outcome = self.force_another(*group, *epoch, *replica, *fork);
                if outcome.is_ok() {
                    self.lead_instead(*gone, replica.node());
                }
                outcome
            }
            MetaCommand::ConfirmForce { group, epoch } => self.confirm_force(*group, *epoch),
            MetaCommand::ArmFailover { as_of } => {
                if self.unarmed_since == Some(*as_of) && self.switch.is_none() {
                    self.unarmed_since = None;
                }
                Ok(MetaOutcome::Done)
            }
        }?;
        match command.only_group(&outcome) {
            Some(group) => self.retarget_these(&[group]),
            None => self.retarget(),
        }
        self.finish_switch();
        self.note_shortage();
        // Whoever leads now may not know yet that it needs a lease.
        if (mode, failover) != (self.mode, self.failover) || self.switch.is_some() {
            self.unarmed_since = Some(index);
        }
        // The gate opens when the last node can, and never closes.
        let all_know = self.nodes.values().map(|node| node.apply_version).min();
        self.apply_version = self.apply_version.max(all_know.unwrap_or_default());
        Ok(outcome)
    }

    fn node(&mut self, node: NodeId) -> Result<&mut NodeRecord, MetaRejection> {
        self.nodes.get_mut(&node).ok_or(MetaRejection::UnknownNode(node))
    }

    fn refuse_during_switch(&self) -> Result<(), MetaRejection> {
        self.switch
            .map_or(Ok(()), |switch| Err(MetaRejection::SwitchUnderWay(switch.id)))
    }

    /// The life of the meta group.
    fn meta_incarnation(&self) -> Incarnation {
        let record = self.groups.get(&META);
        record.map_or(Incarnation::FIRST, |record| record.incarnation)
    }

    fn need_nodes(&self, what: &str, needed: usize, found: usize) -> Result<(), MetaRejection> {
        match found < needed {
            true => {
                let what = what.to_owned();
                Err(MetaRejection::TooFewNodes { what, needed, found })
            }
            false => Ok(()),
        }
    }

    fn add_node(&mut self, node: NodeRecord) -> Outcome {
        for (id, known) in &self.nodes {
            if known.token == node.token {
                return Ok(MetaOutcome::Node(*id));
            }
            if known.name == node.name {
                let (name, node) = (node.name, *id);
                return Err(MetaRejection::NameTaken { name, node });
            }
        }
        if node.apply_version < self.apply_version {
            return Err(MetaRejection::Invalid(format!(
                "the node applies commands up to version {}, and the cluster writes version {}; run a later version",
                node.apply_version, self.apply_version
            )));
        }
        self.last_node += 1;
        let id = NodeId::new(self.last_node);
        self.nodes.insert(id, node);
        Ok(MetaOutcome::Node(id))
    }

    fn set_draining(&mut self, node: NodeId, is_draining: bool) -> Outcome {
        let state = self.node(node)?.state;
        if is_draining && state == NodeState::Active {
            self.refuse_if_leader(node)?;
            let left = self.active().count() - 1;
            if self.mode == Mode::Quorum || self.goal() == Mode::Quorum {
                self.need_nodes("quorum mode", usize::from(self.replication_factor), left)?;
            }
            self.refuse_automatic_below(left)?;
        }
        self.node(node)?.state = match is_draining {
            true => NodeState::Draining,
            false => NodeState::Active,
        };
        Ok(MetaOutcome::Done)
    }

    fn refuse_if_leader(&self, node: NodeId) -> Result<(), MetaRejection> {
        let leads = |mode: Mode| matches!(mode, Mode::OneLeader { leader } if leader == node);
        match leads(self.mode) || leads(self.goal()) {
            true => Err(MetaRejection::IsLeader(node)),
            false => Ok(()),
        }
    }

    fn refuse_automatic_below(&self, left: usize) -> Result<(), MetaRejection> {
        match self.failover {
            Failover::Automatic { .. } => self.need_nodes("automatic failover", MAJORITY_NODES, left),
            Failover::Manual => Ok(()),
        }
    }

    fn remove_node(&mut self, node: NodeId, is_lost: bool) -> Outcome {
        let state = self.node(node)?.state;
        self.refuse_if_leader(node)?;
        self.need_nodes(
            "a cluster",
            1,
            self.active().filter(|other| *other != node).count(),
        )?;
        let shards = self.groups.iter().filter(|(group, _)| **group != META);
        let holds = shards.filter(|(_, record)| record.replicas.contains_key(&node));
        let groups = holds.count();
        let is_held = groups > 0 || self.groups.values().any(|record| !record.is_settled());
        if !is_lost && (state == NodeState::Active || is_held) {
            return Err(MetaRejection::HoldsGroups { node, groups });
        }
        self.nodes.remove(&node);
        Ok(MetaOutcome::Done)
    }

    pub(crate) fn create_database(&mut self, name: &DatabaseName, slots: SlotCount) -> Outcome {
        let shards = self.groups.values().filter_map(|record| record.shard.as_ref());
        if shards.clone().any(|shard| shard.database == *name) {
            return Err(MetaRejection::DatabaseExists(name.clone()));
        }
        self.last_group += 1;
        let group = GroupId::new(self.last_group);
        // A database begins as one shard, so the number of its first group is free for it.
        let id = u32::try_from(self.last_group).ok().and_then(DatabaseId::new);
        let id = id.ok_or_else(|| MetaRejection::Invalid("there are too many databases".to_owned()))?;
        let shard = Shard {
            database: name.clone(),
            entry: DatabaseEntry { id, slots },
            first_slot: 0,
            end_slot: slots.get(),
        };
        self.add_group(group, Some(shard));
        Ok(MetaOutcome::Group(group))
    }

    /// Takes over the databases and accounts of a storage: each database is one group, of the same number.
    pub(crate) fn inherit(&mut self, heritage: &Heritage) {
        for (name, entry) in &heritage.databases {
            let group = GroupId::new(entry.id.get().into());
            let shard = Shard {
                database: name.clone(),
                entry: *entry,
                first_slot: 0,
                end_slot: entry.slots.get(),
            };
            self.add_group(group, Some(shard));
            // Nobody begins with an empty state.
            if let Some(record) = self.groups.get_mut(&group) {
                record.founders = Members::default();
            }
        }
        self.last_group = self.last_group.max(heritage.last_database.into());
        self.accounts = heritage.accounts.clone();
    }

    fn delete_database(&mut self, name: &DatabaseName) -> Outcome {
        let groups = self.groups.iter();
        let mut of_name = groups.filter(|(_, record)| {
            let shard = record.shard.as_ref();
            shard.is_some_and(|shard| shard.database == *name)
        });
        let group = of_name.next().map(|(group, _)| *group);
        let group = group.ok_or_else(|| MetaRejection::UnknownDatabase(name.clone()))?;
        self.groups.remove(&group);
        Ok(MetaOutcome::Done)
    }

    /// Adds a group as it is to be now, with everybody who is to be in it as a founder.
    pub(super) fn add_group(&mut self, group: GroupId, shard: Option<Shard>) {
        let record = GroupRecord {
            shard,
            incarnation: Incarnation::FIRST.within(self.meta_incarnation()),
            replicas: BTreeMap::new(),
            voters: BTreeSet::new(),
            leader: NodeId::FIRST,
            epoch: self.epoch,
            settled: self.epoch,
            founders: Members::default(),
            forced: None,
            former: BTreeMap::new(),
            tried: BTreeSet::new(),
            retiring: BTreeMap::new(),
            generations: BTreeMap::new(),
        };
        self.groups.insert(group, record);
        self.retarget_these(&[group]);
        if let Some(record) = self.groups.get_mut(&group) {
            record.founders = Members::new(record.voting(), record.learning());
        }
    }

    fn begin_switch(&mut self, to: Mode) -> Outcome {
        self.refuse_during_switch()?;
        if to == self.mode {
            return Err(MetaRejection::NothingToDo);
        }
        match to {
            Mode::Quorum => {
                let needed = usize::from(self.replication_factor).max(MAJORITY_NODES);
                self.need_nodes("quorum mode", needed, self.active().count())?;
            }
            Mode::OneLeader { leader } => {
                if self.node(leader)?.state != NodeState::Active {
                    return Err(MetaRejection::Invalid(format!("node {leader} is draining")));
                }
            }
        }
        // The id must be new also when nothing has to move.
        self.epoch = self.epoch.next();
        let id = self.epoch;
        self.switch = Some(Switch {
            id,
            to,
            is_aborting: false,
        });
        // Every group has to be seen as wanted after this.
        for record in self.groups.values_mut() {
            record.epoch = id;
        }
        Ok(MetaOutcome::Switch(id))
    }

    fn abort_switch(&mut self, id: Epoch) -> Outcome {
        let switch = self.switch.as_mut().filter(|switch| switch.id == id);
        let switch = switch.ok_or(MetaRejection::NoSuchSwitch(id))?;
        if switch.is_aborting {
            return Err(MetaRejection::NothingToDo);
        }
        switch.is_aborting = true;
        self.epoch = self.epoch.next();
        for record in self.groups.values_mut() {
            record.epoch = self.epoch;
        }
        Ok(MetaOutcome::Done)
    }

    fn settle(&mut self, group: GroupId, epoch: Epoch) -> Outcome {
        let record = self.groups.get_mut(&group);
        let record = record.ok_or(MetaRejection::UnknownGroup(group))?;
        if record.epoch != epoch {
            let (as_of, now) = (epoch, record.epoch);
            return Err(MetaRejection::Outdated { as_of, now });
        }
        record.settled = epoch;
        record.retiring.clear();
        Ok(MetaOutcome::Done)
    }

    /// Ends the change under way when every group is where it leads.
    fn finish_switch(&mut self) {
        let Some(switch) = self.switch else {
            return;
        };
        if !self.groups.values().all(GroupRecord::is_settled) {
            return;
        }
        if !switch.is_aborting {
            self.mode = switch.to;
        }
        self.switch = None;
        self.retarget();
    }

    /// A lost node leaves groups with fewer voters than it takes to lose another; it is over when all have grown again.
    fn note_shortage(&mut self) {
        let is_short = |record: &GroupRecord| record.voters.len() < MAJORITY_NODES;
        match self.mode {
            Mode::Quorum if self.groups.values().any(is_short) => self.is_short = true,
            Mode::Quorum if !self.groups.values().all(GroupRecord::is_settled) => {}
            _ => self.is_short = false,
        }
    }

    fn set_failover(&mut self, failover: Failover) -> Outcome {
        if let Failover::Automatic { delay } = failover {
            self.need_nodes("automatic failover", MAJORITY_NODES, self.active().count())?;
            let (least, most) = (Duration::from_secs(3), Duration::from_secs(24 * 3600));
            if delay < least || delay > most {
                return Err(MetaRejection::Invalid(format!(
                    "the failover delay is {delay:?}; choose {least:?} to 24 hours"
                )));
            }
        }
        self.failover = failover;
        Ok(MetaOutcome::Done)
    }

    fn set_replication_factor(&mut self, factor: u8) -> Outcome {
        if factor < 3 || factor.is_multiple_of(2) || factor > 7 {
            return Err(MetaRejection::Invalid(format!(
                "the replication factor is {factor}; choose 3, 5 or 7"
            )));
        }
        if self.mode == Mode::Quorum || self.goal() == Mode::Quorum {
            self.need_nodes(
                "this replication factor",
                usize::from(factor),
                self.active().count(),
            )?;
        }
        self.replication_factor = factor;
        Ok(MetaOutcome::Done)
    }

    fn replace_replica(&mut self, group: GroupId, replica: ReplicaId) -> Outcome {
        let next = self.epoch.next();
        let record = self.groups.get_mut(&group);
        let record = record.ok_or(MetaRejection::UnknownGroup(group))?;
        let node = replica.node();
        if record.replicas.get(&node) != Some(&replica) {
            return Err(MetaRejection::UnknownReplica { group, replica });
        }
        record.renew(node);
        record.epoch = next;
        self.epoch = next;
        Ok(MetaOutcome::Done)
    }

    fn force(&mut self, force: &Force) -> Outcome {
        if force.as_of != self.epoch {
            let (as_of, now) = (force.as_of, self.epoch);
            return Err(MetaRejection::Outdated { as_of, now });
        }
        if force.holders.is_empty() {
            return Err(MetaRejection::NothingToDo);
        }
        // Decided before and applied after the terms of the lease were changed: the leader may go by the new ones.
        let goes_by_lease = self.leased().is_some() && self.unarmed_since.is_none();
        let is_blind = has(Mistake::LossyFailoverDuringSwitch);
        if force.consent == Consent::LeaseExpired && !goes_by_lease && !is_blind {
            let reason = "the leader does not go by the lease that is said to have run out".to_owned();
            return Err(MetaRejection::Invalid(reason));
        }
        for (group, (replica, _)) in &force.holders {
            let record = self
                .groups
                .get(group)
                .ok_or(MetaRejection::UnknownGroup(*group))?;
            if !record.can_go_on_with(*replica) {
                let (group, replica) = (*group, *replica);
                return Err(MetaRejection::UnknownReplica { group, replica });
            }
        }
        if let Some(leader) = force.leader {
            // It is needed, whatever was meant for it before.
            self.node(leader)?.state = NodeState::Active;
            self.mode = Mode::OneLeader { leader };
        }
        // Whatever was under way ends here, whether or not its groups were forced. In quorum mode it is given up: a
        // group that has shrunk gives less until it has grown again.
        match (&mut self.switch, force.leader) {
            (Some(switch), None) => switch.is_aborting = true,
            (switch, _) => *switch = None,
        }
        self.epoch = self.epoch.max(force.heard).next();
        let epoch = self.epoch;
        for record in self.groups.values_mut() {
            record.epoch = epoch;
        }
        // The meta group comes first: what it decides from then on is of its new life.
        for (group, (replica, fork)) in &force.holders {
            let meta = (*group != META).then(|| self.meta_incarnation());
            if let Some(record) = self.groups.get_mut(group) {
                record.go_on_with(*replica, *fork, epoch, meta);
            }
        }
        Ok(MetaOutcome::Done)
    }

    /// Lets another replica of the life before go on instead of the one that was forced.
    fn force_another(&mut self, group: GroupId, as_of: Epoch, to: ReplicaId, fork: LogPoint) -> Outcome {
        let (next, meta) = (self.epoch.next(), self.meta_incarnation());
        let record = self.groups.get_mut(&group);
        let record = record.ok_or(MetaRejection::UnknownGroup(group))?;
        let forced = record.unconfirmed().ok_or(MetaRejection::NothingToDo)?;
        if forced.epoch != as_of {
            let now = forced.epoch;
            return Err(MetaRejection::Outdated { as_of, now });
        }
        if record.former.get(&to.node()) != Some(&to) {
            return Err(MetaRejection::UnknownReplica { group, replica: to });
        }
        record.go_on_with(to, fork, next, Some(meta));
        record.epoch = next;
        self.epoch = next;
        Ok(MetaOutcome::Done)
    }

    /// The node that was to lead by a promotion is gone, and another takes its place in it.
    fn lead_instead(&mut self, gone: Option<NodeId>, leader: NodeId) {
        let is_led_by = |node: NodeId| self.mode == Mode::OneLeader { leader: node };
        if gone.is_some_and(is_led_by)
            && self.switch.is_none()
            && let Some(node) = self.nodes.get_mut(&leader)
        {
            node.state = NodeState::Active;
            self.mode = Mode::OneLeader { leader };
        }
    }

    fn confirm_force(&mut self, group: GroupId, epoch: Epoch) -> Outcome {
        let record = self.groups.get_mut(&group);
        let record = record.ok_or(MetaRejection::UnknownGroup(group))?;
        let forced = record.forced.as_mut().filter(|forced| !forced.is_confirmed);
        let forced = forced.ok_or(MetaRejection::NothingToDo)?;
        if forced.epoch != epoch {
            let (as_of, now) = (epoch, forced.epoch);
            return Err(MetaRejection::Outdated { as_of, now });
        }
        forced.is_confirmed = true;
        record.former.clear();
        Ok(MetaOutcome::Done)
    }
}
