//! What is asked for twice is done once: no two that count get the same number.

use std::collections::BTreeMap;

use super::Evidence;
use crate::history::Came;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut counted = BTreeMap::new();
    for operation in &evidence.history.operations {
        let (Came::Counted(number), Some(at)) = (&operation.came, operation.at) else {
            continue;
        };
        let key = (operation.object.group, at.incarnation, *number);
        if let Some(other) = counted.insert(key, operation) {
            return Err(format!(
                "two have counted to {number}: {other:?} and {operation:?}"
            ));
        }
    }
    Ok(())
}
