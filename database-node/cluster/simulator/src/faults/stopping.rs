//! Processes that are stopped in good order: they hand over what they lead, and then end.

use std::ops::Range;
use std::time::Duration;

use pliantdb_cluster::META;
use pliantdb_cluster::node::{Answer, Ask};
use rand::RngExt;

use super::{Faults, Mending, happening};
use crate::world::{Host, MS, SECOND, Time, World};

/// A process ends after so long, whatever it says.
const PATIENCE: Range<Time> = SECOND..12 * SECOND;

impl Faults {
    /// A process is told that it will be stopped; as often as not one that leads something.
    pub(super) fn stop_in_good_order(&mut self, world: &mut World, host: usize) {
        let leads = |machine: &Host| {
            machine.process.as_ref().is_some_and(|process| {
                let mut groups = process.node.replicas().into_iter();
                groups.any(|report| report.group != META && process.node.leads(report.group))
            })
        };
        let leading = world.hosts.iter().position(leads);
        let host = match leading.filter(|_| world.random.random_bool(0.5)) {
            Some(leading) => leading,
            None => host,
        };
        let Some(life) = world
            .hosts
            .get(host)
            .filter(|machine| machine.is_up())
            .map(|machine| machine.life)
        else {
            return;
        };
        self.tell_to_stop(world, host, life);
    }

    /// The process on a machine is told to stop, and is not started again.
    pub fn stop_for_good(&mut self, world: &mut World, host: usize) {
        self.gone = Some(host);
        if let Some(life) = world.hosts.get(host).map(|machine| machine.life) {
            self.tell_to_stop(world, host, life);
        }
    }

    /// It is started all the same.
    pub fn come_back(&mut self, world: &mut World) {
        if let Some(host) = self.gone.take() {
            world.start(host);
        }
    }

    fn tell_to_stop(&mut self, world: &mut World, host: usize, life: u64) {
        self.next_token += 1;
        self.stops.0 += 1;
        self.stopping.insert(self.next_token, (host, life));
        world.say(|| format!("machine {host} is to stop"));
        let patience = world.random.random_range(PATIENCE);
        let within = Duration::from_nanos(patience);
        world.ask(host, self.next_token, Ask::StepAside { within });
        world.schedule(patience, happening(Mending::Stop { host, life }));
    }

    /// Whoever is to stop says that it has handed over, or is no member yet.
    pub fn answered(&mut self, world: &mut World, token: u64, answer: &Answer) {
        if let Some((host, life)) = self.stopping.remove(&token) {
            self.stops.1 += u64::from(matches!(answer, Answer::SteppedAside { kept: 0 }));
            let after = world.random.random_range(0..500 * MS);
            world.schedule(after, happening(Mending::Stop { host, life }));
        }
    }

    /// The process ends, and is started again after a while: now and then so late that whoever is to replace it by itself
    /// had the time to.
    pub(super) fn stop_process(&mut self, world: &mut World, host: usize, life: u64) {
        let is_same = |machine: &&Host| machine.is_up() && machine.life == life;
        if world.hosts.get(host).filter(is_same).is_some() {
            world.stop(host);
            let is_long = self.scenario.is_automatic && world.random.random_bool(0.3);
            let away = match is_long {
                true => 20 * SECOND..50 * SECOND,
                false => 50 * MS..8 * SECOND,
            };
            if self.gone != Some(host) {
                self.mend(world, away, Mending::Start(host));
            }
        }
    }
}
