//! While a switch is open nobody is replaced by itself.

use super::Evidence;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut amid = evidence
        .decisions
        .values()
        .filter(|decision| decision.is_amid_switch);
    match amid.find(|decision| !evidence.owners.have_asked_for(decision)) {
        Some(decision) => Err(format!(
            "a group was forced amid a switch, and no owner had asked for it: {decision:?}"
        )),
        None => Ok(()),
    }
}
