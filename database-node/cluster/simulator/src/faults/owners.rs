//! What owners do, whatever is under way.

use pliantdb_cluster::meta::{Consent, Failover, MetaCommand, NodeState};
use pliantdb_cluster::node::Ask;
use pliantdb_cluster::{Mode, NodeId};
use pliantdb_core::GroupId;
use rand::RngExt;

use super::{Faults, Mending};
use crate::clients::{Clients, Database};
use crate::world::{MS, SECOND, World};

/// The name of a database that is deleted and made again.
const PASSING: &str = "passing";

impl Faults {
    /// Changes the mode, the leader, or what was asked for before.
    pub(super) fn change(&mut self, world: &mut World) {
        let Some((_, meta)) = Self::meta(world) else {
            return;
        };
        if let Some(switch) = meta.switch() {
            if world.random.random_bool(0.4) {
                self.tell(world, Ask::Change(MetaCommand::AbortSwitch { switch: switch.id }));
            }
            return;
        }
        let active: Vec<NodeId> = meta
            .nodes()
            .iter()
            .filter(|(_, node)| node.state == NodeState::Active)
            .map(|(id, _)| *id)
            .collect();
        if active.is_empty() {
            return;
        }
        let leader = active[world.random.random_range(0..active.len())];
        let to = match meta.mode() {
            Mode::Quorum => Mode::OneLeader { leader },
            Mode::OneLeader { .. } if world.random.random_bool(0.6) => Mode::Quorum,
            Mode::OneLeader { .. } => Mode::OneLeader { leader },
        };
        self.changes += 1;
        world.say(|| format!("the owner wants {to:?}"));
        self.tell(world, Ask::Change(MetaCommand::Switch { to }));
        if world.random.random_bool(0.2) {
            self.mend(world, 10 * MS..2 * SECOND, Mending::Abort);
        }
    }

    pub(super) fn drain_or_keep(&mut self, world: &mut World) {
        let Some((_, meta)) = Self::meta(world) else {
            return;
        };
        let nodes: Vec<NodeId> = meta.nodes().keys().copied().collect();
        if nodes.is_empty() {
            return;
        }
        let node = nodes[world.random.random_range(0..nodes.len())];
        world.say(|| format!("the owner drains {node}"));
        let is_draining = true;
        self.tell(world, Ask::Change(MetaCommand::SetDraining { node, is_draining }));
        self.mend(world, SECOND..15 * SECOND, Mending::Keep(node));
    }

    /// What an owner does when a group cannot go on.
    pub(super) fn look_after(&mut self, world: &mut World, clients: &mut Clients) {
        // Who forces the meta group of two nodes may lose what it knew of a database, and its group is another's then.
        let is_used = self.scenario.nodes > 2 || !self.scenario.is_forced_by_hand;
        if let Some(database) = Self::passing(world).filter(|_| is_used) {
            clients.enter(database);
        }
        if world.random.random_bool(0.1) {
            self.make_or_delete_database(world, clients);
        }
        if !self.scenario.is_forced_by_hand || !world.random.random_bool(0.3) {
            return;
        }
        self.force(world);
    }

    /// Forces groups that cannot go on, by somebody who saw the process of the leader end, or takes the risk.
    pub fn force(&mut self, world: &mut World) {
        let Some((_, meta)) = Self::meta(world) else {
            return;
        };
        let is_up = |node: NodeId| {
            let host = world.host_of(node).and_then(|host| world.hosts.get(host));
            host.is_some_and(crate::world::Host::is_up)
        };
        let voters = |group: &pliantdb_cluster::meta::GroupRecord| group.voters.clone();
        let are_gone = meta
            .groups()
            .values()
            .flat_map(voters)
            .filter(|node| !is_up(*node))
            .count();
        let consent = match are_gone {
            0 => Consent::AcceptSplitBrain,
            _ => Consent::ProcessGone,
        };
        world.say(|| format!("the owner forces what cannot go on: {consent:?}"));
        if let Some(host) = Self::supervising(world) {
            let (token, now) = (self.next_token + 1, world.now());
            self.owners.ask(token, now, host, consent, false);
            return self.tell(
                world,
                Ask::Force {
                    leader: None,
                    consent,
                },
            );
        }
        // Of two nodes one can go on. Of more, a majority that was only away could come back and go on too: whoever
        // forces one of them has to see to it that the others are gone for good.
        // And who lets two go on apart, each in its turn, has two clusters.
        if self.scenario.nodes != 2 || self.has_forced_meta {
            return;
        }
        self.has_forced_meta = true;
        let known = world.hosts.iter().enumerate().filter_map(|(host, machine)| {
            let node = &machine.process.as_ref()?.node;
            node.meta()?;
            Some((node.meta_applied(), host))
        });
        if let Some((_, host)) = known.max() {
            self.next_token += 1;
            self.owners.ask(self.next_token, world.now(), host, consent, true);
            world.ask(host, self.next_token, Ask::ForceMeta { consent });
        }
    }

    /// Declares a node lost, and lets its machine join as another when that is known.
    pub(super) fn replace(&mut self, world: &mut World, host: usize, lost: NodeId) {
        let is_known = Self::meta(world).is_none_or(|(_, meta)| meta.nodes().contains_key(&lost));
        if let Some(database) = Self::passing(world).filter(|found| rests_on(world, found.group, lost)) {
            // It was made when the node that was to lead it was gone already: nobody has anything of it.
            let name = database.name;
            self.tell(world, Ask::Change(MetaCommand::DeleteDatabase { name }));
        }
        if is_known {
            let is_lost = true;
            // Nothing can lead there any more.
            if let Some(switch) = Self::meta(world).and_then(|(_, meta)| meta.switch()) {
                self.tell(world, Ask::Change(MetaCommand::AbortSwitch { switch: switch.id }));
            }
            self.tell(
                world,
                Ask::Change(MetaCommand::RemoveNode { node: lost, is_lost }),
            );
            return self.mend(world, SECOND..2 * SECOND, Mending::Replace { host, lost });
        }
        self.lost.retain(|(node, _)| *node != lost);
        self.end(world, Mending::Join(host));
    }

    /// Makes leaders that are gone be replaced by themselves.
    pub fn set_automatic(&mut self, world: &mut World) {
        let delay = std::time::Duration::from_secs(4);
        self.tell(
            world,
            Ask::Change(MetaCommand::SetFailover(Failover::Automatic { delay })),
        );
    }

    /// Makes a database.
    pub fn create_database(&mut self, world: &mut World, name: &str) {
        if let (Ok(name), Ok(slots)) = (name.parse(), pliantdb_core::SlotCount::try_from(4)) {
            self.tell(world, Ask::Change(MetaCommand::CreateDatabase { name, slots }));
        }
    }

    /// The database that does not stay, when it is there.
    fn passing(world: &World) -> Option<Database> {
        let (_, meta) = Self::meta(world)?;
        let mut groups = meta.groups().iter();
        groups.find_map(|(group, record)| {
            let name = record.shard.as_ref()?.database.clone();
            (name.as_str() == PASSING).then_some(Database { name, group: *group })
        })
    }

    /// Makes the database that does not stay, or deletes it.
    fn make_or_delete_database(&mut self, world: &mut World, clients: &mut Clients) {
        match Self::passing(world) {
            Some(Database { name, group }) => {
                world.say(|| format!("the owner deletes the database {name}, which is group {group}"));
                clients.leave(group);
                self.tell(world, Ask::Change(MetaCommand::DeleteDatabase { name }));
            }
            None => self.create_database(world, PASSING),
        }
    }

    /// Wants a mode.
    pub fn switch(&mut self, world: &mut World, to: Mode) {
        self.tell(world, Ask::Change(MetaCommand::Switch { to }));
    }
}

/// Whether a group has no voters but on one node, as those know it that are there.
fn rests_on(world: &World, group: GroupId, node: NodeId) -> bool {
    let processes = world.hosts.iter().filter_map(|host| host.process.as_ref());
    let replicas = processes.flat_map(|process| process.node.replicas());
    let known = replicas
        .filter(|replica| replica.group == group)
        .max_by_key(|replica| replica.config.changed_at);
    known.is_some_and(|replica| {
        let members = &replica.config.members;
        members.voters.iter().all(|voter| voter.node() == node) && !members.voters.is_empty()
    })
}
