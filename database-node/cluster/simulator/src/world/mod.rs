//! Machines, the network between them, and time.

mod clock;
mod host;
mod network;
mod noticing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use pliantdb_cluster::applier::Task;
use pliantdb_cluster::node::{Answer, Ask, Event, Limits};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{Incarnation, Input, NodeId, Output, Timing};
use pliantdb_core::GroupId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use clock::Clock;
pub use host::{Host, Process};
pub use network::Network;
use noticing::Noticed;

/// Nanoseconds of true time since the world began.
pub type Time = u64;

/// A millisecond.
pub const MS: Time = 1_000_000;
/// A second.
pub const SECOND: Time = 1_000 * MS;

/// Something that will happen.
#[derive(Debug)]
pub enum Happening {
    /// A process is to look at its clock.
    Tick {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A message arrives.
    Deliver {
        /// At which machine.
        to: usize,
        /// As bytes.
        envelope: Vec<u8>,
    },
    /// The disk has finished what it was given.
    DiskDone {
        /// Of which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
        /// The last batch of it.
        number: u64,
    },
    /// The applier takes its next task.
    Apply {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A process looks at what follows from all that it has taken.
    Give {
        /// On which machine.
        host: usize,
        /// Of which start of it.
        life: u64,
    },
    /// A question of a client arrives.
    Asked {
        /// At which machine.
        host: usize,
        /// What it is known by.
        token: u64,
        /// What.
        ask: Box<Ask>,
    },
    /// An answer arrives at a client.
    Answered {
        /// To which question.
        token: u64,
        /// What.
        answer: Box<Answer>,
        /// From which machine.
        from: usize,
    },
    /// A client goes on, or waits no longer for an answer.
    Client {
        /// Which.
        client: usize,
        /// Void when it has gone on since.
        turn: u64,
    },
    /// A client that asks one machine goes on.
    Watch {
        /// Which.
        watcher: usize,
    },
    /// A node has taken a step.
    Stepped(crate::steps::Stepped),
    /// The next fault strikes.
    Fault,
    /// What a fault began ends.
    Mend(crate::faults::Mending),
}

struct Scheduled {
    at: Time,
    /// In the order in which they were scheduled.
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Something that a node told of.
#[derive(Debug, Clone)]
pub struct Told {
    /// When.
    pub at: Time,
    /// On which machine.
    pub host: usize,
    /// What.
    pub event: Event,
}

/// Everything there is.
pub struct World {
    now: Time,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The network between them.
    pub network: Network,
    /// Chance.
    pub random: StdRng,
    /// Who has which node.
    nodes: BTreeMap<NodeId, usize>,
    joiners: BTreeMap<u128, usize>,
    /// What nodes told of.
    pub told: Vec<Told>,
    /// By group, life and index: which entry was applied, and by whom first.
    applied: BTreeMap<(GroupId, Incarnation, u64), (u64, usize, u64)>,
    /// Where replicas have applied different entries.
    pub differing: Vec<String>,
    noticed: Noticed,
    timing: Timing,
    /// How many of a thousand inputs wait for others that are taken with them, and chance of its own for that.
    gathered: (u32, StdRng),
    hash: Xxh3,
    /// How much has happened.
    pub happened: u64,
    /// Whether to print what happens.
    pub is_loud: bool,
}

impl World {
    /// Machines that are switched off.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, drift_ppm: u32) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5eed_0000);
        let timing = Timing::default();
        // In two of three seeds each is looked at alone.
        let mut gathering = StdRng::seed_from_u64(seed ^ 0x6a74_6e67);
        let gathered = [0, 0, 700][gathering.random_range(0..3)];
        let hosts = (0..hosts)
            .map(|index| Host::new(index, &mut random, drift_ppm))
            .collect();
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            hosts,
            network: Network::default(),
            random,
            nodes: BTreeMap::new(),
            joiners: BTreeMap::new(),
            told: Vec::new(),
            applied: BTreeMap::new(),
            differing: Vec::new(),
            noticed: Noticed::default(),
            timing,
            gathered: (gathered, gathering),
            hash: Xxh3::new(),
            happened: 0,
            is_loud: false,
        }
    }

    /// Lets the clocks of one machine, or of some, run wrong by more than leases allow for.
    pub fn let_clocks_run_wild(&mut self) {
        let one = self.random.random_range(0..self.hosts.len());
        for (host, machine) in self.hosts.iter_mut().enumerate() {
            if host == one || self.random.random_bool(0.3) {
                machine.clock.run_wild(&mut self.random);
            }
        }
    }

    /// The true time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// A digest of all that has happened.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.hash.digest()
    }

    /// Says something, if anybody wants to hear it.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.is_loud {
            #[allow(clippy::print_stderr, reason = "asked for, to understand a seed")]
            {
                eprintln!("{:>9.3} ms  {}", self.now as f64 / MS as f64, what());
            }
        }
    }

    /// Lets something happen after a while.
    pub fn schedule(&mut self, after: Time, what: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + after,
            number: self.scheduled,
            what,
        }));
    }

    /// What happens next: what concerns nobody else than a machine has happened already.
    pub fn next(&mut self, until: Time) -> Option<Happening> {
        loop {
            if let Some(stepped) = self.noticed.steps.pop_front() {
                return Some(Happening::Stepped(stepped));
            }
            if self.queue.peek().is_none_or(|next| next.0.at > until) {
                self.now = self.now.max(until);
                return None;
            }
            let Reverse(Scheduled { at, what, .. }) = self.queue.pop()?;
            self.now = at;
            self.happened += 1;
            self.note(&what);
            match what {
                Happening::Tick { host, life } => self.tick(host, life),
                Happening::Deliver { to, envelope } => self.deliver(to, &envelope),
                Happening::DiskDone { host, life, number } => self.disk_done(host, life, number),
                Happening::Apply { host, life } => self.apply(host, life),
                Happening::Give { host, life } => self.give(host, life),
                Happening::Asked { host, token, ask } => {
                    self.step(host, Input::Ask { token, ask: *ask });
                }
                what => return Some(what),
            }
        }
    }

    fn note(&mut self, what: &Happening) {
        let (kind, host): (u8, usize) = match what {
            Happening::Tick { host, .. } => (1, *host),
            Happening::Deliver { to, envelope } => {
                self.hash.update(envelope);
                (2, *to)
            }
            Happening::DiskDone { host, .. } => (3, *host),
            Happening::Apply { host, .. } => (4, *host),
            Happening::Asked { host, .. } => (5, *host),
            Happening::Answered { from, .. } => (6, *from),
            Happening::Client { client, .. } => (7, *client),
            Happening::Fault => (8, 0),
            Happening::Mend(_) => (9, 0),
            Happening::Watch { watcher } => (10, *watcher),
            Happening::Stepped(stepped) => (11, stepped.host),
            Happening::Give { host, .. } => (12, *host),
        };
        self.hash.update(&self.now.to_be_bytes());
        self.hash.update(&[kind, host as u8]);
    }

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
            self.step(host, Input::Space { is_short: true });
        }
        self.schedule(0, Happening::Tick { host, life });
    }

    /// Lets the room on a machine's disks become little, or enough again. Its process sees that before they are full.
    pub fn set_space(&mut self, host: usize, is_short: bool) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.is_space_short = is_short;
        }
        self.say(|| format!("machine {host} is short of room: {is_short}"));
        self.step(host, Input::Space { is_short });
    }

    /// Switches a machine off: what was not synced is lost, or a part of it.
    pub fn crash(&mut self, host: usize) {
        let share = self.random.random_range(0.0..=1.0);
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.crash(share);
        }
        self.say(|| format!("machine {host} crashes, keeping {share:.2} of what was not synced"));
    }

    /// Gives a machine an empty disk. It must be off.
    pub fn wipe(&mut self, host: usize) {
        if let Some(node) = self.hosts.get_mut(host).and_then(Host::wipe) {
            self.nodes.remove(&node);
        }
        self.noticed.forget(host);
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

    /// The machine of a node.
    #[must_use]
    pub fn host_of(&self, node: NodeId) -> Option<usize> {
        self.nodes.get(&node).copied()
    }

    /// Asks a node something.
    pub fn ask(&mut self, host: usize, token: u64, ask: Ask) {
        let delay = self.random.random_range(100_000..2 * MS);
        self.schedule(
            delay,
            Happening::Asked {
                host,
                token,
                ask: Box::new(ask),
            },
        );
    }

    fn tick(&mut self, host: usize, life: u64) {
        let Some(machine) = self.hosts.get(host).filter(|machine| machine.life == life) else {
            return;
        };
        if machine.process.is_none() {
            return;
        }
        let tick = self.timing.tick.as_nanos() as Time;
        // By its own clock.
        let wait = machine.clock.true_duration(tick);
        if self.waits(host, Happening::Tick { host, life }).is_none() {
            return;
        }
        self.step(host, Input::Tick);
        self.schedule(wait, Happening::Tick { host, life });
    }

    /// Of a process that stands still, what happens waits until it goes on.
    fn waits(&mut self, host: usize, what: Happening) -> Option<Happening> {
        let stands_until = self.hosts.get(host).map_or(0, |machine| machine.stands_until);
        if stands_until > self.now {
            let after = stands_until - self.now;
            self.schedule(after, what);
            return None;
        }
        Some(what)
    }

    fn deliver(&mut self, to: usize, bytes: &[u8]) {
        if let Some(Happening::Deliver { .. }) = self.waits(
            to,
            Happening::Deliver {
                to,
                envelope: bytes.to_vec(),
            },
        ) && let Ok(envelope) = Envelope::decode(bytes)
        {
            if self.is_loud {
                for message in &envelope.messages {
                    if let pliantdb_cluster::wire::Message::Raft(raft) = message {
                        self.say(|| format!("to {to}: {raft:?}"));
                    }
                }
            }
            self.step(to, Input::Receive(envelope));
        }
    }

    fn step(&mut self, host: usize, input: Input) {
        if self
            .hosts
            .get(host)
            .is_some_and(|machine| machine.stands_until > self.now)
            && let Input::Ask { token, ask } = input
        {
            let after = self
                .hosts
                .get(host)
                .map_or(0, |machine| machine.stands_until - self.now);
            let ask = Box::new(ask);
            return self.schedule(after, Happening::Asked { host, token, ask });
        }
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        let local = machine.clock.now(now);
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        process.node.take(local, input);
        let (share, random) = &mut self.gathered;
        if *share > 0 && random.random_range(0..1000) < *share {
            if !std::mem::replace(&mut process.is_gathering, true) {
                let (delay, life) = (random.random_range(0..3 * MS), machine.life);
                self.schedule(delay, Happening::Give { host, life });
            }
            return;
        }
        let outputs = process.node.give(local);
        self.notice(host, &outputs);
        self.handle(host, outputs);
    }

    fn give(&mut self, host: usize, life: u64) {
        let Some(machine) = self.hosts.get(host).filter(|machine| machine.life == life) else {
            return;
        };
        let local = machine.clock.now(self.now);
        if self.waits(host, Happening::Give { host, life }).is_none() {
            return;
        }
        if let Some(process) = self.process(host) {
            process.is_gathering = false;
            let outputs = process.node.give(local);
            self.notice(host, &outputs);
            self.handle(host, outputs);
        }
    }

    fn handle(&mut self, host: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Persist {
                    number,
                    batch,
                    must_sync,
                } => {
                    if let Some(process) = self.process(host) {
                        process.to_write.push_back((number, batch, must_sync));
                    }
                }
                Output::Run(task) => {
                    if let Some(process) = self.process(host) {
                        process.tasks.push_back(task);
                    }
                }
                Output::Send { to, envelope } => self.send(host, to, &envelope),
                Output::Reply { token, answer } => {
                    let delay = self.random.random_range(100_000..2 * MS);
                    self.schedule(
                        delay,
                        Happening::Answered {
                            token,
                            answer: Box::new(answer),
                            from: host,
                        },
                    );
                }
                Output::Event(event) => self.hear(host, event),
            }
        }
        self.write(host);
        self.work(host);
    }

    fn hear(&mut self, host: usize, event: Event) {
        self.say(|| format!("machine {host}: {event:?}"));
        if let Event::Joined(node) = &event {
            self.nodes.insert(*node, host);
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.node = Some(*node);
            }
        }
        let at = self.now;
        self.told.push(Told { at, host, event });
    }

    fn process(&mut self, host: usize) -> Option<&mut Process> {
        self.hosts.get_mut(host)?.process.as_mut()
    }

    fn send(&mut self, from: usize, to: Peer, envelope: &Envelope) {
        let to = match to {
            Peer::Node(node) => self.nodes.get(&node).copied(),
            Peer::Joiner(token) => self.joiners.get(&token).copied(),
        };
        let Some(to) = to else {
            return;
        };
        let Ok(bytes) = envelope.encode() else {
            return;
        };
        self.notice_sent(from, to, envelope);
        for delay in self.network.deliveries(from, to, &mut self.random) {
            let envelope = bytes.clone();
            self.schedule(delay, Happening::Deliver { to, envelope });
        }
    }

    /// Gives the disk what waits, if it is idle.
    fn write(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        let (log, slowness, life) = (machine.log.clone(), machine.disk_slowness, machine.life);
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.is_writing || process.to_write.is_empty() {
            return;
        }
        match process.begin_write(&log) {
            Ok(number) => {
                let delay = self.random.random_range(200_000..3 * MS) * slowness;
                self.schedule(delay, Happening::DiskDone { host, life, number });
            }
            Err(error) => {
                self.say(|| format!("machine {host} cannot write its log: {error}"));
                self.crash(host);
            }
        }
    }

    fn disk_done(&mut self, host: usize, life: u64, number: u64) {
        let Some(machine) = self.hosts.get_mut(host).filter(|machine| machine.life == life) else {
            return;
        };
        let log = machine.log.clone();
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.end_write(&log).is_err() {
            return self.crash(host);
        }
        if self
            .waits(host, Happening::DiskDone { host, life, number })
            .is_none()
        {
            if let Some(process) = self.process(host) {
                process.is_writing = true;
            }
            return;
        }
        self.step(host, Input::Persisted(number));
        self.write(host);
    }

    /// Lets the applier begin its next task, if it is idle.
    fn work(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        let life = machine.life;
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.is_applying || process.tasks.is_empty() {
            return;
        }
        process.is_applying = true;
        let slow = self.random.random_bool(0.02);
        let delay = match slow {
            true => self.random.random_range(MS..200 * MS),
            false => self.random.random_range(10_000..500_000),
        };
        self.schedule(delay, Happening::Apply { host, life });
    }

    fn apply(&mut self, host: usize, life: u64) {
        let is_alive = self
            .hosts
            .get(host)
            .is_some_and(|machine| machine.life == life && machine.process.is_some());
        if !is_alive || self.waits(host, Happening::Apply { host, life }).is_none() {
            return;
        }
        let Some(process) = self.process(host) else {
            return;
        };
        process.is_applying = false;
        let Some(task) = process.tasks.pop_front() else {
            return;
        };
        self.note_applied(host, &task);
        let Some(process) = self.process(host) else {
            return;
        };
        let installing = match &task {
            Task::Install { group } => Some(*group),
            _ => None,
        };
        let done = process.applier.run(task);
        if let Some(pliantdb_cluster::applier::Done::Failed { error, .. }) = &done
            && matches!(error, pliantdb_storage::StorageError::Commit(_))
        {
            // What a store that cannot write has done only recovery can tell.
            self.say(|| format!("machine {host} cannot write its state: {error}"));
            self.notice_failed(host, installing);
            return self.crash(host);
        }
        if let Some(done) = done {
            self.notice_done(host, &done);
            self.step(host, Input::Done(done));
        }
        self.work(host);
    }
}

impl World {
    /// Notes which entry each replica applies where.
    fn note_applied(&mut self, host: usize, task: &Task) {
        let Task::Apply { group, entries } = task else {
            return;
        };
        let process = self.hosts.get(host).and_then(|machine| machine.process.as_ref());
        let Some(incarnation) = process.and_then(|process| process.node.incarnation(*group)) else {
            return;
        };
        for entry in entries {
            self.say(|| {
                format!(
                    "machine {host} applies {group} {} {} {:?} {:?}",
                    entry.index,
                    entry.term,
                    entry.command.as_ref().map(|command| command.timestamp),
                    entry.config
                )
            });
            let digest = xxh3_64(format!("{:?}", entry.command).as_bytes());
            let key = (*group, incarnation, entry.index);
            let (term, other, known) = *self.applied.entry(key).or_insert((entry.term, host, digest));
            if (term, known) != (entry.term, digest) {
                let differs = format!(
                    "machines {other} and {host} apply different entries {} of group {group} in {incarnation}, of \
                     terms {term} and {}",
                    entry.index, entry.term
                );
                self.say(|| differs.clone());
                self.differing.push(differs);
            }
        }
    }
}

/// Small, so that snapshots are met.
fn limits() -> Limits {
    Limits {
        flush_entries: 40,
        flush_bytes: 20_000,
        apply_bytes: 1_000,
        tail_entries: 20,
        chunk_bytes: 2_000,
    }
}
