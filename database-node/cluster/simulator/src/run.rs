//! A seed, from its beginning to its verdict.

use std::collections::BTreeMap;

use pliantdb_cluster::mistakes::{Mistake, plant};
use pliantdb_cluster::node::Event;
use pliantdb_cluster::{Meta, Mode};

use crate::clients::{self, Clients, Database};
use crate::faults::Faults;
use crate::history::ForcedGroup;
use crate::invariants::healing::{self, Stuck};
use crate::invariants::{Evidence, Violation, check, clocks, guarantee, panics};
use crate::scenario::{Clocks, Scenario};
use crate::states::{look, states};
use crate::steps::Step;
use crate::world::{Happening, MS, SECOND, Time, World};

/// What came of a seed.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// How many faults there were.
    pub faults: u64,
    /// How many operations were asked for.
    pub operations: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// How much virtual time has passed.
    pub virtual_nanos: Time,
    /// How much has happened.
    pub happened: u64,
    /// A digest of all of it.
    pub digest: u64,
    /// How many changes of mode or leader came to an end.
    pub switches: u64,
    /// How often a group was forced.
    pub forced: u64,
    /// How many snapshots were put in place.
    pub snapshots: u64,
    /// How often a group was put to sleep.
    pub naps: u64,
    /// How many faults struck while a group slept.
    pub faults_asleep: u64,
    /// How often a clock began to run out of bound while nodes ran.
    pub turned: u64,
    /// How often a node found the clock of another to run out of bound.
    pub drifts: u64,
    /// How many faults struck directly after a step of a node.
    pub struck_after: BTreeMap<Step, u64>,
    /// How many processes were told to stop in good order, and how many of those have handed over all before.
    pub stops: (u64, u64),
    /// How often the leader of all databases stayed away after that, and was to be replaced by itself.
    pub away: u64,
}

/// Runs a seed, with a mistake planted if one is given.
#[must_use]
pub fn run(scenario: &Scenario, mistake: Option<Mistake>, is_loud: bool) -> Verdict {
    plant(mistake);
    let verdict = panics::guard(|| Run::new(scenario, mistake, is_loud).run());
    plant(None);
    verdict.unwrap_or_else(|violation| Verdict {
        seed: scenario.seed,
        violations: vec![violation],
        ..Verdict::default()
    })
}

/// How a planted mistake was caught.
#[derive(Debug, Clone)]
pub struct Caught {
    /// In how many seeds.
    pub seeds: u64,
    /// After how much virtual time.
    pub virtual_minutes: f64,
    /// By what should have held.
    pub invariant: &'static str,
    /// What was seen instead.
    pub seen: String,
}

/// Plants a mistake and runs seeds, from a first one, until something does not hold; `None` when all of so many hold.
#[must_use]
pub fn caught(mistake: Mistake, first: u64, seeds: u64) -> Option<Caught> {
    let mut nanos = 0;
    for number in 0..seeds {
        let verdict = run(&Scenario::of(first + number), Some(mistake), false);
        nanos += verdict.virtual_nanos;
        if let Some(violation) = verdict.violations.into_iter().next() {
            return Some(Caught {
                seeds: number + 1,
                virtual_minutes: nanos as f64 / (60 * SECOND) as f64,
                invariant: violation.invariant,
                seen: violation.seen,
            });
        }
    }
    None
}

/// Counts how often groups were put to sleep, whatever becomes of the processes that did.
#[derive(Default)]
struct Naps {
    all: u64,
    /// Of each machine: of which start of it, and how often.
    seen: BTreeMap<usize, (u64, u64)>,
}

impl Naps {
    fn note(&mut self, world: &World) {
        for (host, machine) in world.hosts.iter().enumerate() {
            let Some(process) = &machine.process else {
                continue;
            };
            let naps = process.node.naps();
            let before = self.seen.insert(host, (machine.life, naps));
            let known = before.filter(|(life, _)| *life == machine.life);
            self.all += naps - known.map_or(0, |(_, naps)| naps);
        }
    }
}

/// Whether a group sleeps somewhere.
fn are_asleep(world: &World) -> bool {
    let processes = world.hosts.iter().filter_map(|machine| machine.process.as_ref());
    processes.into_iter().any(|process| process.node.asleep() > 0)
}

struct Run {
    scenario: Scenario,
    world: World,
    clients: Clients,
    faults: Faults,
    told: usize,
    snapshots: u64,
    switches: u64,
    naps: Naps,
    faults_asleep: u64,
    /// How often the leader of all databases stayed away after it had stopped.
    away: u64,
    /// Where more was promised than given.
    overstated: Option<String>,
    /// Who trusts a clock that is wrong.
    trusting: Option<String>,
}

impl Run {
    fn new(scenario: &Scenario, mistake: Option<Mistake>, is_loud: bool) -> Self {
        let mut world = World::new(scenario.seed, scenario.nodes, scenario.drift_ppm);
        world.is_loud = is_loud;
        if scenario.clocks == Clocks::Wild {
            world.let_clocks_run_wild();
        }
        Self {
            scenario: scenario.clone(),
            world,
            clients: Clients::new(0, Vec::new(), 1, scenario.duration),
            faults: Faults::new(scenario.clone(), mistake),
            told: 0,
            snapshots: 0,
            switches: 0,
            naps: Naps::default(),
            faults_asleep: 0,
            away: 0,
            overstated: None,
            trusting: None,
        }
    }

    fn run(mut self) -> Verdict {
        let stuck = match self.form() {
            Ok(databases) => {
                self.load(databases);
                self.heal()
            }
            Err(stuck) => Err(stuck),
        };
        let databases: Vec<&Database> = self.clients.databases().collect();
        let (contents, replicas) = look(&self.world, &databases);
        let violations = check(&Evidence {
            history: &self.clients.history,
            clocks: self.scenario.clocks,
            machines: &self.world.hosts,
            drifts: &self.world.drifts,
            trusting: self.trusting.as_deref(),
            is_automatic: self.scenario.is_automatic,
            stuck: stuck.as_ref().err(),
            overstated: self.overstated.as_deref(),
            owners: &self.faults.owners,
            decisions: self.world.decisions(),
            told: &self.world.told,
            differing: &self.world.differing,
            contents: &contents,
            replicas: &replicas,
        });
        let operations = &self.clients.history.operations;
        Verdict {
            seed: self.scenario.seed,
            violations,
            faults: self.faults.struck,
            operations: operations.len() as u64,
            answered: operations
                .iter()
                .filter(|operation| operation.ended.is_some())
                .count() as u64,
            virtual_nanos: self.world.now(),
            happened: self.world.happened,
            digest: self.world.digest(),
            switches: self.switches,
            forced: self.clients.history.forced.values().map(Vec::len).sum::<usize>() as u64,
            snapshots: self.snapshots,
            naps: self.naps.all,
            faults_asleep: self.faults_asleep,
            turned: self.faults.turned,
            drifts: self.world.drifts.len() as u64,
            struck_after: self.faults.struck_after.clone(),
            stops: self.faults.stops,
            away: self.away,
        }
    }

    /// Lets the world go on until a moment, or until something is so.
    fn go_on(&mut self, until: Time, mut is_enough: impl FnMut(&Self) -> bool) -> bool {
        let mut looked = self.world.now();
        loop {
            let Some(what) = self.world.next(until.min(looked + 200 * MS)) else {
                self.hear();
                if self.overstated.is_none() {
                    self.overstated = guarantee::overstated(&self.world);
                }
                if self.trusting.is_none() {
                    self.trusting = clocks::trusting(&self.world);
                }
                self.naps.note(&self.world);
                looked = self.world.now();
                if is_enough(self) {
                    return true;
                }
                if looked >= until {
                    return false;
                }
                continue;
            };
            self.hear();
            match what {
                Happening::Client { client, turn } => self.clients.turn(&mut self.world, client, turn),
                Happening::Answered { token, answer, from } => {
                    self.faults.owners.answered(token, self.world.now(), &answer);
                    self.faults.answered(&mut self.world, token, &answer);
                    self.clients.answered(&mut self.world, token, *answer, from);
                }
                Happening::Watch { watcher } => self.clients.watch_turn(&mut self.world, watcher),
                Happening::Stepped(stepped) => {
                    self.faults.stepped(&mut self.world, &mut self.clients, stepped);
                }
                Happening::Fault => {
                    self.faults_asleep += u64::from(are_asleep(&self.world));
                    self.faults.strike(&mut self.world, &mut self.clients);
                }
                Happening::Mend(what) => self.faults.end(&mut self.world, what),
                _ => {}
            }
        }
    }

    /// Takes note of what nodes tell of.
    fn hear(&mut self) {
        while let Some(told) = self.world.told.get(self.told) {
            self.told += 1;
            match &told.event {
                Event::ForceConfirmed { group, incarnation } => {
                    let forced = self.clients.history.forced.entry(*group).or_default();
                    let of_life = forced
                        .iter_mut()
                        .filter(|forced| forced.incarnation == *incarnation);
                    of_life.for_each(|forced| forced.is_confirmed = true);
                }
                Event::Forced {
                    group,
                    incarnation,
                    fork,
                } => {
                    let forced = ForcedGroup {
                        at: told.at,
                        incarnation: *incarnation,
                        fork: *fork,
                        is_confirmed: false,
                    };
                    self.clients
                        .history
                        .forced
                        .entry(*group)
                        .or_default()
                        .push(forced);
                    let group = *group;
                    self.clients.forget(group);
                }
                Event::Installed { .. } => self.snapshots += 1,
                Event::Switch {
                    phase: pliantdb_cluster::node::SwitchPhase::Ended,
                    ..
                } => self.switches += 1,
                _ => {}
            }
        }
    }

    fn meta(&self) -> Option<Meta> {
        Faults::meta(&self.world).map(|(_, meta)| meta)
    }

    /// Brings the cluster to where the scenario begins.
    fn form(&mut self) -> Result<Vec<Database>, Stuck> {
        self.world.start(0);
        self.world.found(0);
        let until = self.world.now() + healing::BOUND;
        self.go_on(until, |run| run.meta().is_some());
        for host in 1..self.scenario.nodes {
            self.world.start(host);
            self.world.join(host);
        }
        let nodes = self.scenario.nodes;
        let is_whole = |run: &Self| {
            run.meta().is_some_and(|meta| {
                meta.nodes().len() == nodes && meta.groups().values().all(|record| record.is_settled())
            })
        };
        if !self.go_on(until, is_whole) {
            return Err(Stuck::forming("the nodes did not come together", &self.world));
        }
        for number in 0..self.scenario.databases {
            self.faults
                .create_database(&mut self.world, &format!("database-{number}"));
            let made = number + 2;
            let is_made = |run: &Self| run.meta().is_some_and(|meta| meta.groups().len() == made);
            if !self.go_on(until, is_made) {
                return Err(Stuck::forming("a database was not made", &self.world));
            }
        }
        if self.scenario.begins_as_quorum {
            self.faults.switch(&mut self.world, Mode::Quorum);
            let is_quorum = |run: &Self| run.meta().is_some_and(|meta| meta.mode() == Mode::Quorum);
            if !self.go_on(until, is_quorum) {
                return Err(Stuck::forming(
                    "the cluster did not become one of a quorum",
                    &self.world,
                ));
            }
        }
        if self.scenario.is_automatic {
            self.faults.set_automatic(&mut self.world);
        }
        let meta = self.meta();
        let groups = meta.iter().flat_map(|meta| meta.groups());
        let databases = groups.filter_map(|(group, record)| {
            let name = record.shard.as_ref()?.database.clone();
            Some(Database { name, group: *group })
        });
        Ok(databases.collect())
    }

    /// Clients ask, and faults strike.
    fn load(&mut self, databases: Vec<Database>) {
        let Scenario {
            clients: count,
            operations,
            duration,
            ..
        } = self.scenario;
        self.clients = Clients::new(count, databases, operations, duration);
        if self.scenario.has_lulls {
            self.clients.take_lulls(&mut self.world, duration);
        }
        self.clients.begin(&mut self.world);
        self.faults.begin(&mut self.world);
        let until = self.world.now() + duration.as_nanos() as Time;
        self.go_on(until, |_| false);
        // Where hardly anybody was answered, all goes on until enough was asked.
        let is_enough = |run: &Self| run.clients.begun() >= clients::LEAST;
        self.go_on(until + 4 * duration.as_nanos() as Time, is_enough);
    }

    /// The leader of all databases stops in good order and stays away: where it is replaced by itself, writes go on.
    fn go_on_without_leader(&mut self) -> Result<(), Stuck> {
        let is_armed = |run: &Self| {
            let meta = run.meta();
            meta.is_some_and(|meta| meta.leased().is_none() || meta.unarmed_since().is_none())
        };
        let until = self.world.now() + healing::BOUND;
        if self.scenario.clocks == Clocks::Wild || !self.go_on(until, is_armed) {
            // Where a clock is wrong nobody may be replaced.
            return Ok(());
        }
        let leased = self.meta().and_then(|meta| meta.leased());
        let Some((leader, host)) = leased.and_then(|(node, _)| Some((node, self.world.host_of(node)?)))
        else {
            return Ok(());
        };
        self.faults.stop_for_good(&mut self.world, host);
        let is_up = |run: &Self| run.world.hosts.get(host).is_some_and(crate::world::Host::is_up);
        let until = self.world.now() + healing::BOUND;
        self.go_on(until, |run| !is_up(run));
        self.away += 1;
        let until = self.world.now() + healing::AWAY;
        for (database, object, asked) in self.clients.write_each() {
            let is_answered = |run: &Self| {
                let last = run.clients.history.operations.last();
                run.clients.is_idle(0) && last.is_some_and(|operation| operation.ended.is_some())
            };
            loop {
                self.clients
                    .start(&mut self.world, 0, &database, object, asked.clone());
                self.go_on(until, |run| run.clients.is_idle(0));
                if is_answered(self) {
                    break;
                }
                if self.world.now() >= until {
                    let what = format!("a write was not answered while node {leader} was away that had led");
                    return Err(Stuck::healing(&what, &self.world));
                }
            }
        }
        self.faults.come_back(&mut self.world);
        let until = self.world.now() + healing::BOUND;
        let is_at_rest = |run: &Self| healing::is_at_rest(run.meta().as_ref(), &run.clients, &run.faults);
        match self.go_on(until, is_at_rest) {
            true => Ok(()),
            false => Err(Stuck::healing("the cluster did not come to rest", &self.world)),
        }
    }

    /// No more faults: the cluster must come to rest, and answer.
    fn heal(&mut self) -> Result<(), Stuck> {
        self.clients.is_open = false;
        self.clients.watchers.close();
        self.faults.heal(&mut self.world);
        let until = self.world.now() + healing::BOUND;
        let is_at_rest = |run: &Self| healing::is_at_rest(run.meta().as_ref(), &run.clients, &run.faults);
        if !self.go_on(until, is_at_rest) {
            return Err(Stuck::healing("the cluster did not come to rest", &self.world));
        }
        self.go_on_without_leader()?;
        // Everything is read once more, by the first client.
        for (database, object, asked) in self.clients.read_all() {
            self.clients.start(&mut self.world, 0, &database, object, asked);
            let until = self.world.now() + healing::BOUND;
            let is_answered = |run: &Self| run.clients.is_idle(0);
            let in_time = self.go_on(until, is_answered);
            let was_answered = self
                .clients
                .history
                .operations
                .last()
                .is_some_and(|operation| operation.ended.is_some());
            if !in_time || !was_answered {
                return Err(Stuck::healing(
                    "a read was not answered after all faults had ended",
                    &self.world,
                ));
            }
        }
        // Whoever is behind catches up.
        let until = self.world.now() + healing::BOUND;
        match self.go_on(until, |run| healing::have_caught_up(&states(&run.world))) {
            true => Ok(()),
            false => Err(Stuck::healing(
                "a replica did not catch up after all faults had ended",
                &self.world,
            )),
        }
    }
}
