//! How the cluster is, for people.

use pliantdb_core::admin::{ClusterStatus, Mode, NodeState, Switch, SwitchPhase};

use crate::cli::failure::Failure;
use crate::cli::output::{Output, Row};

/// After how many seconds without a sign a node is told of as not heard.
const SILENCE: f64 = 3.0;

/// Prints all of it.
///
/// # Errors
/// When standard output is gone.
pub(super) fn show(status: &ClusterStatus, out: Output) -> Result<(), Failure> {
    out.result(&summary(status), status)?;
    // For programs all of it is one object.
    if out.is_json() {
        return Ok(());
    }
    out.result("", &())?;
    let nodes = status.nodes.iter().map(|node| {
        let state = match (node.state, node.halted.as_slice()) {
            (_, [first, ..]) => format!("stopped: {}", first.reason),
            (NodeState::Draining, []) => format!("draining, holds {}", node.holds),
            (NodeState::Active, []) => "active".to_owned(),
        };
        let heard = match node.silent_seconds {
            _ if !status.supervised => "?".to_owned(),
            None => "not yet".to_owned(),
            Some(silent) if silent < SILENCE => "now".to_owned(),
            Some(silent) => format!("{silent:.0} s ago"),
        };
        let lag = node.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
        let cells = [
            node.name.clone(),
            format!("{:?}", node.role),
            state,
            node.address.clone().unwrap_or_default(),
            node.leads.to_string(),
            lag,
            heard,
            node.version.clone().unwrap_or_default(),
        ];
        Row::new(cells, node)
    });
    let headings = [
        "NODE", "ROLE", "STATE", "ADDRESS", "LEADS", "LAG", "HEARD", "VERSION",
    ];
    out.rows(headings, nodes.collect::<Result<Vec<_>, _>>()?)?;
    if status.databases.is_empty() {
        return Ok(());
    }
    out.result("", &())?;
    let databases = status.databases.iter().map(|database| {
        let settled = if database.settled { "" } else { "moving" };
        let cells = [
            database.name.to_string(),
            database.leader.clone(),
            database.voters.join(","),
            database.replicas.join(","),
            settled.to_owned(),
        ];
        Row::new(cells, database)
    });
    let headings = ["DATABASE", "LEADER", "VOTERS", "REPLICAS", ""];
    out.rows(headings, databases.collect::<Result<Vec<_>, _>>()?)
}

fn summary(status: &ClusterStatus) -> String {
    let mut lines = vec![format!("cluster      {}", status.cluster)];
    lines.push(match (status.mode, &status.leader) {
        (Mode::OneLeader, Some(leader)) => format!("mode         one leader, {leader}"),
        (Mode::OneLeader, None) => "mode         one leader".to_owned(),
        (Mode::Quorum, _) => format!(
            "mode         quorum, replication factor {}",
            status.replication_factor
        ),
    });
    lines.push(match status.survives_minorities {
        true => {
            "guarantee    what is acknowledged survives the loss of any minority of its voters".to_owned()
        }
        false => "guarantee    what is acknowledged survives as the leader's disk does".to_owned(),
    });
    if let Some(switch) = &status.switch {
        lines.push(format!("under way    {}", under_way(switch, status)));
    }
    if status.mode == Mode::OneLeader {
        let delay = status
            .failover
            .delay
            .as_ref()
            .map(|delay| format!(", after {delay}"))
            .unwrap_or_default();
        lines.push(format!("failover     {:?}{delay}", status.failover.policy).to_lowercase());
    }
    if !status.supervised {
        lines.push(
            "undecided    nobody decides about the cluster at the moment, so nothing is known of how the others are"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn under_way(switch: &Switch, status: &ClusterStatus) -> String {
    let to = match (switch.to, &switch.leader) {
        (Mode::OneLeader, Some(leader)) => format!("to one leader, {leader}"),
        (Mode::OneLeader, None) => "to one leader".to_owned(),
        (Mode::Quorum, _) => "to quorum".to_owned(),
    };
    let back = match switch.phase {
        SwitchPhase::Running => "",
        SwitchPhase::Aborting => ", given up: it goes back",
    };
    format!("{to}{back}; {}", missing(status))
}

/// What is waited for, in short.
pub(super) fn missing(status: &ClusterStatus) -> String {
    let mut text = format!(
        "{} of {} groups are where they are to be",
        status.settled, status.groups
    );
    let is_silent = |silent: Option<f64>| silent.is_none_or(|silent| silent >= SILENCE);
    let silent = status
        .nodes
        .iter()
        .filter(|node| status.supervised && is_silent(node.silent_seconds));
    let silent: Vec<_> = silent.map(|node| node.name.as_str()).collect();
    if !silent.is_empty() {
        text.push_str("; not heard: ");
        text.push_str(&silent.join(", "));
    }
    if !status.supervised {
        text.push_str("; nobody decides at the moment");
    }
    text
}
