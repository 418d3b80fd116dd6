//! A term of a life of a group has one leader.

use std::collections::BTreeMap;

use pliantdb_cluster::node::Event;

use super::Evidence;

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
    Ok(())
}
