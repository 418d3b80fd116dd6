//! Chaos tests: nodes as they are, each a process on a host of its own, with load from clients by every door while things go
//! wrong; and what happened, written down and checked.
//!
//! - [`plan`]: what is to go wrong, drawn from a seed beforehand; [`dice`]: chance
//! - [`bed`]: hosts, wires, disks and clocks, and the nodes' processes on them
//! - [`cluster`]: the nodes together; [`builds`]: which build each is; [`nemesis`]: carries out the plan
//! - [`clients`]: the load
//! - [`history`]: what is written down; [`verify`]: what must hold of it; [`report`]: what is told of it
//!
//! `go/` has two programs of its own: `network`, the wires between the hosts, and `checker`, which looks for an order of the
//! operations of each object, by porcupine. `clock/` is the library that makes wall clocks wrong.

pub mod bed;
pub mod builds;
pub mod clients;
pub mod cluster;
pub mod dice;
pub mod history;
pub mod nemesis;
pub mod plan;
pub mod report;
pub mod verify;
