//! While a switch is open nobody is replaced by itself.

use super::Evidence;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    match evidence.is_forced_amid_switch && !evidence.has_owner_forced {
        true => Err("groups were forced, and no owner had asked for it".to_owned()),
        false => Ok(()),
    }
}
