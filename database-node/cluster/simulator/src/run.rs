//! A seed, from its beginning to its verdict.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pliantdb_cluster::group::Role;
use pliantdb_cluster::meta::Guarantee;
use pliantdb_cluster::mistakes::{Mistake, plant};
use pliantdb_cluster::node::Event;
use pliantdb_cluster::{META, Meta, Mode};
use pliantdb_core::GroupId;
use xxhash_rust::xxh3::xxh3_64;

use crate::clients::{Clients, Contents, Database, contents};
use crate::faults::Faults;
use crate::history::ForcedGroup;
use crate::invariants::{Evidence, Replica, Violation, check};
use crate::scenario::Scenario;
use crate::steps::Step;
use crate::world::{Happening, MS, SECOND, Time, World};

/// How long a cluster without faults may take to be as its owner wants it, and to answer everything.
const HEALING: Time = 60 * SECOND;
/// How long a cluster may take to come together.
const FORMING: Time = 60 * SECOND;

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
    /// How many faults struck directly after a step of a node.
    pub struck_after: BTreeMap<Step, u64>,
}

/// Runs a seed, with a mistake planted if one is given.
#[must_use]
pub fn run(scenario: &Scenario, mistake: Option<Mistake>, is_loud: bool) -> Verdict {
    plant(mistake);
    let verdict = catch_unwind(AssertUnwindSafe(|| Run::new(scenario, mistake, is_loud).run()));
    plant(None);
    verdict.unwrap_or_else(|_| Verdict {
        seed: scenario.seed,
        violations: vec![Violation {
            invariant: "nothing panics",
            seen: "see above".to_owned(),
        }],
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
    /// Where more was promised than given.
    overstated: Option<String>,
}

impl Run {
    fn new(scenario: &Scenario, mistake: Option<Mistake>, is_loud: bool) -> Self {
        let mut world = World::new(scenario.seed, scenario.nodes, scenario.drift_ppm);
        world.is_loud = is_loud;
        if scenario.are_clocks_wild {
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
            overstated: None,
        }
    }

    fn run(mut self) -> Verdict {
        let mut violations = Vec::new();
        match self.form() {
            Ok(databases) => {
                self.load(databases);
                let healed = self.heal();
                // Where a leader needs a lease, one whose clock is wrong does not act.
                let must_act = !(self.scenario.are_clocks_wild && self.scenario.is_automatic);
                violations.extend(healed.err().filter(|_| must_act));
            }
            Err(violation) => violations.push(violation),
        }
        if let Some(seen) = self.overstated.take() {
            violations.push(Violation {
                invariant: "what is published is given",
                seen,
            });
        }
        if self.world.is_forced_amid_switch() && self.faults.forced == 0 {
            violations.push(Violation {
                invariant: "while a switch is open nobody is replaced by itself",
                seen: "groups were forced, and no owner had asked for it".to_owned(),
            });
        }
        let (contents, replicas) = self.look();
        let evidence = Evidence {
            history: &self.clients.history,
            are_clocks_wild: self.scenario.are_clocks_wild,
            told: &self.world.told,
            differing: &self.world.differing,
            contents: &contents,
            replicas: &replicas,
        };
        violations.extend(check(&evidence));
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
            struck_after: self.faults.struck_after.clone(),
        }
    }

    /// Lets the world go on until a moment, or until something is so.
    fn go_on(&mut self, until: Time, mut is_enough: impl FnMut(&Self) -> bool) -> bool {
        let mut looked = self.world.now();
        loop {
            let Some(what) = self.world.next(until.min(looked + 200 * MS)) else {
                self.hear();
                self.note_guarantee();
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

    /// What is published is given: while a majority is promised, every group has one to lose a member of.
    fn note_guarantee(&mut self) {
        let processes = || {
            let hosts = self.world.hosts.iter();
            hosts.filter_map(|machine| machine.process.as_ref())
        };
        let meta_terms = processes().filter_map(|process| {
            let replicas = process.node.replicas().into_iter();
            replicas
                .filter(|report| report.group == META)
                .map(|report| report.term)
                .max()
        });
        let Some(latest) = meta_terms.max() else { return };
        let mut leaders = processes().filter(|process| process.node.leads(META));
        let (Some(process), None) = (leaders.next(), leaders.next()) else {
            return;
        };
        // One that slept and has not heard of its successor yet tells of what was.
        let replicas = process.node.replicas().into_iter();
        if !replicas
            .filter(|report| report.group == META)
            .any(|report| report.term == latest)
        {
            return;
        }
        let Some(meta) = process
            .node
            .meta()
            .filter(|meta| meta.guarantee() == Guarantee::Majority)
        else {
            return;
        };
        for (group, record) in meta.groups() {
            let reports = processes().flat_map(|process| process.node.replicas());
            let of_group = reports.filter(|report| report.group == *group && report.role == Role::Leader);
            let of_life = of_group.filter(|report| report.incarnation == record.incarnation);
            let Some(leader) = of_life.max_by_key(|report| report.term) else {
                continue;
            };
            let members = &leader.config.members;
            if members.voters.len() < 3 || (members.is_joint() && members.outgoing.len() < 3) {
                let seen = format!("group {group} has {members:?} at {} ms", self.world.now() / MS);
                self.overstated.get_or_insert(seen);
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
                        is_split_brain_accepted: self.faults.is_split_brain_accepted,
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
    fn form(&mut self) -> Result<Vec<Database>, Violation> {
        self.world.start(0);
        self.world.found(0);
        let until = self.world.now() + FORMING;
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
            return Err(not_healed("the nodes did not come together", self));
        }
        for number in 0..self.scenario.databases {
            self.faults
                .create_database(&mut self.world, &format!("database-{number}"));
            let made = number + 2;
            let is_made = |run: &Self| run.meta().is_some_and(|meta| meta.groups().len() == made);
            if !self.go_on(until, is_made) {
                return Err(not_healed("a database was not made", self));
            }
        }
        if self.scenario.begins_as_quorum {
            self.faults.switch(&mut self.world, Mode::Quorum);
            let is_quorum = |run: &Self| run.meta().is_some_and(|meta| meta.mode() == Mode::Quorum);
            if !self.go_on(until, is_quorum) {
                return Err(not_healed("the cluster did not become one of a quorum", self));
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
            clients,
            operations,
            duration,
            ..
        } = self.scenario;
        self.clients = Clients::new(clients, databases, operations, duration);
        if self.scenario.has_lulls {
            self.clients.take_lulls(&mut self.world, duration);
        }
        self.clients.begin(&mut self.world);
        self.faults.begin(&mut self.world);
        let until = self.world.now() + duration.as_nanos() as Time;
        self.go_on(until, |_| false);
    }

    /// No more faults: the cluster must come to rest, and answer.
    fn heal(&mut self) -> Result<(), Violation> {
        self.clients.is_open = false;
        self.clients.watchers.close();
        self.faults.heal(&mut self.world);
        let until = self.world.now() + HEALING;
        let is_at_rest = |run: &Self| {
            let settled = run.meta().is_some_and(|meta| {
                meta.switch().is_none() && meta.groups().values().all(|record| record.is_settled())
            });
            settled && run.clients.are_idle() && !run.faults.is_replacing()
        };
        if !self.go_on(until, is_at_rest) {
            return Err(not_healed("the cluster did not come to rest", self));
        }
        // Everything is read once more, by the first client.
        for (database, object, asked) in self.clients.read_all() {
            self.clients.start(&mut self.world, 0, &database, object, asked);
            let until = self.world.now() + HEALING;
            let is_answered = |run: &Self| run.clients.is_idle(0);
            let in_time = self.go_on(until, is_answered);
            let was_answered = self
                .clients
                .history
                .operations
                .last()
                .is_some_and(|operation| operation.ended.is_some());
            if !in_time || !was_answered {
                return Err(not_healed(
                    "a read was not answered after all faults had ended",
                    self,
                ));
            }
        }
        // Whoever is behind catches up.
        let until = self.world.now() + HEALING;
        let has_caught_up = |run: &Self| {
            run.states().values().all(|replicas| {
                replicas
                    .iter()
                    .all(|(_, applied, _)| Some(applied) == replicas.first().map(|(_, first, _)| first))
            })
        };
        match self.go_on(until, has_caught_up) {
            true => Ok(()),
            false => Err(not_healed(
                "a replica did not catch up after all faults had ended",
                self,
            )),
        }
    }

    /// What each machine has of each group.
    fn states(&self) -> BTreeMap<GroupId, Vec<Replica>> {
        let mut replicas: BTreeMap<GroupId, Vec<Replica>> = BTreeMap::new();
        let Some(meta) = self.meta() else {
            return replicas;
        };
        for (host, machine) in self.world.hosts.iter().enumerate() {
            let (Some(process), Some(node)) = (&machine.process, machine.node) else {
                continue;
            };
            for (group, record) in meta.groups().iter().filter(|(group, _)| **group != META) {
                if !record.replicas.contains_key(&node) {
                    continue;
                }
                let is_of_this_life = process.node.incarnation(*group) == Some(record.incarnation);
                let snapshot = process.applier.snapshot(*group).filter(|_| is_of_this_life);
                let applied = snapshot.map(|snapshot| snapshot.position().index);
                replicas
                    .entry(*group)
                    .or_default()
                    .push((host, applied.unwrap_or_default(), 0));
            }
        }
        replicas
    }

    /// Prints what differs between two machines.
    fn tell_difference(&self, a: usize, b: usize) {
        use pliantdb_storage::store::{Cursor, KeyRange, OrderedStore, Snapshot};
        let all = |host: usize| {
            let mut all = BTreeMap::new();
            if let Some(machine) = self.world.hosts.get(host) {
                let snapshot = machine.state.snapshot();
                if let Ok(mut cursor) =
                    snapshot.scan(KeyRange::prefixed(&[]), pliantdb_core::Order::Ascending)
                {
                    while let Some((key, value)) = cursor.entry() {
                        all.insert(key.to_vec(), value.to_vec());
                        if cursor.advance().is_err() {
                            break;
                        }
                    }
                }
            }
            all
        };
        let (first, second) = (all(a), all(b));
        for key in first
            .keys()
            .chain(second.keys())
            .collect::<std::collections::BTreeSet<_>>()
        {
            let (one, other) = (first.get(key), second.get(key));
            if one != other {
                self.world
                    .say(|| format!("{key:?}: {one:?} on {a} and {other:?} on {b}"));
            }
        }
    }

    fn look(&self) -> (BTreeMap<GroupId, Contents>, BTreeMap<GroupId, Vec<Replica>>) {
        let mut replicas = self.states();
        let mut all = BTreeMap::new();
        for (group, of_group) in &mut replicas {
            for (host, _, digest) in of_group.iter_mut() {
                *digest = self.digest(*host, *group).unwrap_or_default();
            }
            let differs = of_group
                .iter()
                .find(|(_, _, digest)| of_group.first().is_some_and(|first| first.2 != *digest));
            if let (Some((a, ..)), Some((b, ..))) = (of_group.first(), differs)
                && self.world.is_loud
            {
                self.tell_difference(*a, *b);
            }
            let furthest = of_group.iter().max_by_key(|(_, applied, _)| *applied);
            let database = self
                .clients
                .databases()
                .iter()
                .find(|database| database.group == *group);
            if let (Some((host, ..)), Some(database)) = (furthest, database)
                && let Some(contents) = contents(&self.world, *host, database)
            {
                all.insert(*group, contents);
            }
        }
        (all, replicas)
    }

    /// A digest of the state that a machine has of a group.
    fn digest(&self, host: usize, group: GroupId) -> Option<u64> {
        let process = self.world.hosts.get(host)?.process.as_ref()?;
        let snapshot = process.applier.snapshot(group)?;
        let (mut after, mut digests) = (Vec::new(), Vec::new());
        loop {
            let chunk = snapshot.chunk(&after, 1 << 20).ok()?;
            digests.extend(xxh3_64(&chunk.bytes).to_be_bytes());
            match chunk.next {
                Some(next) => after = next,
                None => return Some(xxh3_64(&digests)),
            }
        }
    }
}

/// What did not come about in time, with how everything stands.
fn not_healed(what: &str, run: &Run) -> Violation {
    let mut seen = vec![what.to_owned()];
    if let Some(meta) = run.meta() {
        let (mode, switch, epoch, failover) = (meta.mode(), meta.switch(), meta.epoch(), meta.failover());
        seen.push(format!("{mode:?} {switch:?} {epoch} {failover:?}"));
        for (group, record) in meta.groups() {
            let (voters, learners) = (record.voting(), record.learning());
            let (leader, epoch, settled) = (record.leader, record.epoch, record.settled);
            seen.push(format!(
                "group {group} {} is to be led by {leader} with {voters:?} and {learners:?} as of {epoch}, settled {settled}",
                record.incarnation
            ));
        }
    }
    for (host, machine) in run.world.hosts.iter().enumerate() {
        let node = machine.node;
        let Some(process) = &machine.process else {
            seen.push(format!("machine {host} {node:?} is off"));
            continue;
        };
        seen.push(format!(
            "machine {host} {node:?} knows meta up to {}",
            process.node.meta_applied()
        ));
        for report in process.node.replicas() {
            let (members, epoch) = (&report.config.members, report.config.epoch);
            seen.push(format!(
                "  {} {} {} {:?} term {} last {:?} applied {} voters {:?} outgoing {:?} learners {:?} by {epoch} {}",
                report.group,
                report.replica,
                report.incarnation,
                report.role,
                report.term,
                report.last,
                report.applied,
                members.voters,
                members.outgoing,
                members.learners,
                report.halted.unwrap_or_default()
            ));
        }
    }
    Violation {
        invariant: "without faults a cluster comes to rest and answers",
        seen: seen.join("\n    "),
    }
}
