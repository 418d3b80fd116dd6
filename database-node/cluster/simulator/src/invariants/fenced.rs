//! A life of a group that is over acknowledges nothing, unless an owner has accepted that it does.

use super::Evidence;
use crate::history::{Asked, Came};
use crate::world::MS;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
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
            let is_after = ended > forced.at + 2 * MS && forced.incarnation > at.incarnation;
            if is_after && forced.loses(at) && !forced.is_split_brain_accepted {
                return Err(format!(
                    "{operation:?} was acknowledged after its life was over: {forced:?}"
                ));
            }
        }
    }
    Ok(())
}
