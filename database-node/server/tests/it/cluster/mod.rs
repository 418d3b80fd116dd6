//! Nodes of clusters, as processes.

mod administration;
mod anywhere;
mod cli;
mod nodes;
mod starting;
