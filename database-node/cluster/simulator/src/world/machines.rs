//! Machines are switched on and off, lose what is on their disks, and become part of the cluster.

use pliantdb_cluster::Input;
use pliantdb_cluster::node::{Limits, Room};
use pliantdb_cluster::wire::Peer;
use rand::RngExt;

use super::{Happening, Host, World};

impl World {
    /// Switches a machine on.
    pub fn start(&mut self, host: usize) {
        let seed = self.random.random();
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        if machine.process.is_some() {
            return;
        }
        if let Err(error) = machine.start(now, seed, self.timing.clone(), limits()) {
            self.say(|| format!("machine {host} does not start: {error}"));
            return;
        }
        let life = machine.life;
        // Whoever starts a node that has not joined yet lets it ask again, as the same.
        let is_member = machine
            .process
            .as_ref()
            .is_some_and(|process| process.node.id().is_some());
        if let (Some(token), false) = (machine.token, is_member) {
            self.ask_to_join(host, token);
        }
        self.say(|| format!("machine {host} starts"));
        if self.hosts.get(host).is_some_and(|machine| machine.is_space_short) {
            self.step(host, Input::Space(Room::Little));
        }
        self.schedule(0, Happening::Tick { host, life });
    }

    /// Lets the room on a machine's disks become little, or enough again. Its process sees that before they are full.
    pub fn set_space(&mut self, host: usize, is_short: bool) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.is_space_short = is_short;
        }
        self.say(|| format!("machine {host} is short of room: {is_short}"));
        let room = match is_short {
            true => Room::Little,
            false => Room::Enough,
        };
        self.step(host, Input::Space(room));
    }

    /// Switches a machine off: what was not synced is lost, or a part of it.
    pub fn crash(&mut self, host: usize) {
        let share = self.random.random_range(0.0..=1.0);
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.crash(share);
        }
        self.deciding.crashed(host, self.now);
        self.say(|| format!("machine {host} crashes, keeping {share:.2} of what was not synced"));
    }

    /// Ends the process of a machine when all that it has written is on the disks.
    pub fn stop(&mut self, host: usize) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.crash(1.0);
        }
        self.deciding.crashed(host, self.now);
        self.say(|| format!("machine {host} stops"));
    }

    /// Gives a machine an empty disk. It must be off.
    pub fn wipe(&mut self, host: usize) {
        if let Some(node) = self.hosts.get_mut(host).and_then(Host::wipe) {
            self.nodes.remove(&node);
        }
        self.noticed.forget(host);
        self.deciding.wiped(host, self.now);
        self.say(|| format!("machine {host} gets an empty disk"));
    }

    /// Takes from a machine all that it has of groups, and leaves it who it is: nobody should do that.
    pub fn wipe_groups(&mut self, host: usize) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.wipe_groups();
        }
        self.say(|| format!("machine {host} loses its logs and state, and stays who it is"));
    }

    /// Founds the cluster on a machine.
    pub fn found(&mut self, host: usize) {
        let token = self.random.random();
        let now = self.hosts.get(host).map(|machine| machine.clock.now(self.now));
        let process = self
            .hosts
            .get_mut(host)
            .and_then(|machine| machine.process.as_mut());
        if let (Some(process), Some(now)) = (process, now) {
            // A store in memory that is not full takes everything.
            let _ = process.node.found(7, token, now);
        }
    }

    /// Lets a machine ask all others to join.
    pub fn join(&mut self, host: usize) {
        let token = self.random.random();
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.token = Some(token);
        }
        self.ask_to_join(host, token);
    }

    fn ask_to_join(&mut self, host: usize, token: u128) {
        let others = self.nodes.iter().filter(|(_, at)| **at != host);
        let seeds: Vec<Peer> = others.map(|(node, _)| Peer::Node(*node)).collect();
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        if let Some(process) = &mut machine.process {
            process.node.join(token, seeds);
            self.joiners.insert(token, host);
        }
    }
}

/// Small, so that snapshots are met.
fn limits() -> Limits {
    Limits {
        flush_entries: 40,
        flush_bytes: 20_000,
        apply_bytes: 1_000,
        held_bytes: 400,
        tail_entries: 20,
        chunk_bytes: 2_000,
    }
}
