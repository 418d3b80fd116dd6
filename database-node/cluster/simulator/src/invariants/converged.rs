//! Replicas apply the same entries in the same places, and those that have applied as much have the same state.

use std::collections::BTreeMap;

use super::Evidence;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    if let Some(differing) = evidence.differing.first() {
        return Err(differing.clone());
    }
    for (group, replicas) in evidence.replicas {
        let mut by_index: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
        for (host, applied, digest) in replicas {
            let (other, expected) = *by_index.entry(*applied).or_insert((*host, *digest));
            if expected != *digest {
                return Err(format!(
                    "machines {other} and {host} have applied the log of group {group} up to {applied}, and their \
                     states differ"
                ));
            }
        }
    }
    Ok(())
}
