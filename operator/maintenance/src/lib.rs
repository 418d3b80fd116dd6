//! When the owner of a cluster allows what kind of work: maintenance windows and exclusions.
//!
//! A window opens by the clock of its time zone (five fields of cron), for a duration. Windows that overlap or touch are one
//! opening; exclusions win over windows. Within the cut-off before an opening closes nothing may begin. Everything is a
//! function of the moment that it is asked for: nothing here reads a clock.
//!
//! - `window`: one window, checked; `maintenance`: all of an owner's, checked together
//! - `opening`: when they are open
//!
//! What becomes of a start at a time that a day does not have, or has twice, is as cron's users know it:
//!
//! - A start at one minute of one hour (`30 2 * * SUN`) opens once on each day that it names: if the clock is put forward over
//!   that time, as soon as it has been; if it is put back, the first time.
//! - Any other (`*/30 * * * *`) follows the clock: it does not open at times that do not come, and twice at those that come twice.

mod maintenance;
mod opening;
mod window;

pub use maintenance::{Exclusion, Maintenance, MaintenanceError};
pub use opening::{Gate, Opening};
pub use window::{Window, WindowError, Work};
