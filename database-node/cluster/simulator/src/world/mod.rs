//! Machines, the network between them, and time.

mod clock;
mod deciding;
mod disks;
mod happening;
mod host;
mod machines;
mod network;
mod noticing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use pliantdb_cluster::node::{Answer, Ask, Event};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{Incarnation, Input, NodeId, Output, Timing};
use pliantdb_core::{GroupId, Request, Response};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xxhash_rust::xxh3::Xxh3;

use clock::MILLION;
pub use clock::{Clock, Turn};
use deciding::Deciding;
pub use happening::Happening;
use happening::Scheduled;
pub use host::{Host, Process};
pub use network::Network;
use noticing::Noticed;

/// Nanoseconds of true time since the world began.
pub type Time = u64;

/// A millisecond.
pub const MS: Time = 1_000_000;
/// A second.
pub const SECOND: Time = 1_000 * MS;

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

/// A node has found the clock of another to run out of bound.
#[derive(Debug, Clone)]
pub struct Drift {
    /// When.
    pub at: Time,
    /// On which machine.
    pub by: usize,
    /// That of which machine.
    pub of: usize,
    /// By how much, in parts per million.
    pub ppm: i64,
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
    /// Which clocks were found to be wrong.
    pub drifts: Vec<Drift>,
    /// By group, life and index: which entry was applied, and by whom first.
    applied: BTreeMap<(GroupId, Incarnation, u64), (u64, usize, u64)>,
    /// Where replicas have applied different entries.
    pub differing: Vec<String>,
    noticed: Noticed,
    deciding: Deciding,
    drift_ppm: u32,
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
            drifts: Vec::new(),
            applied: BTreeMap::new(),
            differing: Vec::new(),
            noticed: Noticed::default(),
            deciding: Deciding::default(),
            drift_ppm,
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
                let drift = clock::wild_drift(&mut self.random);
                let rate = match self.random.random_bool(0.5) {
                    true => MILLION + drift,
                    false => MILLION - drift,
                };
                machine.clock.set_rate(self.now, rate);
            }
        }
    }

    /// Lets the steady clock of a machine run otherwise from now on.
    pub fn turn_clock(&mut self, host: usize, turn: Turn) {
        let rate = match turn {
            Turn::Right => clock::rate_within(&mut self.random, self.drift_ppm),
            Turn::Slow => MILLION - clock::wild_drift(&mut self.random),
            Turn::Fast => MILLION + clock::wild_drift(&mut self.random),
        };
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.clock.set_rate(self.now, rate);
        }
        self.say(|| format!("the steady clock of machine {host} runs at {rate} ppm from now on"));
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

    /// Reads what a machine's replica has applied by now.
    pub fn read(
        &self,
        host: usize,
        group: GroupId,
        request: &Request,
    ) -> Option<Result<Response, pliantdb_core::Error>> {
        let process = self.hosts.get(host)?.process.as_ref()?;
        process.applier.answer(group, request)
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
            let from = match envelope.from {
                Peer::Node(node) => self.host_of(node),
                Peer::Joiner(_) => None,
            };
            let is_up = self.hosts.get(to).is_some_and(Host::is_up);
            if let Some(from) = from.filter(|_| is_up) {
                self.deciding.delivered(from, to, &envelope, self.now);
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
        // A reader looks at what is published first.
        if let Input::Ask { token, ask } = &input
            && let Some(answer) = process.published(local, ask)
        {
            let token = *token;
            return self.answer(host, token, answer);
        }
        process.node.take(local, input);
        let (share, random) = &mut self.gathered;
        if *share > 0 && random.random_range(0..1000) < *share {
            if !std::mem::replace(&mut process.is_gathering, true) {
                let (delay, life) = (random.random_range(0..3 * MS), machine.life);
                self.schedule(delay, Happening::Give { host, life });
            }
            return;
        }
        let outputs = process.give(local);
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
            let outputs = process.give(local);
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
                Output::Reply { token, answer } => self.answer(host, token, answer),
                Output::Event(event) => self.hear(host, event),
            }
        }
        self.write(host);
        self.work(host);
    }

    fn answer(&mut self, from: usize, token: u64, answer: Answer) {
        let delay = self.random.random_range(100_000..2 * MS);
        let answer = Box::new(answer);
        self.schedule(delay, Happening::Answered { token, answer, from });
    }

    fn hear(&mut self, host: usize, event: Event) {
        self.say(|| format!("machine {host}: {event:?}"));
        if let Event::Joined(node) = &event {
            self.nodes.insert(*node, host);
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.node = Some(*node);
            }
        }
        self.notice_told(host, &event);
        let at = self.now;
        if let Event::ClockDrift { node, ppm } = &event
            && let Some(of) = self.host_of(*node)
        {
            let (by, ppm) = (host, *ppm);
            self.drifts.push(Drift { at, by, of, ppm });
        }
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
}
