//! Faults that strike where and when it matters.

use pliantdb_cluster::{META, NodeId};
use pliantdb_core::GroupId;
use pliantdb_storage::store::Fault;
use rand::RngExt;

use super::{Faults, Mending};
use crate::clients::Clients;
use crate::steps::{Step, Stepped};
use crate::world::{MS, SECOND, Time, World};

impl Faults {
    /// A node has taken a step: now and then it is struck right there.
    pub fn stepped(&mut self, world: &mut World, clients: &mut Clients, stepped: Stepped) {
        let Stepped {
            host,
            step,
            group,
            to,
        } = stepped;
        if self.stopped || !self.begun {
            return;
        }
        if step == Step::SnapshotMarked {
            // It is the disk that was to fail there.
            return self.count(step);
        }
        if !world.random.random_bool(chance(step)) {
            return;
        }
        self.count(step);
        world.say(|| format!("a fault strikes machine {host} after {step:?} of {group:?}"));
        match (step, group, to) {
            (Step::HandedOver, Some(group), Some(to)) if world.random.random_bool(0.7) => {
                self.deafen(world, clients, group, host, to);
            }
            (Step::SnapshotStaged, ..) if world.random.random_bool(0.7) => self.fail_installing(world, host),
            _ => match world.random.random_range(0..10) {
                0..5 => self.crash(world, host),
                5..9 => self.cut(world, host),
                _ => self.slow(world, host),
            },
        }
    }

    fn count(&mut self, step: Step) {
        self.struck += 1;
        *self.struck_after.entry(step).or_default() += 1;
    }

    /// A leader that has handed over hears nobody for a while, and not that another leads either.
    fn deafen(&mut self, world: &mut World, clients: &mut Clients, group: GroupId, from: usize, to: usize) {
        let others = (0..world.hosts.len()).filter(|host| *host != from);
        world.network.cut.extend(others.map(|other| (other, from)));
        world.say(|| format!("machine {from} hears nobody"));
        self.mend(world, 600 * MS..1_500 * MS, Mending::Network);
        let lasting = 1_200 * MS;
        clients.watch(
            world,
            group,
            &[(from, false), (to, true), (to, true)],
            (0, lasting),
        );
    }

    /// The disk fails while a snapshot is put in place.
    fn fail_installing(&mut self, world: &mut World, host: usize) {
        let batches = world.random.random_range(1..5);
        if let Some(machine) = world.hosts.get(host) {
            machine.state.set_fault(Fault::NoSpaceAfter { batches });
        }
        world.say(|| format!("the disk of machine {host} is full after {batches} more batches"));
        self.mend(world, SECOND..3 * SECOND, Mending::Room(host));
    }

    /// A leader is alone for a while, as its clients go on asking it, and others those that are to come after it.
    pub(super) fn isolate_leader(&mut self, world: &mut World, clients: &mut Clients) {
        let Some((group, leader, others)) = Self::led_by_quorum(world) else {
            return;
        };
        let all = (0..world.hosts.len()).filter(|host| *host != leader);
        let pairs = all.flat_map(|other| [(other, leader), (leader, other)]);
        world.network.cut.extend(pairs);
        world.say(|| format!("machine {leader} is alone"));
        self.mend(world, 2 * SECOND..4 * SECOND, Mending::Network);
        let mut watchers = vec![(leader, false), (leader, false)];
        watchers.extend(others.iter().map(|host| (*host, true)));
        clients.watch(world, group, &watchers, (300 * MS, 2 * SECOND));
    }

    /// A leader is heard by one voter only, and that one starts anew just when another looks for votes.
    pub(super) fn cut_and_blink(&mut self, world: &mut World, clients: &mut Clients) {
        let Some((group, leader, others)) = Self::led_by_quorum(world) else {
            return;
        };
        // Who starts has to learn from the leader of the meta group what was decided before it may vote.
        let supervises = |host: usize| {
            let process = world.hosts.get(host).and_then(|machine| machine.process.as_ref());
            process.is_some_and(|process| process.node.leads(META))
        };
        let turns = world.random.random_range(0..others.len());
        let turned = others.iter().cycle().skip(turns).take(others.len());
        let Some(blinking) = turned.copied().find(|host| !supervises(*host)) else {
            return;
        };
        let both = |other: usize| [(leader, other), (other, leader)];
        let lonely: Vec<usize> = others.iter().copied().filter(|host| *host != blinking).collect();
        world.say(|| format!("machine {leader} is not heard by {lonely:?}, and {blinking} is to blink"));
        // Whoever has not all that is committed is not elected, so it helps when nobody writes.
        clients.rest_from_writing(group, world.now() + 4 * SECOND);
        let cut = lonely.iter().flat_map(|other| both(*other)).collect();
        world.schedule(150 * MS, super::happening(Mending::Cut(cut)));
        let at: Time = world.random.random_range(700 * MS..1_900 * MS);
        world.schedule(at, super::happening(Mending::Blink(blinking)));
        world.schedule(at, super::happening(Mending::Cut(both(blinking).to_vec())));
        let lasting = 1_200 * MS;
        let mut watchers = vec![(leader, false), (leader, false)];
        watchers.extend(lonely.iter().map(|host| (*host, true)));
        clients.watch(world, group, &watchers, (at, lasting));
        self.mend(world, 3 * SECOND..5 * SECOND, Mending::Network);
    }

    /// A shard that is led by one of several voters: its leader's machine, which does not lead the meta group, and those
    /// of the other voters.
    pub(super) fn led_by_quorum(world: &mut World) -> Option<(GroupId, usize, Vec<usize>)> {
        let mut found = Vec::new();
        for (host, machine) in world.hosts.iter().enumerate() {
            let Some(process) = machine
                .process
                .as_ref()
                .filter(|process| !process.node.leads(META))
            else {
                continue;
            };
            for report in process.node.replicas() {
                let members = &report.config.members;
                let is_led = report.group != META && process.node.leads(report.group);
                if !is_led || members.voters.len() < 3 || members.is_joint() {
                    continue;
                }
                let node_of = |replica: &pliantdb_cluster::ReplicaId| -> NodeId { replica.node() };
                let voters = members.voters.iter().map(node_of);
                let others = voters
                    .filter_map(|node| world.host_of(node))
                    .filter(|other| *other != host);
                found.push((report.group, host, others.collect::<Vec<_>>()));
            }
        }
        found.retain(|(_, _, others)| others.len() >= 2);
        match found.len() {
            0 => None,
            count => Some(found.swap_remove(world.random.random_range(0..count))),
        }
    }
}

/// How often a step is struck: more often where it is rare.
fn chance(step: Step) -> f64 {
    match step {
        Step::HandedOver => 0.2,
        Step::Fenced | Step::Settled | Step::LearnerAdded | Step::SnapshotOffered => 0.01,
        Step::SwitchBegun | Step::SwitchEnded | Step::SnapshotInstalled => 0.02,
        Step::JointEntered | Step::JointLeft | Step::ReplicaRemoved => 0.02,
        Step::SnapshotStaged => 0.05,
        Step::SwitchAborted | Step::NodeDrained => 0.03,
        Step::Forced | Step::ForceConfirmed | Step::NodeAdded | Step::NodeRemoved => 0.1,
        Step::SnapshotMarked => 1.0,
    }
}
