//! Processes that are stopped in good order: they hand over what they lead, and then end.

use pliantdb_cluster::META;
use pliantdb_cluster::node::{Answer, Ask};
use rand::RngExt;

use super::{Faults, Mending, happening};
use crate::world::{Host, MS, SECOND, Time, World};

/// A process ends after so long, whatever it says.
const PATIENCE: Time = 12 * SECOND;

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
        self.next_token += 1;
        self.stops.0 += 1;
        self.stopping.insert(self.next_token, (host, life));
        world.say(|| format!("machine {host} is to stop"));
        world.ask(host, self.next_token, Ask::StepAside);
        world.schedule(PATIENCE, happening(Mending::Stop { host, life }));
    }

    /// Whoever is to stop says that it has handed over, or is no member yet.
    pub fn answered(&mut self, world: &mut World, token: u64, answer: &Answer) {
        if let Some((host, life)) = self.stopping.remove(&token) {
            self.stops.1 += u64::from(matches!(answer, Answer::SteppedAside { kept: 0 }));
            let after = world.random.random_range(0..500 * MS);
            world.schedule(after, happening(Mending::Stop { host, life }));
        }
    }

    /// The process ends, and is started again after a while.
    pub(super) fn stop_process(&mut self, world: &mut World, host: usize, life: u64) {
        let is_same = |machine: &&Host| machine.is_up() && machine.life == life;
        if world.hosts.get(host).filter(is_same).is_some() {
            world.stop(host);
            self.mend(world, 50 * MS..8 * SECOND, Mending::Start(host));
        }
    }
}
