//! A transaction is seen whole or not at all.

use super::Evidence;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    match evidence.history.torn.first() {
        Some(torn) => Err(format!(
            "a read saw two documents that are only written together: {torn}"
        )),
        None => Ok(()),
    }
}
