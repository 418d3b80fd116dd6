//! What is published is given: while a majority is promised, every group has one to lose a member of.

use pliantdb_cluster::META;
use pliantdb_cluster::group::Role;
use pliantdb_cluster::meta::Guarantee;

use super::Evidence;
use crate::world::{MS, World};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    match evidence.overstated {
        Some(overstated) => Err(overstated.to_owned()),
        None => Ok(()),
    }
}

/// Looks for a group that has less than is promised at this moment.
pub(crate) fn overstated(world: &World) -> Option<String> {
    let processes = || {
        let hosts = world.hosts.iter();
        hosts.filter_map(|machine| machine.process.as_ref())
    };
    let meta_terms = processes().filter_map(|process| {
        let replicas = process.node.replicas().into_iter();
        replicas
            .filter(|report| report.group == META)
            .map(|report| report.term)
            .max()
    });
    let latest = meta_terms.max()?;
    let mut leaders = processes().filter(|process| process.node.leads(META));
    let (Some(process), None) = (leaders.next(), leaders.next()) else {
        return None;
    };
    // One that slept and has not heard of its successor yet tells of what was.
    let replicas = process.node.replicas().into_iter();
    let is_latest = replicas
        .filter(|report| report.group == META)
        .any(|report| report.term == latest);
    if !is_latest {
        return None;
    }
    let meta = process.node.meta()?;
    if meta.guarantee() != Guarantee::Majority {
        return None;
    }
    meta.groups().iter().find_map(|(group, record)| {
        let reports = processes().flat_map(|process| process.node.replicas());
        let of_group = reports.filter(|report| report.group == *group && report.role == Role::Leader);
        let of_life = of_group.filter(|report| report.incarnation == record.incarnation);
        let leader = of_life.max_by_key(|report| report.term)?;
        let members = &leader.config.members;
        let is_too_small = members.voters.len() < 3 || (members.is_joint() && members.outgoing.len() < 3);
        is_too_small.then(|| format!("group {group} has {members:?} at {} ms", world.now() / MS))
    })
}
