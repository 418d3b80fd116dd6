//! What is to go wrong, and when: drawn from a seed before anything begins.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::dice::Dice;

/// Who is on the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The node of that place, from 0.
    Node(usize),
    /// All clients: they are on one host.
    Clients,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(index) => write!(f, "n{}", index + 1),
            Self::Clients => f.write_str("clients"),
        }
    }
}

/// One direction between two hosts.
pub type Way = (Host, Host);

/// The kinds of faults that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process is killed, and started again.
    Kill,
    /// A process stands still.
    Stop,
    /// Nothing passes some ways.
    Cut,
    /// All takes long on some ways.
    Slow,
    /// Some is lost, and some comes twice, on some ways.
    Lossy,
    /// A disk is nearly or wholly full.
    Disk,
    /// A wall clock is stepped.
    Clock,
    /// A node loses its disk and joins anew.
    Wipe,
    /// A process is told to end, and started again.
    Restart,
    /// The owner lets another node lead.
    Promote,
    /// The owner changes the mode, and back.
    Switch,
    /// The owner drains a node, and takes that back.
    Drain,
}

impl Kind {
    /// All of them, by their names.
    pub const ALL: [(&'static str, Self); 12] = [
        ("kill", Self::Kill),
        ("stop", Self::Stop),
        ("cut", Self::Cut),
        ("slow", Self::Slow),
        ("lossy", Self::Lossy),
        ("disk", Self::Disk),
        ("clock", Self::Clock),
        ("wipe", Self::Wipe),
        ("restart", Self::Restart),
        ("promote", Self::Promote),
        ("switch", Self::Switch),
        ("drain", Self::Drain),
    ];

    /// How many nodes there must be for it to make sense.
    #[must_use]
    pub fn least_nodes(self) -> usize {
        match self {
            Self::Wipe | Self::Promote => 2,
            Self::Switch | Self::Drain => 3,
            _ => 1,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("the fault {text:?} must be one of {}", names.join(", "))
        })
    }
}

/// Something that goes wrong, and is right again when its time is over.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Kill(usize),
    /// SIGSTOP; SIGCONT at the end.
    Stop(usize),
    /// Nothing passes.
    Cut(Vec<Way>),
    /// Each packet takes so long and up to so much longer, and no more than so many bytes pass in a second (0: any).
    Slow {
        /// Which ways.
        ways: Vec<Way>,
        /// Milliseconds.
        delay_ms: u64,
        /// Milliseconds at most on top.
        jitter_ms: u64,
        /// Bytes.
        bytes_per_second: u64,
    },
    /// So many packets in a hundred are lost, and so many come twice.
    Lossy {
        /// Which ways.
        ways: Vec<Way>,
        /// Percent.
        loss: u64,
        /// Percent.
        repeat: u64,
    },
    /// A disk with only so much room left: with nothing, writes fail in the middle; with a little, they are to be refused.
    Disk {
        /// Whose.
        node: usize,
        /// Bytes.
        room: u64,
    },
    /// A wall clock that goes wrong by so much, and right at the end.
    Clock {
        /// Whose.
        node: usize,
        /// Milliseconds, ahead or back.
        step_ms: i64,
    },
    /// SIGKILL, and the directory is removed; at the end it joins as a new node.
    Wipe(usize),
    /// SIGTERM, and started again as soon as it has ended: as the binary that it was, or as the newer one.
    Restart {
        /// Which.
        node: usize,
        /// Whether to the newer one.
        upgrades: bool,
    },
    /// It is to lead from now on, with one leader; in quorum mode nobody leads all.
    Promote(usize),
    /// The other mode, and the first one again at the end.
    Switch,
    /// Others are to hold what it holds, until the end.
    Drain(usize),
}

impl Fault {
    /// The ways that it is about.
    #[must_use]
    pub fn ways(&self) -> &[Way] {
        match self {
            Self::Cut(ways) | Self::Slow { ways, .. } | Self::Lossy { ways, .. } => ways,
            _ => &[],
        }
    }

    /// The node that it is about.
    #[must_use]
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::Kill(node) | Self::Stop(node) | Self::Wipe(node) => Some(*node),
            Self::Promote(node) | Self::Drain(node) => Some(*node),
            Self::Disk { node, .. } | Self::Clock { node, .. } | Self::Restart { node, .. } => Some(*node),
            Self::Cut(_) | Self::Slow { .. } | Self::Lossy { .. } | Self::Switch => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = Host::Node(self.node().unwrap_or_default());
        match self {
            Self::Kill(_) => write!(f, "kill {node}"),
            Self::Stop(_) => write!(f, "stop {node}"),
            Self::Cut(ways) => write!(f, "cut {}", shown(ways)),
            Self::Slow {
                ways,
                delay_ms,
                jitter_ms,
                bytes_per_second,
            } => {
                write!(
                    f,
                    "slow {}: {delay_ms} to {} ms",
                    shown(ways),
                    delay_ms + jitter_ms
                )?;
                match bytes_per_second {
                    0 => Ok(()),
                    bytes => write!(f, ", {} KiB/s", bytes / 1024),
                }
            }
            Self::Lossy { ways, loss, repeat } => {
                write!(f, "lossy {}: {loss} % lost, {repeat} % twice", shown(ways))
            }
            Self::Disk { room, .. } => write!(f, "disk of {node}: {} KiB left", room / 1024),
            Self::Clock { step_ms, .. } => write!(f, "clock of {node}: {step_ms:+} ms"),
            Self::Wipe(_) => write!(f, "wipe {node}"),
            Self::Restart { upgrades: false, .. } => write!(f, "restart {node}"),
            Self::Restart { upgrades: true, .. } => write!(f, "upgrade {node}"),
            Self::Promote(_) => write!(f, "promote {node}"),
            Self::Switch => f.write_str("switch"),
            Self::Drain(_) => write!(f, "drain {node}"),
        }
    }
}

fn shown(ways: &[Way]) -> String {
    let ways: Vec<_> = ways.iter().map(|(from, to)| format!("{from}>{to}")).collect();
    ways.join(" ")
}

/// A fault, and when in its round.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// After the round's begin.
    pub after: Duration,
    /// From then on.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// Faults that overlap, after which everything is right again until the next round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// When it begins at the earliest, after the start.
    pub at: Duration,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Round {
    /// How long its faults last.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.steps
            .iter()
            .map(|step| step.after + step.lasts)
            .max()
            .unwrap_or_default()
    }

    /// Whether a majority of the nodes goes on undisturbed, all connected with each other and with the clients.
    #[must_use]
    pub fn spares_a_majority(&self, nodes: usize) -> bool {
        let faults = || self.steps.iter().map(|step| &step.fault);
        let ways: BTreeSet<Way> = faults().flat_map(Fault::ways).copied().collect();
        let hit: BTreeSet<usize> = faults().filter_map(Fault::node).collect();
        let is_open = |a: Host, b: Host| !ways.contains(&(a, b)) && !ways.contains(&(b, a));
        let is_spared = |set: u32| {
            let members: Vec<usize> = (0..nodes).filter(|node| set & (1 << node) != 0).collect();
            members.len() * 2 > nodes
                && members.iter().all(|node| !hit.contains(node))
                && members.iter().all(|a| {
                    is_open(Host::Node(*a), Host::Clients)
                        && members.iter().all(|b| is_open(Host::Node(*a), Host::Node(*b)))
                })
        };
        (0..1_u32 << nodes.min(16)).any(is_spared)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6.1} s", self.at.as_secs_f64())?;
        for step in &self.steps {
            let (after, lasts) = (step.after.as_secs_f64(), step.lasts.as_secs_f64());
            write!(f, "  [+{after:.1} s for {lasts:.1} s] {}", step.fault)?;
        }
        Ok(())
    }
}

/// What to draw a plan from.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The seed.
    pub seed: u64,
    /// How long it all lasts.
    pub lasts: Duration,
    /// How many nodes there are.
    pub nodes: usize,
    /// What may go wrong.
    pub kinds: Vec<Kind>,
    /// Whether nodes are only restarted, one after the other.
    pub is_rolling: bool,
    /// Nodes that run another binary at first, and are upgraded one by one.
    pub to_upgrade: Vec<usize>,
    /// Whether a leader is replaced that is away: then some are for long enough.
    pub fails_over: bool,
}

/// Before the first round.
const WARM_UP: Duration = Duration::from_secs(5);
/// For all to be right again, and to stay so for a while.
const REST: Duration = Duration::from_secs(6);

/// What is to go wrong: rounds that are over in time, as many as there is time for.
#[must_use]
pub fn plan(wishes: &Wishes) -> Vec<Round> {
    let mut dice = Dice::new(wishes.seed, 1);
    let mut rounds: Vec<Round> = Vec::new();
    let mut at = WARM_UP;
    loop {
        let steps = match wishes.is_rolling {
            true => vec![restart(rounds.len(), wishes)],
            false => steps(&mut dice, wishes),
        };
        let round = Round { at, steps };
        at += round.lasts() + REST;
        if round.steps.is_empty() || at > wishes.lasts {
            break;
        }
        rounds.push(round);
    }
    if !wishes.is_rolling {
        upgrade(&mut rounds, &wishes.to_upgrade);
    }
    rounds
}

/// How long a restart may take in the plan; it takes as long as it does.
const RESTART: Duration = Duration::from_secs(3);

fn restart(number: usize, wishes: &Wishes) -> Step {
    let node = number % wishes.nodes.max(1);
    let upgrades = number < wishes.nodes && wishes.to_upgrade.contains(&node);
    Step {
        after: Duration::ZERO,
        lasts: RESTART,
        fault: Fault::Restart { node, upgrades },
    }
}

/// Puts upgrades in the place of rounds, spread over them.
fn upgrade(rounds: &mut [Round], nodes: &[usize]) {
    let count = rounds.len();
    for (number, node) in nodes.iter().enumerate() {
        let place = count * (2 * number + 1) / (2 * nodes.len());
        if let Some(round) = rounds.get_mut(place) {
            let fault = Fault::Restart {
                node: *node,
                upgrades: true,
            };
            round.steps = vec![Step {
                after: Duration::ZERO,
                lasts: RESTART,
                fault,
            }];
        }
    }
}

fn steps(dice: &mut Dice, wishes: &Wishes) -> Vec<Step> {
    let Some(kind) = dice.pick(&wishes.kinds) else {
        return Vec::new();
    };
    let mut steps = vec![long_step(dice, kind, wishes)];
    // What loses a disk strikes alone: two at once may take a majority of the copies.
    let others: Vec<_> = wishes
        .kinds
        .iter()
        .copied()
        .filter(|kind| *kind != Kind::Wipe)
        .collect();
    if kind != Kind::Wipe
        && dice.percent(30)
        && let Some(other) = dice.pick(&others)
    {
        let mut second = step(dice, other, wishes.nodes);
        second.after = dice.millis(0, 3000);
        // Two faults of one process or one way would undo each other.
        let is_apart = steps.iter().all(|first| {
            let same_node = first.fault.node().is_some() && first.fault.node() == second.fault.node();
            let both_switch = first.fault == Fault::Switch && second.fault == Fault::Switch;
            let same_way = first
                .fault
                .ways()
                .iter()
                .any(|way| second.fault.ways().contains(way));
            !same_node && !same_way && !both_switch
        });
        if is_apart {
            steps.push(second);
        }
    }
    steps
}

/// For a leader to be replaced it must be away for this long at least, and then some.
const AWAY: (u64, u64) = (8000, 15_000);

/// A first step, which at times lasts so long that a leader is replaced that it is about. Above all one that clients still
/// reach, and nobody else: it acknowledges until its lease is over what nobody else has.
fn long_step(dice: &mut Dice, kind: Kind, wishes: &Wishes) -> Step {
    let mut step = step(dice, kind, wishes.nodes);
    let takes_away = matches!(kind, Kind::Kill | Kind::Stop | Kind::Cut);
    if wishes.fails_over && takes_away && dice.percent(60) {
        step.lasts = dice.millis(AWAY.0, AWAY.1);
        if kind == Kind::Cut {
            step.fault = Fault::Cut(apart(dice, wishes.nodes));
        }
    }
    step
}

/// All ways between one node and the other nodes, in one direction or both.
fn apart(dice: &mut Dice, nodes: usize) -> Vec<Way> {
    let node = dice.below(nodes);
    let (there, back) = match dice.below(4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let others = (0..nodes).filter(|other| *other != node).map(Host::Node);
    let ways = others.flat_map(|other| {
        let away = there.then_some((Host::Node(node), other));
        away.into_iter().chain(back.then_some((other, Host::Node(node))))
    });
    let mut ways: Vec<_> = ways.collect();
    ways.sort_unstable();
    ways
}

fn step(dice: &mut Dice, kind: Kind, nodes: usize) -> Step {
    let node = dice.below(nodes);
    let fault = match kind {
        Kind::Kill => Fault::Kill(node),
        Kind::Stop => Fault::Stop(node),
        Kind::Cut => Fault::Cut(ways(dice, nodes)),
        Kind::Slow => Fault::Slow {
            ways: ways(dice, nodes),
            delay_ms: 20 + dice.any() % 280,
            jitter_ms: dice.any() % 100,
            bytes_per_second: match dice.percent(40) {
                true => 1024 * (32 + dice.any() % 480),
                false => 0,
            },
        },
        Kind::Lossy => Fault::Lossy {
            ways: ways(dice, nodes),
            loss: 2 + dice.any() % 24,
            repeat: dice.any() % 6,
        },
        Kind::Disk => Fault::Disk {
            node,
            room: match dice.percent(70) {
                true => 24 << 20,
                false => 64 << 10,
            },
        },
        Kind::Clock => {
            let step = i64::try_from(dice.any() % 60_000).unwrap_or_default() + 1;
            Fault::Clock {
                node,
                step_ms: if dice.percent(50) { step } else { -step },
            }
        }
        Kind::Wipe => Fault::Wipe(node),
        Kind::Restart => Fault::Restart {
            node,
            upgrades: false,
        },
        Kind::Promote => Fault::Promote(node),
        Kind::Switch => Fault::Switch,
        Kind::Drain => Fault::Drain(node),
    };
    // Shorter than what anybody waits for, as well as longer.
    let lasts = match kind {
        Kind::Restart => RESTART,
        Kind::Kill if dice.percent(40) => dice.millis(0, 300),
        _ if dice.percent(30) => dice.millis(300, 2000),
        _ => dice.millis(2000, 12_000),
    };
    Step {
        after: Duration::ZERO,
        lasts,
        fault,
    }
}

/// Ways between two hosts, in one direction or both; of one host; or between two halves.
fn ways(dice: &mut Dice, nodes: usize) -> Vec<Way> {
    let mut hosts: Vec<Host> = (0..nodes).map(Host::Node).collect();
    hosts.push(Host::Clients);
    for end in (1..hosts.len()).rev() {
        hosts.swap(end, dice.below(end + 1));
    }
    // Those on one side; the others are on the other. Of two hosts it is the same whichever shape is drawn.
    let (side, other) = match (dice.below(4), hosts.len()) {
        (2, count) if count > 3 => {
            let (side, other) = hosts.split_at(1);
            (side.to_vec(), other.to_vec())
        }
        (3, count) if count > 3 => {
            let (side, other) = hosts.split_at(count / 2);
            (side.to_vec(), other.to_vec())
        }
        _ => (
            hosts.iter().copied().take(1).collect(),
            hosts.iter().copied().skip(1).take(1).collect(),
        ),
    };
    let is_one_way = dice.percent(40);
    let mut ways = Vec::new();
    for a in &side {
        for b in &other {
            ways.push((*a, *b));
            if !is_one_way {
                ways.push((*b, *a));
            }
        }
    }
    ways.sort_unstable();
    ways
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]
mod tests {
    use super::*;

    fn wishes(nodes: usize, seed: u64) -> Wishes {
        Wishes {
            seed,
            lasts: Duration::from_secs(600),
            nodes,
            kinds: Kind::ALL.iter().map(|(_, kind)| *kind).collect(),
            is_rolling: false,
            to_upgrade: Vec::new(),
            fails_over: false,
        }
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(plan(&wishes(3, 7)), plan(&wishes(3, 7)));
        assert_ne!(plan(&wishes(3, 7)), plan(&wishes(3, 8)));
    }

    #[test]
    fn rounds_follow_each_other_with_rest_and_end_in_time() {
        for seed in 0..200 {
            let rounds = plan(&wishes(3, seed));
            assert!(rounds.len() > 20, "{}", rounds.len());
            for pair in rounds.windows(2) {
                assert!(pair[0].at + pair[0].lasts() + REST <= pair[1].at);
            }
            let last = rounds.last().unwrap();
            assert!(last.at + last.lasts() + REST <= Duration::from_secs(600));
        }
    }

    #[test]
    fn every_kind_strikes_every_node_and_every_way() {
        let (mut struck, mut ways) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..50 {
            for step in plan(&wishes(3, seed)).into_iter().flat_map(|round| round.steps) {
                ways.extend(step.fault.ways().iter().copied());
                let name = step.fault.to_string();
                let name = name.split_whitespace().next().unwrap().to_owned();
                struck.insert((name, step.fault.node()));
            }
        }
        assert_eq!(ways.len(), 12, "{ways:?}");
        // Eight kinds at each of three nodes, three at ways, and the switch.
        assert_eq!(struck.len(), 8 * 3 + 4, "{struck:?}");
    }

    #[test]
    fn faults_of_a_round_do_not_undo_each_other() {
        for seed in 0..300 {
            for round in plan(&wishes(2, seed)) {
                let faults: Vec<_> = round.steps.iter().map(|step| &step.fault).collect();
                if let [first, second] = faults.as_slice() {
                    assert!(!matches!(first, Fault::Wipe(_)) && !matches!(second, Fault::Wipe(_)));
                    assert!(first.node().is_none() || first.node() != second.node());
                    assert!(first.ways().iter().all(|way| !second.ways().contains(way)));
                }
            }
        }
    }

    #[test]
    fn one_node_has_one_link() {
        for seed in 0..50 {
            for round in plan(&wishes(1, seed)) {
                for (from, to) in round.steps.iter().flat_map(|step| step.fault.ways()) {
                    assert!(from != to && [*from, *to].contains(&Host::Clients));
                }
            }
        }
    }

    #[test]
    fn upgrades_are_spread_and_each_is_there_once() {
        let mut wishes = wishes(5, 3);
        wishes.to_upgrade = vec![1, 3];
        let upgraded: Vec<_> = plan(&wishes)
            .into_iter()
            .flat_map(|round| round.steps)
            .filter_map(|step| match step.fault {
                Fault::Restart { node, upgrades: true } => Some(node),
                _ => None,
            })
            .collect();
        assert_eq!(upgraded, [1, 3]);
    }

    #[test]
    fn leaders_are_away_for_long_where_they_are_replaced() {
        let (mut long, mut apart) = (0, 0);
        for seed in 0..50 {
            let wishes = Wishes {
                fails_over: true,
                ..wishes(3, seed)
            };
            for step in plan(&wishes).into_iter().flat_map(|round| round.steps) {
                let is_long = step.lasts >= Duration::from_millis(AWAY.0);
                long += usize::from(is_long && matches!(step.fault, Fault::Kill(_) | Fault::Stop(_)));
                let is_between_nodes =
                    |way: &Way| matches!(way, (Host::Node(_), Host::Node(_))) && way.0 != way.1;
                let ways = step.fault.ways();
                apart += usize::from(is_long && ways.len() == 4 && ways.iter().all(is_between_nodes));
            }
        }
        assert!(long > 50 && apart > 25, "{long}, {apart}");
    }

    #[test]
    fn rolling_takes_each_node_in_turn() {
        let mut wishes = wishes(3, 3);
        (wishes.is_rolling, wishes.to_upgrade) = (true, vec![0, 1, 2]);
        let rounds = plan(&wishes);
        assert!(rounds.len() > 10);
        for (number, round) in rounds.iter().enumerate() {
            let expected = Fault::Restart {
                node: number % 3,
                upgrades: number < 3,
            };
            assert_eq!(round.steps.len(), 1);
            assert_eq!(round.steps[0].fault, expected);
        }
    }

    #[test]
    fn tells_whether_a_majority_is_spared() {
        let round = |faults: Vec<Fault>| Round {
            at: Duration::ZERO,
            steps: faults
                .into_iter()
                .map(|fault| Step {
                    after: Duration::ZERO,
                    lasts: Duration::from_secs(1),
                    fault,
                })
                .collect(),
        };
        let (n1, n2) = (Host::Node(0), Host::Node(1));
        assert!(round(vec![Fault::Kill(0)]).spares_a_majority(3));
        assert!(!round(vec![Fault::Kill(0)]).spares_a_majority(2));
        assert!(!round(vec![Fault::Kill(0), Fault::Stop(1)]).spares_a_majority(3));
        assert!(round(vec![Fault::Kill(0), Fault::Stop(1)]).spares_a_majority(5));
        assert!(round(vec![Fault::Cut(vec![(n1, n2)])]).spares_a_majority(3));
        assert!(!round(vec![Fault::Cut(vec![(n1, n2)]), Fault::Kill(2)]).spares_a_majority(3));
        let all = vec![(Host::Clients, n1), (Host::Clients, n2)];
        assert!(!round(vec![Fault::Cut(all)]).spares_a_majority(3));
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let error = "flood".parse::<Kind>().unwrap_err();
        assert!(
            error.contains("\"flood\"") && error.contains("kill, stop, cut"),
            "{error}"
        );
    }
}
