//! Simulation of a PliantDB cluster: the cluster core as it is, on a network, on disks and by clocks that are made up, all
//! from one seed, so that what fails can be seen again.
//!
//! - module [`scenario`]: what a seed is about
//! - module [`world`]: machines with disks and clocks, the network between them, and time
//! - module [`clients`]: who writes and reads
//! - module [`faults`]: what goes wrong, and what owners do meanwhile
//! - module [`watchers`]: who keeps asking one machine while something goes wrong there
//! - module [`steps`]: what nodes do step by step, for faults to strike in between
//! - module [`forcing`]: what owners asked to force, and what was decided
//! - module [`history`]: what was asked and answered
//! - module [`invariants`]: what must hold, each in a file of its own
//! - module [`states`]: what machines have of groups
//! - module [`run`]: a seed from its beginning to its verdict

pub mod clients;
pub mod faults;
pub mod forcing;
pub mod history;
pub mod invariants;
pub mod run;
pub mod scenario;
mod states;
pub mod steps;
pub mod watchers;
pub mod world;

pub use run::{Caught, Verdict, caught, run};
pub use scenario::Scenario;
