//! A life of a group that is over acknowledges nothing, unless an owner has accepted that it does.

use super::Evidence;
use super::clocks::may_be_unnoticed;
use crate::history::{Asked, Came};
use crate::world::{MS, SECOND, Time};

/// For how long a leader may go on by a lease of automatic failover after a clock has begun to run out of bound: until that
/// is noticed, and what was granted before, for 4 s by a clock that may be slow by 35 %, is over.
const GRANTED_UNNOTICED: Time = 12 * SECOND;

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
            let may_go_on = may_be_unnoticed(evidence, (ended, ended), GRANTED_UNNOTICED);
            if is_after && !may_go_on && forced.loses(at) && !forced.is_split_brain_accepted {
                return Err(format!(
                    "{operation:?} was acknowledged after its life was over: {forced:?}"
                ));
            }
        }
    }
    Ok(())
}
