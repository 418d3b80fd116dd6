//! Nothing acknowledged is lost, but for what a forced promotion has declared.

use super::Evidence;
use crate::history::{Asked, Came};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let history = evidence.history;
    for operation in &history.operations {
        let Asked::Insert(value) = operation.asked else {
            continue;
        };
        let Some(contents) = evidence.contents.get(&operation.object.group) else {
            continue;
        };
        let is_lost = operation.came == Came::Done && !contents.inserted.contains(&value);
        if is_lost && !history.is_declared_lost(operation) {
            return Err(format!(
                "a document was acknowledged and is not there: {operation:?}"
            ));
        }
    }
    for (group, contents) in evidence.contents {
        let counts = history
            .operations
            .iter()
            .filter(|operation| operation.object.group == *group && operation.asked == Asked::Count);
        let is_certain = |came: &Came| matches!(came, Came::Counted(_));
        let kept = counts
            .clone()
            .filter(|operation| is_certain(&operation.came) && !history.is_declared_lost(operation));
        let (least, most) = (kept.count() as u64, counts.count() as u64);
        if contents.count < least || contents.count > most {
            return Err(format!(
                "group {group} has counted to {}, and {least} to {most} were asked for",
                contents.count
            ));
        }
    }
    Ok(())
}
