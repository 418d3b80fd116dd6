//! A life of a group that is over acknowledges nothing, but for machines of which an owner has accepted that they do, or said
//! that they are gone when they were only away, until they hear of it.

use super::Evidence;
use super::clocks::may_be_unnoticed;
use crate::forcing::ON_ITS_WAY;
use crate::history::{Asked, Came};
use crate::world::{SECOND, Time};

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
            let is_after = ended > forced.at + ON_ITS_WAY && forced.incarnation > at.incarnation;
            let may_go_on = may_be_unnoticed(evidence, (ended, ended), GRANTED_UNNOTICED);
            // Whoever has not heard of an earlier decision has not heard of this one.
            let mut decisions = evidence.decisions.values().filter(|decision| {
                decision.group == operation.object.group && decision.incarnation > at.incarnation
            });
            let mut is_let = || decisions.any(|decision| evidence.owners.let_go_on(decision, ended));
            if is_after && !may_go_on && forced.loses(at) && !is_let() {
                return Err(format!(
                    "{operation:?} was acknowledged after its life was over: {forced:?}"
                ));
            }
        }
    }
    Ok(())
}
