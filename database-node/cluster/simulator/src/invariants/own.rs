//! What is read of a database was written to it, and not to one of the same name that was deleted.

use std::collections::BTreeSet;

use super::Evidence;
use crate::history::{Asked, Came};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let operations = &evidence.history.operations;
    let written = operations.iter().filter_map(|operation| match operation.asked {
        Asked::Write(value) | Asked::Exchange { to: value, .. } | Asked::Insert(value) => {
            Some((operation.object.group, value))
        }
        _ => None,
    });
    let written: BTreeSet<_> = written.collect();
    for operation in operations {
        if let Came::Value(value) = operation.came
            && value != 0
            && !written.contains(&(operation.object.group, value))
        {
            return Err(format!(
                "a read saw what nobody wrote to its database: {operation:?}"
            ));
        }
    }
    for (group, contents) in evidence.contents {
        let mut inserted = contents.inserted.iter();
        if let Some(value) = inserted.find(|value| !written.contains(&(*group, **value))) {
            return Err(format!("group {group} has {value}, which nobody wrote to it"));
        }
    }
    Ok(())
}
