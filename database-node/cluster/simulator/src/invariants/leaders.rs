//! A term of a life of a group has one leader, and a life that is over acknowledges nothing.

use std::collections::BTreeMap;

use pliantdb_cluster::node::Event;

use super::Evidence;
use crate::history::{Asked, Came};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut leaders = BTreeMap::new();
    for told in evidence.told {
        if let Event::BecameLeader {
            group,
            incarnation,
            term,
        } = told.event
        {
            let host = *leaders.entry((group, incarnation, term)).or_insert(told.host);
            if host != told.host {
                return Err(format!(
                    "machines {host} and {} both led group {group} in term {term} of {incarnation}",
                    told.host
                ));
            }
        }
    }
    for operation in &evidence.history.operations {
        let is_write = !matches!(
            operation.asked,
            Asked::Read | Asked::ReadAtLeast { .. } | Asked::ReadWithin(_)
        );
        let is_acknowledged = matches!(operation.came, Came::Done | Came::Counted(_));
        let (Some(at), Some(ended), true) = (operation.at, operation.ended, is_write && is_acknowledged)
        else {
            continue;
        };
        let forced = evidence.history.forced.get(&operation.object.group);
        for forced in forced.into_iter().flatten() {
            let is_after = ended > forced.at + 2 * crate::world::MS && forced.incarnation > at.incarnation;
            if is_after && forced.loses(at) && !forced.is_split_brain_accepted {
                return Err(format!(
                    "{operation:?} was acknowledged after its life was over: {forced:?}"
                ));
            }
        }
    }
    Ok(())
}
