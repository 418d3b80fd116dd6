//! Looking after a cluster, by way of the admin listener of any of its nodes.

mod connection;
mod joining;
mod status;
mod waiting;

use std::time::Duration;

use clap::Subcommand;
use jiff::SignedDuration;
use pliantdb_core::admin::{
    Begun, ClusterStatus, Failover, FailoverPolicy, Mode, Promotion, ReplicationFactor, WantedMode,
};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::Output;
use connection::{AdminArgs, Answered};
use waiting::Waiting;

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the nodes and databases of the cluster, and what is under way
    Status {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Make a token with which one node can join, and print what to run there
    Join(joining::JoinArgs),
    /// Let others hold what a node holds: the first step of removing it
    Drain(NodeArgs),
    /// Let a node that drains hold data again
    Undrain {
        /// The node
        name: String,

        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let a node leave the cluster, when others hold what it holds
    Remove(RemoveArgs),
    /// Let another node lead
    #[command(
        after_help = "Without --force nothing is lost: it waits until the node has everything. With it, what only the old \
                            leader has is lost."
    )]
    Promote(PromoteArgs),
    /// Change between one leader and a quorum while everything goes on
    #[command(
        after_help = "The mode of before gives up a switch that is under way. `switch one-leader --leader NAME` changes the \
                            leader too."
    )]
    Switch(SwitchArgs),
    /// Set what happens when the leader is gone, in one-leader mode
    Failover {
        /// Who decides that another node leads
        policy: Policy,

        /// How long the leader is waited for before it is replaced automatically, from 3s to 24h
        #[arg(long, value_name = "DURATION", required_if_eq("policy", "automatic"))]
        delay: Option<String>,

        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Set on how many nodes data is in quorum mode
    ReplicationFactor {
        /// So many: 3, 5 or 7
        factor: u8,

        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// How long to wait.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,

    /// Wait no longer than this; it goes on all the same [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
}

/// A node that is to drain.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node
    name: String,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    admin: AdminArgs,
}

/// A node that is to leave.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The node
    name: String,

    /// The node is gone for ever, with what only it had: others take the places of its replicas. It must never come back
    #[arg(long)]
    lost: bool,

    /// Wait no longer than this for others to hold what it holds; it drains all the same [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "lost")]
    timeout: Option<Duration>,

    #[command(flatten)]
    admin: AdminArgs,
}

/// A node that is to lead.
#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    /// The node; in quorum mode none, with --force: databases of which most voters are gone go on
    name: Option<String>,

    /// Do not wait for the old leader: what only it has is lost
    #[arg(long)]
    force: bool,

    /// To force: the process of the old leader has ended, and is kept from starting until the promotion has ended
    #[arg(long, requires = "force", conflicts_with = "accept_split_brain")]
    old_leader_is_gone: bool,

    /// To force: the old leader may go on acknowledging writes, which are lost
    #[arg(long, requires = "force")]
    accept_split_brain: bool,

    /// To force when most of those that decide about the cluster are gone, as of two nodes: the node goes on alone.
    /// --admin must be that node
    #[arg(long, requires = "force")]
    alone: bool,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    admin: AdminArgs,
}

/// A mode to switch to.
#[derive(Debug, clap::Args)]
pub(crate) struct SwitchArgs {
    /// The mode
    mode: WantedKind,

    /// With one leader, the node [default: the one that leads]
    #[arg(long, value_name = "NAME")]
    leader: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    admin: AdminArgs,
}

/// A mode.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum WantedKind {
    /// A majority of the voters acknowledges
    Quorum,
    /// One node acknowledges
    OneLeader,
}

/// Who decides that another node leads.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Policy {
    /// Somebody promotes one
    Manual,
    /// The others, after a delay
    Automatic,
}

/// Looks after a cluster.
///
/// # Errors
/// Why it could not be done.
pub(crate) fn run(command: &ClusterCommand, out: Output) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { admin } => status::show(&admin.connect()?.status()?, out),
        ClusterCommand::Join(args) => joining::run(args, out),
        ClusterCommand::Drain(args) => drain(args, out),
        ClusterCommand::Undrain { name, admin } => {
            admin
                .connect()?
                .send("POST", &format!("/nodes/{}/undrain", part(name)), None)?;
            done(out, "undrained", name)
        }
        ClusterCommand::Remove(args) => remove(args, out),
        ClusterCommand::Promote(args) => promote(args, out),
        ClusterCommand::Switch(args) => switch(args, out),
        ClusterCommand::Failover { policy, delay, admin } => {
            let wanted = Failover {
                policy: match policy {
                    Policy::Manual => FailoverPolicy::Manual,
                    Policy::Automatic => FailoverPolicy::Automatic,
                },
                delay: delay.clone(),
            };
            admin.connect()?.send("PUT", "/failover", Some(json!(wanted)))?;
            let delay = delay
                .as_ref()
                .map(|delay| format!(" after {delay}"))
                .unwrap_or_default();
            out.result(&format!("failover is {policy:?}{delay}"), &wanted)
        }
        ClusterCommand::ReplicationFactor { factor, admin } => {
            let wanted = ReplicationFactor {
                replication_factor: *factor,
            };
            admin
                .connect()?
                .send("PUT", "/replication-factor", Some(json!(wanted)))?;
            out.result(&format!("the replication factor is {factor}"), &wanted)
        }
    }
}

fn done(out: Output, done: &str, name: &str) -> Result<(), Failure> {
    out.result(&format!("{done} {name}"), &json!({"done": done, "name": name}))
}

fn drain(args: &NodeArgs, out: Output) -> Result<(), Failure> {
    let admin = args.admin.connect()?;
    admin.send("POST", &format!("/nodes/{}/drain", part(&args.name)), None)?;
    if args.wait.no_wait {
        return done(out, "draining", &args.name);
    }
    Waiting::new(&admin, args.wait.timeout, out).until(|status| has_drained(status, &args.name))?;
    done(out, "drained", &args.name)
}

/// Whether a node holds nothing any more.
fn has_drained(status: &ClusterStatus, name: &str) -> Result<Option<()>, Failure> {
    let Some(node) = status.nodes.iter().find(|node| node.name == name) else {
        return Ok(Some(()));
    };
    if node.state == pliantdb_core::admin::NodeState::Active {
        let message = format!("{name} is to hold data again: somebody has undrained it meanwhile");
        return Err(Failure::new(Kind::Failed, message));
    }
    let is_at_rest = status.supervised && status.switch.is_none() && status.settled == status.groups;
    Ok((node.holds == 0 && is_at_rest).then_some(()))
}

fn remove(args: &RemoveArgs, out: Output) -> Result<(), Failure> {
    let admin = args.admin.connect()?;
    let path = format!("/nodes/{}", part(&args.name));
    if args.lost {
        admin.send("DELETE", &format!("{path}?lost=true"), None)?;
        return done(out, "removed", &args.name);
    }
    admin.send("POST", &format!("{path}/drain"), None)?;
    let mut waiting = Waiting::new(&admin, args.timeout, out);
    loop {
        waiting.until(|status| has_drained(status, &args.name))?;
        match admin.try_send("DELETE", &path, None)? {
            Answered::Done(_) => return done(out, "removed", &args.name),
            // Something was decided since.
            Answered::Problem {
                status: 409, detail, ..
            } if detail.contains("still holds") => waiting.pause()?,
            Answered::Problem { status, detail } => return Err(connection::failure(status, detail)),
        }
    }
}

fn promote(args: &PromoteArgs, out: Output) -> Result<(), Failure> {
    let admin = args.admin.connect()?;
    if args.force && !args.old_leader_is_gone && !args.accept_split_brain {
        return Err(Failure::usage(
            "--force loses what only the old leader has. Say --old-leader-is-gone if its process has ended and is kept from \
             starting until the promotion has ended; else --accept-split-brain, if it may go on acknowledging writes that are \
             lost",
        ));
    }
    let promotion = Promotion {
        node: args.name.clone(),
        force: args.force,
        old_leader_is_gone: args.old_leader_is_gone,
        accept_split_brain: args.accept_split_brain,
        alone: args.alone,
    };
    let mut waiting = Waiting::new(&admin, args.wait.timeout, out);
    let begun = loop {
        match admin.try_send("POST", "/promote", Some(json!(promotion)))? {
            Answered::Done(begun) => break begun,
            // The leader that is gone was asked. Asking again forces nothing twice.
            Answered::Problem { status: 504, .. } if args.force => waiting.pause()?,
            Answered::Problem { status, detail } => return Err(connection::failure(status, detail)),
        }
    };
    let name = args.name.as_deref().unwrap_or("the databases");
    if args.wait.no_wait {
        return done(out, "promoting", name);
    }
    let wanted = args
        .name
        .as_ref()
        .map(|name| (Mode::OneLeader, Some(name.as_str())));
    finish(&mut waiting, connection::read(&begun)?, wanted)?;
    done(out, "promoted", name)
}

fn switch(args: &SwitchArgs, out: Output) -> Result<(), Failure> {
    let admin = args.admin.connect()?;
    let mode = match args.mode {
        WantedKind::Quorum => Mode::Quorum,
        WantedKind::OneLeader => Mode::OneLeader,
    };
    let wanted = WantedMode {
        mode,
        leader: args.leader.clone(),
    };
    let begun = admin.send("PUT", "/mode", Some(json!(wanted)))?;
    if !args.wait.no_wait {
        let mut waiting = Waiting::new(&admin, args.wait.timeout, out);
        finish(
            &mut waiting,
            connection::read(&begun)?,
            Some((mode, args.leader.as_deref())),
        )?;
    }
    let status = admin.status()?;
    let leader = status
        .leader
        .as_ref()
        .map(|leader| format!(", led by {leader}"))
        .unwrap_or_default();
    let under_way = if status.switch.is_some() {
        ", and a switch is under way"
    } else {
        ""
    };
    out.result(
        &format!("the mode is {:?}{leader}{under_way}", status.mode),
        &status,
    )
}

/// Waits until a change of mode or leader has come to its end.
fn finish(
    waiting: &mut Waiting<'_>,
    begun: Begun,
    wanted: Option<(Mode, Option<&str>)>,
) -> Result<(), Failure> {
    let mut was_seen = false;
    waiting.until(|status| {
        let is_there = wanted.is_none_or(|(mode, leader)| {
            status.mode == mode && leader.is_none_or(|leader| status.leader.as_deref() == Some(leader))
        });
        let under_way = status.switch.as_ref().map(|switch| switch.id);
        let is_ours = begun.switch.is_some() && under_way == begun.switch;
        was_seen |= is_ours;
        if is_there && under_way.is_none() && status.supervised && status.settled == status.groups {
            return Ok(Some(()));
        }
        match was_seen && !is_ours && !is_there {
            true => Err(Failure::new(
                Kind::Failed,
                "the switch was given up, or another was begun, meanwhile",
            )),
            false => Ok(None),
        }
    })
}

/// A name as a part of a path.
fn part(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a duration, as in 30s or 10m".to_owned())
}
