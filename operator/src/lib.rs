//! The Kubernetes operator of PliantDB: it turns `PliantCluster` resources into running databases.
//!
//! - [`settings`]: flags and environment variables
//! - [`run`]: the process, from start to graceful end
//! - [`leadership`]: only one replica of the operator acts at a time
//! - [`cluster`]: the controller of `PliantCluster`
//! - [`http`]: health, readiness and metrics
//! - [`metrics`]: what is counted
//! - [`logging`]: text or JSON logs

pub mod cluster;
pub mod http;
pub mod leadership;
pub mod logging;
pub mod metrics;
pub mod run;
pub mod settings;
