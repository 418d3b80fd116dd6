//! What goes wrong, and what owners do meanwhile.

mod clocks;
mod owners;
mod stopping;
mod targeted;

use std::collections::BTreeMap;

use pliantdb_cluster::meta::{MetaCommand, NodeState};
use pliantdb_cluster::mistakes::Mistake;
use pliantdb_cluster::node::Ask;
use pliantdb_cluster::{META, Meta, Mode, NodeId};
use pliantdb_storage::store::Fault;
use rand::RngExt;

use crate::clients::Clients;
use crate::forcing::Owners;
use crate::scenario::{Clocks, Scenario};
use crate::steps::Step;
use crate::world::{Happening, MS, SECOND, Time, Turn, World};

/// What ends a fault.
#[derive(Debug, Clone)]
pub enum Mending {
    /// A machine is switched on again.
    Start(usize),
    /// The network comes through again.
    Network,
    /// A disk is as fast as usual.
    Disk(usize),
    /// There is room on a disk again.
    Room(usize),
    /// A node that was to drain may stay.
    Keep(NodeId),
    /// A change that is under way is given up.
    Abort,
    /// A machine with an empty disk joins as a new node, when the old one was declared lost.
    Replace {
        /// The machine.
        host: usize,
        /// The node that it was.
        lost: NodeId,
    },
    /// A machine loses power for a moment.
    Blink(usize),
    /// The network is cut as well from whom to whom.
    Cut(Vec<(usize, usize)>),
    /// The steady clock of a machine runs right again.
    Clock(usize),
    /// A machine that is not part of the cluster joins.
    Join(usize),
    /// A process that was to stop ends, if it is still that start of the machine.
    Stop {
        /// The machine.
        host: usize,
        /// Its start.
        life: u64,
    },
}

fn happening(what: Mending) -> Happening {
    Happening::Mend(what)
}

/// Whoever makes trouble.
pub struct Faults {
    scenario: Scenario,
    /// How many faults there were.
    pub struck: u64,
    /// How many of them struck directly after a step of a node.
    pub struck_after: BTreeMap<Step, u64>,
    /// How many changes of mode or leader were asked for.
    pub changes: u64,
    /// What owners asked to force.
    pub owners: Owners,
    /// How often a clock began to run out of bound.
    pub turned: u64,
    /// How many processes were told to stop in good order, and how many of those have handed over before.
    pub stops: (u64, u64),
    /// Those that are to stop when they have, by the token of the question.
    stopping: BTreeMap<u64, (usize, u64)>,
    /// The machine that is not started again for now.
    gone: Option<usize>,
    has_forced_meta: bool,
    /// The nodes that are gone for ever and not yet declared lost.
    lost: Vec<(NodeId, usize)>,
    mistake: Option<Mistake>,
    next_token: u64,
    begun: bool,
    stopped: bool,
}

impl Faults {
    /// No trouble yet.
    #[must_use]
    pub fn new(scenario: Scenario, mistake: Option<Mistake>) -> Self {
        Self {
            scenario,
            struck: 0,
            struck_after: BTreeMap::new(),
            changes: 0,
            owners: Owners::default(),
            turned: 0,
            stops: (0, 0),
            stopping: BTreeMap::new(),
            gone: None,
            has_forced_meta: false,
            lost: Vec::new(),
            mistake,
            next_token: 1 << 20,
            begun: false,
            stopped: false,
        }
    }

    /// Lets the first fault come.
    pub fn begin(&mut self, world: &mut World) {
        self.begun = true;
        self.wait(world);
    }

    fn wait(&mut self, world: &mut World) {
        let pause = self.scenario.fault_pause.as_nanos() as Time;
        let after = world.random.random_range(pause / 4..pause * 7 / 4);
        world.schedule(after, Happening::Fault);
    }

    /// No more faults.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// What the node that knows most knows.
    #[must_use]
    pub fn meta(world: &World) -> Option<(usize, Meta)> {
        let known = world.hosts.iter().enumerate().filter_map(|(host, machine)| {
            let node = &machine.process.as_ref()?.node;
            Some((node.meta_applied(), host, node.meta()?))
        });
        let (_, host, meta) = known.max_by_key(|(applied, host, _)| (*applied, *host))?;
        Some((host, meta.clone()))
    }

    fn anybody(world: &mut World) -> usize {
        let hosts = world.hosts.len();
        world.random.random_range(0..hosts)
    }

    /// Asks whoever leads the meta group, as far as anybody knows.
    fn tell(&mut self, world: &mut World, ask: Ask) {
        self.next_token += 1;
        if let Some(host) = Self::supervising(world) {
            world.ask(host, self.next_token, ask);
        }
    }

    /// The machine that leads the meta group, as far as its process knows.
    fn supervising(world: &World) -> Option<usize> {
        world.hosts.iter().position(|machine| {
            machine
                .process
                .as_ref()
                .is_some_and(|process| process.node.leads(META))
        })
    }

    /// The next fault.
    pub fn strike(&mut self, world: &mut World, clients: &mut Clients) {
        if self.stopped {
            return;
        }
        self.struck += 1;
        match self.scenario.clocks {
            // With clocks that are wrong it is leases that fail.
            Clocks::Wild if world.random.random_bool(0.15) => self.isolate_leader(world, clients),
            Clocks::Turning => self.turn_wild(world, clients),
            _ => {}
        }
        let host = Self::anybody(world);
        if let Some(host) = Self::who_leads_asleep(world)
            && world.random.random_bool(0.4)
        {
            self.strike_sleeper(world, host);
            self.look_after(world, clients);
            return self.wait(world);
        }
        match world.random.random_range(0..100) {
            0..20 => self.crash(world, host),
            20..26 => self.stop_in_good_order(world, host),
            26..44 => self.cut(world, host),
            44..47 => self.isolate_leader(world, clients),
            47..52 => {
                world.network.lost_per_mille = world.random.random_range(10..250);
                world.network.repeated_per_mille = world.random.random_range(0..100);
                world.network.late_per_mille = world.random.random_range(0..100);
                world.say(|| "the network loses, repeats and delays".to_owned());
                self.mend(world, SECOND..8 * SECOND, Mending::Network);
            }
            52..56 => self.stall(world, host),
            56..59 => self.cut_and_blink(world, clients),
            59..63 => self.slow(world, host),
            63..66 if world.random.random_bool(0.6) => {
                world.set_space(host, true);
                self.mend(world, SECOND..8 * SECOND, Mending::Room(host));
            }
            63..66 => {
                if let Some(machine) = world.hosts.get(host) {
                    let is_log = world.random.random_bool(0.5);
                    let disk = if is_log { &machine.log } else { &machine.state };
                    disk.set_fault(Fault::NoSpace);
                }
                world.say(|| format!("a disk of machine {host} is full"));
                self.mend(world, SECOND..5 * SECOND, Mending::Room(host));
            }
            66..70 => self.turn_clocks(world, host),
            70..90 => self.change(world),
            90..94 => self.drain_or_keep(world),
            94..97 => self.lose_leader(world),
            _ => self.lose(world),
        }
        self.look_after(world, clients);
        self.wait(world);
    }

    fn mend(&mut self, world: &mut World, range: std::ops::Range<Time>, what: Mending) {
        let after = world.random.random_range(range);
        world.schedule(after, Happening::Mend(what));
    }

    fn crash(&mut self, world: &mut World, host: usize) {
        if world.hosts.get(host).is_some_and(crate::world::Host::is_up) {
            world.crash(host);
            self.mend(world, 50 * MS..8 * SECOND, Mending::Start(host));
        }
        // Now and then everybody loses power.
        if world.random.random_bool(0.08) {
            for host in 0..world.hosts.len() {
                if world.hosts.get(host).is_some_and(crate::world::Host::is_up) {
                    world.crash(host);
                    self.mend(world, 50 * MS..4 * SECOND, Mending::Start(host));
                }
            }
        }
    }

    fn cut(&mut self, world: &mut World, host: usize) {
        let hosts = world.hosts.len();
        let kind = world.random.random_range(0..4);
        match kind {
            // One cannot be heard.
            0 => world.network.cut.extend((0..hosts).map(|other| (host, other))),
            // One cannot hear.
            1 => world.network.cut.extend((0..hosts).map(|other| (other, host))),
            // One is alone.
            2 => {
                for other in 0..hosts {
                    world.network.cut.extend([(host, other), (other, host)]);
                }
            }
            // Two halves.
            _ => {
                let side: Vec<bool> = (0..hosts).map(|_| world.random.random_bool(0.5)).collect();
                for (a, of_a) in side.iter().enumerate() {
                    for (b, of_b) in side.iter().enumerate() {
                        if of_a != of_b {
                            world.network.cut.insert((a, b));
                        }
                    }
                }
            }
        }
        // Everybody hears itself.
        world.network.cut.retain(|(from, to)| from != to);
        world.say(|| format!("the network is cut: {:?}", world.network.cut));
        self.mend(world, SECOND..12 * SECOND, Mending::Network);
    }

    fn slow(&mut self, world: &mut World, host: usize) {
        let slowness = world.random.random_range(10..200);
        if let Some(machine) = world.hosts.get_mut(host) {
            machine.disk_slowness = slowness;
        }
        world.say(|| format!("the disk of machine {host} is {slowness} times slower"));
        self.mend(world, SECOND..6 * SECOND, Mending::Disk(host));
    }

    /// Who leads groups that sleep, and no other shard.
    fn who_leads_asleep(world: &World) -> Option<usize> {
        let leads_asleep = |machine: &crate::world::Host| {
            machine.process.as_ref().is_some_and(|process| {
                let node = &process.node;
                let shards = node.replicas().into_iter().filter(|report| report.group != META);
                let leads = shards.into_iter().any(|report| node.leads(report.group));
                leads && node.asleep() + 1 == node.replicas().len()
            })
        };
        world.hosts.iter().position(leads_asleep)
    }

    /// Whoever leads a group that sleeps is gone, or is not heard, or cannot hear.
    fn strike_sleeper(&mut self, world: &mut World, host: usize) {
        world.say(|| format!("machine {host} leads groups that sleep"));
        match world.random.random_range(0..6) {
            0 => return self.crash(world, host),
            1 => {
                let other = Self::anybody(world);
                return self.crash(world, other);
            }
            2 => return self.change(world),
            _ => {}
        }
        let kind = world.random.random_range(0..4);
        for other in (0..world.hosts.len()).filter(|other| *other != host) {
            match kind {
                0 => world.network.cut.extend([(host, other)]),
                1 => world.network.cut.extend([(other, host)]),
                _ => world.network.cut.extend([(host, other), (other, host)]),
            }
        }
        world.say(|| format!("the network is cut: {:?}", world.network.cut));
        self.mend(world, 2 * SECOND..12 * SECOND, Mending::Network);
    }

    fn stall(&mut self, world: &mut World, host: usize) {
        let until = world.now() + world.random.random_range(500 * MS..8 * SECOND);
        if let Some(machine) = world.hosts.get_mut(host) {
            machine.stands_until = until;
        }
        world.say(|| format!("machine {host} stands still until {} ms", until / MS));
    }

    /// A machine loses its disk, when others have all that was on it.
    fn lose(&mut self, world: &mut World) {
        let Some(meta) = world.known_meta() else {
            return;
        };
        if !self.lost.is_empty() || meta.nodes().len() < 3 || meta.switch().is_some() {
            return;
        }
        // The one that takes the place of the last is not there yet, whatever those know who are up.
        if world.hosts.iter().any(|machine| machine.node.is_none()) {
            return;
        }
        let leaders: Vec<NodeId> = match meta.mode() {
            Mode::OneLeader { leader } => vec![leader],
            Mode::Quorum => Vec::new(),
        };
        if meta.groups().values().any(|record| !record.is_settled()) {
            return;
        }
        // Whoever a group rests on alone, whatever the owner wants by now.
        let needed = Self::needed(world);
        let candidates: Vec<(NodeId, usize)> = meta
            .nodes()
            .keys()
            .filter(|node| !leaders.contains(node) && !needed.contains(node))
            .filter_map(|node| Some((*node, world.host_of(*node)?)))
            .collect();
        if candidates.is_empty() {
            return;
        }
        let (node, host) = candidates[world.random.random_range(0..candidates.len())];
        world.crash(host);
        if self.mistake == Some(Mistake::WipedVoterKeepsId) {
            world.wipe_groups(host);
            return self.mend(world, 50 * MS..SECOND, Mending::Start(host));
        }
        world.wipe(host);
        self.lost.push((node, host));
        self.mend(world, SECOND..6 * SECOND, Mending::Replace { host, lost: node });
    }

    /// Whoever leads is gone for long.
    fn lose_leader(&mut self, world: &mut World) {
        let leader = match Self::meta(world).map(|(_, meta)| meta.mode()) {
            Some(Mode::OneLeader { leader }) => world.host_of(leader),
            _ => None,
        };
        let host = leader.unwrap_or_else(|| Self::anybody(world));
        if world.hosts.get(host).is_some_and(crate::world::Host::is_up) {
            world.crash(host);
            self.mend(world, 8 * SECOND..25 * SECOND, Mending::Start(host));
        }
    }

    /// The nodes without which a group has no majority, or had none lately.
    fn needed(world: &World) -> Vec<NodeId> {
        let small = world
            .known_configs()
            .filter(|config| config.members.voters.len() < 3 || config.members.is_joint());
        let members = small.flat_map(|config| config.members.all().collect::<Vec<_>>());
        members.map(|replica| replica.node()).collect()
    }

    /// A fault ends.
    pub fn end(&mut self, world: &mut World, what: Mending) {
        match what {
            Mending::Start(host) => world.start(host),
            Mending::Stop { host, life } => self.stop_process(world, host, life),
            Mending::Blink(_) | Mending::Cut(_) if self.stopped => {}
            Mending::Blink(host) => {
                if world.hosts.get(host).is_some_and(crate::world::Host::is_up) {
                    world.crash(host);
                    world.start(host);
                }
            }
            Mending::Cut(pairs) => {
                world.say(|| format!("the network is cut: {pairs:?}"));
                world.network.cut.extend(pairs);
            }
            Mending::Network => {
                world.say(|| "the network is whole".to_owned());
                world.network.heal();
            }
            Mending::Clock(host) => world.turn_clock(host, Turn::Right),
            Mending::Disk(host) => {
                if let Some(machine) = world.hosts.get_mut(host) {
                    machine.disk_slowness = 1;
                }
            }
            Mending::Room(host) => {
                if let Some(machine) = world.hosts.get(host) {
                    machine.log.set_fault(Fault::None);
                    machine.state.set_fault(Fault::None);
                }
                world.start(host);
                world.set_space(host, false);
            }
            // It is asked for until somebody hears it.
            Mending::Keep(node) if Self::supervising(world).is_none() => {
                world.schedule(SECOND, happening(Mending::Keep(node)));
            }
            Mending::Keep(node) => {
                let is_draining = false;
                self.tell(world, Ask::Change(MetaCommand::SetDraining { node, is_draining }));
            }
            Mending::Abort => {
                if let Some(switch) = Self::meta(world).and_then(|(_, meta)| meta.switch()) {
                    self.tell(world, Ask::Change(MetaCommand::AbortSwitch { switch: switch.id }));
                }
            }
            Mending::Replace { host, lost } => self.replace(world, host, lost),
            Mending::Join(host) => {
                world.start(host);
                world.join(host);
            }
        }
    }

    /// Whether a node is still to be replaced.
    #[must_use]
    pub fn is_replacing(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Ends all faults.
    pub fn heal(&mut self, world: &mut World) {
        self.stop();
        world.network.heal();
        for host in 0..world.hosts.len() {
            if let Some(machine) = world.hosts.get_mut(host) {
                machine.disk_slowness = 1;
                machine.stands_until = 0;
                machine.is_space_short = false;
                machine.log.set_fault(Fault::None);
                machine.state.set_fault(Fault::None);
            }
            if self.scenario.clocks == Clocks::Turning {
                world.turn_clock(host, Turn::Right);
            }
            let is_being_replaced = self.lost.iter().any(|(_, of)| *of == host);
            if !is_being_replaced {
                world.start(host);
            }
            world.set_space(host, false);
        }
        let Some((_, meta)) = Self::meta(world) else {
            return;
        };
        for (node, record) in meta.nodes() {
            if record.state == NodeState::Draining {
                self.end(world, Mending::Keep(*node));
            }
        }
    }
}
