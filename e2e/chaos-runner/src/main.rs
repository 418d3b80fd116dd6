//! `pliant-chaos`, which `e2e/chaos` starts.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::bed::control::Mode;
use chaos::bed::hosts::move_to;
use chaos::bed::{PREFIX, sweep};
use chaos::clients::record::Recorder;
use chaos::clients::writer::Writer;
use chaos::clients::{Shared, followers, last, messages, probe};
use chaos::cluster::{Cluster, Parts};
use chaos::history::{DOORS, Life};
use chaos::nemesis::{Interrupted, Nemesis, say};
use chaos::plan::{Kind, Wishes, plan};
use chaos::report::{Run, examine};
use chaos::verify::serving::Promises;
use clap::Parser;
use load::Failure;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a majority may need until it acknowledges again.
const WITH_A_MAJORITY: Duration = Duration::from_secs(15);

/// Runs nodes on hosts of their own, lets things go wrong, and checks what clients have seen.
#[derive(Debug, Parser)]
#[command(name = "e2e/chaos")]
struct Arguments {
    /// For how long, such as 90s, 10m or 2h.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    lasts: Duration,
    /// Of what goes wrong, and what is asked; another each time, if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How the cluster replicates: one-leader or quorum.
    #[arg(long, default_value = "one-leader")]
    mode: Mode,
    /// How many nodes.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// How many clients read and write, by all doors and at all nodes.
    #[arg(long, default_value_t = 6)]
    writers: u32,
    /// What may go wrong: kill, stop, cut, slow, lossy, disk, clock, wipe, restart, and what the owner does: promote, switch,
    /// drain. If not given, all that so many nodes survive.
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    faults: Option<Vec<Kind>>,
    /// Nothing goes wrong: the nodes are restarted one after the other, and no operation may fail.
    #[arg(long, conflicts_with = "faults")]
    rolling: bool,
    /// Another binary of pliant-node, which every second node begins as (with --rolling every node), until it is upgraded.
    #[arg(long, value_name = "PATH")]
    other_binary: Option<PathBuf>,
    /// Each time a node is started it is this binary or the other one, by the dice, and nothing is upgraded for good.
    #[arg(long, requires = "other_binary", conflicts_with = "rolling")]
    mixed: bool,
    /// What happens with one leader when it is gone: manual, nothing; automatic, others replace it, with what they have.
    #[arg(long, default_value = "manual")]
    failover: Failover,
    /// How long every node may take to serve again after a fault.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    recovery: Duration,
    /// Mebibytes of each node's disk, which is in memory and takes what is used of it.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    disk: u64,
    /// Keeps what was written down, also of a run without a failure.
    #[arg(long)]
    keep: bool,
    /// Ends as when it is interrupted when the process of that id is gone.
    #[arg(long = "while", value_name = "PID")]
    only_while: Option<u32>,
    /// Prints what is to go wrong, and does nothing.
    #[arg(long)]
    plan: bool,
    /// Checks again what a run has kept in this folder, and does nothing else.
    #[arg(long, value_name = "FOLDER")]
    check: Option<PathBuf>,
    /// The binary of pliant-node.
    #[arg(long, env = "PLIANT_CHAOS_PROGRAM", value_name = "PATH", hide_env = true)]
    program: PathBuf,
    /// The checker.
    #[arg(long, env = "PLIANT_CHAOS_CHECKER", value_name = "PATH", hide_env = true)]
    checker: PathBuf,
    /// The wires.
    #[arg(long, env = "PLIANT_CHAOS_NETWORK", value_name = "PATH", hide_env = true)]
    network: PathBuf,
    /// The library of wrong clocks.
    #[arg(
        long,
        env = "PLIANT_CHAOS_CLOCK_LIBRARY",
        value_name = "PATH",
        hide_env = true
    )]
    clock: PathBuf,
}

/// After how many seconds a leader is replaced that is gone: shorter than most faults last.
const DELAY: u64 = 4;

/// What happens when the leader is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Failover {
    Manual,
    Automatic,
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
    {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "the time {text:?} must be a whole number of s, m or h, such as 90s or 10m"
        )),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.check {
        Some(folder) => conclude(folder, &arguments.checker),
        None => run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("e2e/chaos: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at a folder, and tells of it. Whether nothing is wrong.
fn conclude(folder: &Path, checker: &Path) -> Result<bool, Failure> {
    let (summary, failures) = examine(folder, checker)?;
    for failure in &failures {
        say(&format!("FAILURE {failure}"));
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(failures.is_empty())
}

fn wishes(arguments: &Arguments, seed: u64) -> Wishes {
    let nodes = 0..arguments.nodes;
    let all = || {
        let kinds = Kind::ALL.iter().map(|(_, kind)| *kind);
        let kinds = kinds.filter(|kind| arguments.nodes >= kind.least_nodes());
        // In quorum mode nobody leads all.
        let kinds = kinds.filter(|kind| arguments.mode == Mode::OneLeader || *kind != Kind::Promote);
        kinds.collect()
    };
    let other = arguments.other_binary.as_ref().filter(|_| !arguments.mixed);
    let to_upgrade = match (other, arguments.rolling) {
        (None, _) => Vec::new(),
        (Some(_), true) => nodes.collect(),
        (Some(_), false) if arguments.nodes == 1 => vec![0],
        (Some(_), false) => nodes.skip(1).step_by(2).collect(),
    };
    Wishes {
        seed,
        lasts: arguments.lasts,
        nodes: arguments.nodes,
        kinds: arguments.faults.clone().unwrap_or_else(all),
        is_rolling: arguments.rolling,
        to_upgrade,
        fails_over: arguments.failover == Failover::Automatic,
    }
}

/// Whether nothing is wrong.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if !(1..=9).contains(&arguments.nodes) {
        return Err(format!("--nodes {} must be from 1 to 9", arguments.nodes).into());
    }
    let fails_over = arguments.failover == Failover::Automatic;
    if fails_over && (arguments.mode != Mode::OneLeader || arguments.nodes < 3) {
        return Err("--failover automatic needs --mode one-leader and at least --nodes 3".into());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = arguments.seed.unwrap_or(now.as_millis() as u64 % 1_000_000_000);
    let wishes = wishes(arguments, seed);
    let rounds = plan(&wishes);
    say(&format!(
        "seed {seed}, {} nodes, {}, {} rounds:",
        arguments.nodes,
        arguments.mode.name(),
        rounds.len()
    ));
    rounds.iter().for_each(|round| say(&round.to_string()));
    if arguments.plan {
        return Ok(true);
    }
    // Before anything is made: who is interrupted from here on removes what there is.
    let listening = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let interrupted = {
        let _entered = listening.enter();
        interrupted(arguments.only_while)?
    };
    sweep::sweep()?;
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let parts = Parts {
        nodes: arguments.nodes,
        mode: arguments.mode,
        program: arguments.program.clone(),
        other_program: arguments.other_binary.clone(),
        others: wishes.to_upgrade.clone(),
        mixed: arguments.mixed,
        network: arguments.network.clone(),
        clock: arguments.clock.clone(),
        disk_size: arguments.disk << 20,
        seed,
        folder: folder.clone(),
    };
    let task = Task {
        arguments,
        wishes: &wishes,
        rounds: &rounds,
        interrupted,
    };
    let done = under_load(&task, &parts);
    let is_well = match done {
        Ok(()) => conclude(&folder, &arguments.checker),
        Err(failure) => Err(failure),
    };
    match is_well {
        Ok(true) if !arguments.keep => std::fs::remove_dir_all(&folder)?,
        _ => say(&format!("what was written down is in {}", folder.display())),
    }
    is_well
}

/// What is to be done in a run.
struct Task<'r> {
    arguments: &'r Arguments,
    wishes: &'r Wishes,
    rounds: &'r [chaos::plan::Round],
    /// Whether somebody wants it to end.
    interrupted: watch::Receiver<bool>,
}

/// Until the history is written.
fn under_load(task: &Task<'_>, parts: &Parts) -> Result<(), Failure> {
    let (arguments, wishes) = (task.arguments, task.wishes);
    let mut cluster = Cluster::make(parts)?;
    let host = cluster.clients()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || {
            // A client that is elsewhere reaches nobody, and that is seen.
            if let Err(error) = move_to(&host) {
                say(&format!("a thread is not on the clients' host: {error}"));
            }
        })
        .build()?;
    let fails_over = arguments.failover == Failover::Automatic;
    let promises = Promises {
        recovery: arguments.recovery,
        hearing: arguments.recovery + Duration::from_secs(30),
        with_a_majority: (arguments.mode == Mode::Quorum && arguments.nodes > 2).then_some(WITH_A_MAJORITY),
        always: arguments.rolling,
    };
    let (state, _) = watch::channel(chaos::clients::State::default());
    let shared = Arc::new(Shared {
        places: cluster.places(),
        token: cluster.token.clone(),
        patience: Duration::from_secs(if arguments.rolling { 30 } else { 10 }),
        recorder: Recorder::new(&parts.folder)?,
        keys: chaos::clients::keys::Keys::default(),
        heard: probe::Heard::default(),
        state,
    });
    let done = work(&runtime, &mut cluster, &shared, task, promises);
    runtime.shutdown_timeout(Duration::from_secs(3));
    let (load, faults, is_whole) = match done {
        Ok((load, faults)) => (load, faults, true),
        Err(failure) if failure.is::<Interrupted>() => return Err(failure),
        // What there is of the history is checked all the same.
        Err(failure) => {
            shared
                .recorder
                .failure(&format!("the run was given up: {failure}"));
            ((0, shared.recorder.now()), 0, false)
        }
    };
    for wrong in cluster.shut_down() {
        shared.recorder.failure(&wrong);
    }
    for place in &shared.places {
        for (moment, turn, incarnation) in place.turns() {
            shared.recorder.life(&Life {
                at: shared.recorder.at(moment),
                node: place.name.clone(),
                turn,
                incarnation,
            });
        }
    }
    shared.recorder.flush()?;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let run = Run {
        seed: wishes.seed,
        nodes: shared.places.iter().map(|place| place.name.clone()).collect(),
        mode: arguments.mode.name().to_owned(),
        load,
        faults,
        is_whole,
        recovery_ms: millis(promises.recovery),
        hearing_ms: millis(promises.hearing),
        with_a_majority_ms: promises.with_a_majority.map(millis),
        always: promises.always,
        fails_over,
    };
    run.keep(&parts.folder)
}

/// Gives when the load was under way, and how many faults there were.
fn work(
    runtime: &Runtime,
    cluster: &mut Cluster,
    shared: &Arc<Shared>,
    task: &Task<'_>,
    promises: Promises,
) -> Result<((u64, u64), usize), Failure> {
    runtime.block_on(async {
        for node in 0..cluster.len() {
            cluster.start(node)?;
            serve(shared, node, promises.recovery, &task.interrupted).await?;
        }
        cluster.switch()?;
        if task.arguments.failover == Failover::Automatic {
            cluster.fail_over_after(DELAY)?;
        }
        let mut nemesis = Nemesis {
            cluster,
            shared: Arc::clone(shared),
            promises,
            interrupted: task.interrupted.clone(),
            began: Instant::now(),
            lasts: task.wishes.lasts,
        };
        let begin = shared.recorder.now();
        let listening = messages::subscribe(shared);
        let following = followers::start(shared);
        let publishing = tokio::spawn(messages::publish(Arc::clone(shared)));
        let writing: Vec<_> = (0..task.arguments.writers)
            .map(|number| {
                let place = number as usize;
                let door = DOORS.get(place % DOORS.len()).copied().unwrap_or(DOORS[0]);
                let node = place / DOORS.len();
                tokio::spawn(Writer::new(shared, number, door, node, task.wishes.seed).run())
            })
            .collect();
        nemesis.begin().await?;
        let faults = nemesis.run(task.rounds).await?;
        let end = shared.recorder.now();
        shared.state.send_modify(|state| state.is_ending = true);
        for task in writing.into_iter().chain([publishing]).chain(following) {
            task.await?;
        }
        say("reading everything from every node");
        let mut interrupted = task.interrupted.clone();
        tokio::select! {
            read = read_all(shared) => read?,
            _ = interrupted.wait_for(|is| *is) => return Err(Interrupted.into()),
        }
        // What was published last is on its way.
        tokio::time::sleep(Duration::from_secs(2)).await;
        shared.state.send_modify(|state| state.is_over = true);
        for task in listening {
            task.await?;
        }
        Ok(((begin, end), faults))
    })
}

/// Reads from every node what is there at the end.
async fn read_all(shared: &Arc<Shared>) -> Result<(), Failure> {
    last::objects(shared).await?;
    let reading = Arc::clone(shared);
    tokio::spawn(async move { last::ledger(&reading).await }).await?
}

/// Waits until a node serves for the first time.
async fn serve(
    shared: &Arc<Shared>,
    node: usize,
    limit: Duration,
    interrupted: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let probing = Arc::clone(shared);
        let Err(reason) = tokio::spawn(async move { probe::serves(&probing, node).await }).await? else {
            return Ok(());
        };
        if began.elapsed() > limit {
            return Err(format!("a node does not come up: {reason}; its log is kept").into());
        }
        if *interrupted.borrow() {
            return Err(Interrupted.into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Between two looks whether a process is there.
const LOOK: Duration = Duration::from_millis(500);

/// Whether somebody wants it to end, by SIGINT or SIGTERM, or because the process is gone for which it runs.
fn interrupted(only_while: Option<u32>) -> Result<watch::Receiver<bool>, Failure> {
    let (tell, interrupted) = watch::channel(false);
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            () = gone(only_while) => {}
        }
        tell.send_replace(true);
        // It is to be heard until the end.
        tell.closed().await;
    });
    Ok(interrupted)
}

/// Waits until a process is gone; without one, for ever.
async fn gone(process: Option<u32>) {
    let Some(process) = process else {
        return std::future::pending().await;
    };
    let place = Path::new("/proc").join(process.to_string());
    while place.exists() {
        tokio::time::sleep(LOOK).await;
    }
}
