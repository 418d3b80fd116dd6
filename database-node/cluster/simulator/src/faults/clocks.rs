//! Clocks that begin to run otherwise while nodes run.

use std::ops::Range;

use pliantdb_cluster::meta::Failover;
use pliantdb_cluster::{META, Mode};
use pliantdb_core::GroupId;
use rand::RngExt;

use super::{Faults, Mending};
use crate::clients::Clients;
use crate::scenario::Clocks;
use crate::world::{MS, SECOND, Time, Turn, World};

/// How long after a clock has begun to run wrong a lease is what matters.
const ALONE_AFTER: Range<Time> = 0..10 * SECOND;

impl Faults {
    /// The wall clock of a machine jumps, or its steady clock runs otherwise from now on, not more wrong than it may be.
    pub(super) fn turn_clocks(&mut self, world: &mut World, host: usize) {
        if self.scenario.clocks == Clocks::Right && world.random.random_bool(0.5) {
            return world.turn_clock(host, Turn::Right);
        }
        let error = world.random.random_range(-60_000..60_000);
        if let Some(machine) = world.hosts.get_mut(host) {
            machine.clock.wall_error_ms = error;
        }
        world.say(|| format!("the wall clock of machine {host} jumps: it is wrong by {error} ms"));
    }

    /// Now and then the steady clock of a machine runs wrong by more than leases allow for, for a while; and now and then,
    /// with clocks that do, a lease is what matters.
    pub(super) fn turn_wild(&mut self, world: &mut World, clients: &mut Clients) {
        match world.random.random_range(0..100) {
            0..10 => {
                let host = Self::anybody(world);
                let lasting = match world.random.random_bool(0.7) {
                    true => SECOND..20 * SECOND,
                    false => 20 * SECOND..90 * SECOND,
                };
                let turn = match world.random.random_bool(0.5) {
                    true => Turn::Slow,
                    false => Turn::Fast,
                };
                self.turn(world, host, turn, lasting);
            }
            10..25 => self.turn_and_isolate(world, clients),
            25..32 => self.isolate_leader(world, clients),
            _ => {}
        }
    }

    fn turn(&mut self, world: &mut World, host: usize, turn: Turn, lasting: Range<Time>) {
        world.turn_clock(host, turn);
        self.turned += 1;
        self.mend(world, lasting, Mending::Clock(host));
    }

    /// The clock of a leader begins to run slow, or those of others fast, and soon after that the leader is alone, as its
    /// clients go on asking it, and others those that are to come after it.
    fn turn_and_isolate(&mut self, world: &mut World, clients: &mut Clients) {
        let led = match world.random.random_bool(0.5) {
            true => Self::led_by_lease(world).or_else(|| Self::led_by_quorum(world)),
            false => Self::led_by_quorum(world).or_else(|| Self::led_by_lease(world)),
        };
        let Some((group, leader, others)) = led else {
            return;
        };
        // As long as it takes to replace it.
        let is_sole = Self::meta(world).is_some_and(|(_, meta)| meta.mode() != Mode::Quorum);
        let lasting = if is_sole { 8 * SECOND } else { 2 * SECOND };
        let fast = others.iter().map(|host| (*host, Turn::Fast));
        for (host, turn) in fast.chain([(leader, Turn::Slow)]) {
            if world.random.random_bool(0.9) {
                self.turn(world, host, turn, 10 * SECOND..20 * SECOND);
            }
        }
        let all = (0..world.hosts.len()).filter(|host| *host != leader);
        let pairs = all.flat_map(|other| [(other, leader), (leader, other)]).collect();
        let after = world.random.random_range(ALONE_AFTER);
        world.say(|| format!("machine {leader} is to be alone in {} ms", after / MS));
        world.schedule(after, super::happening(Mending::Cut(pairs)));
        let mut watchers = vec![(leader, false), (leader, is_sole)];
        watchers.extend(others.iter().map(|host| (*host, !is_sole)));
        clients.watch(world, group, &watchers, (after + 300 * MS, lasting));
        let until = after + lasting;
        self.mend(world, until..until + 2 * SECOND, Mending::Network);
    }

    /// A shard whose leader is replaced by itself, and needs a lease for that: its machine, and all others.
    fn led_by_lease(world: &mut World) -> Option<(GroupId, usize, Vec<usize>)> {
        let (_, meta) = Self::meta(world)?;
        let Mode::OneLeader { leader } = meta.mode() else {
            return None;
        };
        if meta.switch().is_some() || meta.failover() == Failover::Manual {
            return None;
        }
        let leader = world.host_of(leader)?;
        let group = meta.groups().keys().copied().find(|group| *group != META)?;
        let others = (0..world.hosts.len()).filter(|host| *host != leader);
        Some((group, leader, others.collect()))
    }
}
