//! Whoever wrote reads what was written, or something later, on any machine.

use std::collections::BTreeMap;

use super::Evidence;
use crate::history::{Asked, Came, Object, Value};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let history = evidence.history;
    // Where in the log each value was written, as far as is known.
    let mut written: BTreeMap<(Object, Value), u64> = BTreeMap::new();
    for operation in &history.operations {
        if let (Asked::Write(value) | Asked::Exchange { to: value, .. }, Came::Done, Some(at)) =
            (&operation.asked, &operation.came, operation.at)
        {
            written.insert((operation.object, *value), at.index);
        }
    }
    // What each client has written last.
    let mut own = BTreeMap::new();
    for operation in &history.operations {
        let Some(at) = operation.at else {
            continue;
        };
        let key = (operation.client, operation.object, at.incarnation);
        match (&operation.asked, &operation.came) {
            (Asked::Write(_) | Asked::Exchange { .. }, Came::Done) if !operation.is_asked_again => {
                own.insert(key, at.index);
            }
            (Asked::ReadAtLeast { .. }, Came::Value(value)) => {
                let found = match value {
                    0 => Some(0),
                    value => written.get(&(operation.object, *value)).copied(),
                };
                if let (Some(own), Some(found)) = (own.get(&key), found)
                    && found < *own
                {
                    return Err(format!(
                        "a client wrote at {own} and then read what was written at {found}: {operation:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
