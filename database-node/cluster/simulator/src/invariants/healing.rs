//! Without faults a cluster comes together, and after them it comes to rest, ends its switch, answers, and has all its
//! replicas equally far; each in time.

use std::collections::BTreeMap;

use pliantdb_cluster::Meta;
use pliantdb_core::GroupId;

use super::{Evidence, Replica};
use crate::clients::Clients;
use crate::faults::Faults;
use crate::scenario::Clocks;
use crate::world::{SECOND, Time, World};

/// How long each of these may take.
pub(crate) const BOUND: Time = 60 * SECOND;

/// How long a leader that has stopped and is replaced by itself is away at most before all are written to again.
pub(crate) const AWAY: Time = 34 * SECOND;

/// What did not come about in time.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// Whether the cluster had come together.
    has_formed: bool,
    /// What, with how everything stood.
    seen: String,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    // Where a leader needs a lease, one whose clock is wrong does not act.
    let need_not_act = evidence.clocks == Clocks::Wild && evidence.is_automatic;
    match evidence.stuck {
        Some(stuck) if !(stuck.has_formed && need_not_act) => Err(stuck.seen.clone()),
        _ => Ok(()),
    }
}

/// Whether nothing is under way any more.
pub(crate) fn is_at_rest(meta: Option<&Meta>, clients: &Clients, faults: &Faults) -> bool {
    let is_settled = meta.is_some_and(|meta| {
        meta.switch().is_none() && meta.groups().values().all(|record| record.is_settled())
    });
    is_settled && clients.are_idle() && !faults.is_replacing()
}

/// Whether nobody is behind.
pub(crate) fn have_caught_up(states: &BTreeMap<GroupId, Vec<Replica>>) -> bool {
    states.values().all(|replicas| {
        replicas
            .iter()
            .all(|(_, applied, _)| Some(applied) == replicas.first().map(|(_, first, _)| first))
    })
}

impl Stuck {
    /// The cluster does not come together.
    pub(crate) fn forming(what: &str, world: &World) -> Self {
        let has_formed = false;
        Self {
            has_formed,
            seen: describe(what, world),
        }
    }

    /// The cluster does not become as it should be without faults.
    pub(crate) fn healing(what: &str, world: &World) -> Self {
        let has_formed = true;
        Self {
            has_formed,
            seen: describe(what, world),
        }
    }
}

/// What did not come about, with how everything stands.
fn describe(what: &str, world: &World) -> String {
    let mut seen = vec![what.to_owned()];
    if let Some((_, meta)) = Faults::meta(world) {
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
    for (host, machine) in world.hosts.iter().enumerate() {
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
    seen.join("\n    ")
}
