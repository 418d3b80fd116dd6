//! Nothing panics, whatever happens.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Violation;

/// Runs something that must not panic.
pub(crate) fn guard<T>(run: impl FnOnce() -> T) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| Violation {
        invariant: "nothing panics",
        seen: "see above".to_owned(),
    })
}
