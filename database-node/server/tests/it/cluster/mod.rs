//! Nodes of clusters, as processes.

mod starting;
